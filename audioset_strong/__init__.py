"""Training, evaluation and use of audio event classifiers on AudioSet's weak and strong labels.

`audioset_strong.load_model(path)` gives a trained model, see `inference.predictor`.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audioset_strong.inference import predictor


def load_model(path: "str | os.PathLike", ema: bool = False) -> "predictor.Model":
    """Loads a trained model; see `inference.predictor.load_model`."""
    from audioset_strong.inference import predictor

    return predictor.load_model(path, ema)
