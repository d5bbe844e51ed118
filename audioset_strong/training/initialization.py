"""Starting weights for fine-tuning, from a model of the same or of another vocabulary."""

import json
import pathlib

import keras
import numpy as np
from absl import logging

from audioset_strong.core import errors
from audioset_strong.labels import vocabularies
from audioset_strong.training import checkpoints

REPORT_FILE = "initialization.json"
_OUTPUT_LAYER = "logits"


def start_from(
    net: keras.Model, vocabulary: vocabularies.Vocabulary, init_from: str
) -> dict[str, object]:
    """Loads trained weights into a network.

    Outputs are mapped by mid: a class that the trained model had keeps its weights wherever it
    stands now, a new one keeps its fresh ones.

    Args:
      net: built for `vocabulary`; its weights are changed.
      vocabulary: of the data to train on.
      init_from: a checkpoint, a workdir with a selected one, or what tools/export.py wrote.

    Returns:
      What was done, to be kept with the run: init_from, checkpoint, and the mids of the classes
      kept, new and dropped.

    Raises:
      errors.InputError: no such model, another architecture, or no class in common.
    """
    workdir, checkpoint = checkpoints.resolve(init_from)
    held = vocabularies.Vocabulary.from_json(checkpoints.read_description(workdir)["vocabulary"])
    kept = [mid for mid in vocabulary.mids if mid in held.index]
    report: dict[str, object] = {
        "init_from": init_from,
        "checkpoint": checkpoint,
        "kept": kept,
        "new": [mid for mid in vocabulary.mids if mid not in held.index],
        "dropped": [mid for mid in held.mids if mid not in vocabulary.index],
    }
    if held.mids == vocabulary.mids:
        checkpoints.load_weights(net, checkpoint)
        return report
    if not kept:
        raise errors.InputError(
            f"{init_from}: none of its {len(held)} classes is among the {len(vocabulary)} of this "
            "data; convert the data with the --class_labels that it was trained with"
        )
    trained = checkpoints.load_model(workdir, checkpoint).model
    _copy(trained, net, init_from)
    output, before = net.get_layer(_OUTPUT_LAYER), trained.get_layer(_OUTPUT_LAYER)
    kernel, bias = (np.array(weight) for weight in output.get_weights())
    trained_kernel, trained_bias = before.get_weights()
    now, then = ([v.index[mid] for mid in kept] for v in (vocabulary, held))
    kernel[:, now], bias[now] = trained_kernel[:, then], trained_bias[then]
    output.set_weights([kernel, bias])
    logging.info(
        "%s: %d classes keep their output weights, %d are new, %d are dropped",
        init_from,
        *(len(report[name]) for name in ("kept", "new", "dropped")),  # type: ignore[arg-type]
    )
    return report


def write_report(workdir: str, report: dict[str, object]) -> None:
    """Keeps what `start_from` did, beside the run's checkpoints."""
    checkpoints.write_json(pathlib.Path(workdir) / REPORT_FILE, report)


def _copy(source: keras.Model, target: keras.Model, init_from: str) -> None:
    """Copies all weights but those of the output layer."""

    def body(model: keras.Model) -> list[keras.Layer]:
        return [layer for layer in model.layers if layer.name != _OUTPUT_LAYER and layer.weights]

    shapes = [
        json.dumps([(layer.name, [list(w.shape) for w in layer.weights]) for layer in body(model)])
        for model in (source, target)
    ]
    if shapes[0] != shapes[1]:
        raise errors.InputError(
            f"{init_from}: another architecture than this run's; bind resnet.* as it was trained"
        )
    for before, layer in zip(body(source), body(target), strict=True):
        layer.set_weights(before.get_weights())
