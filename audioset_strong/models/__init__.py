"""Networks: `resnet50(num_classes)` is the paper's; `resnet.resnet` builds others."""

from typing import TYPE_CHECKING

from audioset_strong.core import lazy

if TYPE_CHECKING:
    from audioset_strong.models import batch_norm, complexity, embedding, precisions, resnet
    from audioset_strong.models.resnet import resnet as resnet50

__all__ = ["batch_norm", "complexity", "embedding", "precisions", "resnet", "resnet50"]

_SUBMODULES = ("batch_norm", "complexity", "embedding", "precisions", "resnet")

if not TYPE_CHECKING:  # mypy would take any name for an attribute of a module with __getattr__
    __getattr__, __dir__ = lazy.attributes(
        __name__,
        {
            **{name: f"{__name__}.{name}" for name in _SUBMODULES},
            "resnet50": f"{__name__}.resnet:resnet",  # whose defaults are those of ResNet-50
        },
    )
