"""Audio event classification with AudioSet's weak and strong labels.

An implementation of Hershey et al., "The Benefit of Temporally-Strong Labels in Audio Event
Classification", ICASSP 2021, https://arxiv.org/abs/2105.07031.

    import audioset_strong as ast

    ast.features    log-mel: `FrontEnd`, `log_mel`
    ast.labels      framing rule, vocabularies, ontology, readers of AudioSet's label files
    ast.datasets    training stream and evaluation grid of converted datasets
    ast.metrics     d', lwlrap and average precision, as functions of (labels, scores)
    ast.models      ResNet builders
    ast.load_model  a trained model, to score recordings with
    ast.InputError  the exception for mistakes that a user can correct

`docs/api.md` is a walk through them. They are imported when they are first used: until then,
`import audioset_strong` does not import TensorFlow.
"""

from typing import TYPE_CHECKING

from audioset_strong.core import lazy

if TYPE_CHECKING:  # the names that are imported lazily below
    from audioset_strong import labels, models
    from audioset_strong.audio import features
    from audioset_strong.core.errors import InputError
    from audioset_strong.evaluation import metrics
    from audioset_strong.inference.model_loading import load_model
    from audioset_strong.inputs import datasets

    __version__: str

__all__ = [
    "InputError",
    "__version__",
    "datasets",
    "features",
    "labels",
    "load_model",
    "metrics",
    "models",
]

if not TYPE_CHECKING:  # mypy would take any name for an attribute of a module with __getattr__
    __getattr__, __dir__ = lazy.attributes(
        __name__,
        {
            "InputError": "audioset_strong.core.errors:InputError",
            "__version__": "audioset_strong.core.version:VERSION",
            "datasets": "audioset_strong.inputs.datasets",
            "features": "audioset_strong.audio.features",
            "labels": "audioset_strong.labels",
            "load_model": "audioset_strong.inference.model_loading:load_model",
            "metrics": "audioset_strong.evaluation.metrics",
            "models": "audioset_strong.models",
        },
    )
