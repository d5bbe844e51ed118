"""Starting weights for fine-tuning, from a model of the same or of another vocabulary."""

import json
import os
from collections.abc import Mapping

import keras
import numpy as np
from absl import logging

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import errors, files
from audioset_strong.labels.vocabularies import Vocabulary
from audioset_strong.training import checkpoints
from audioset_strong.training.run_info import RunInfo
from audioset_strong.training.workdirs import INITIALIZATION_FILE

_OUTPUT_LAYER = "logits"


def start_from(
    net: keras.Model, vocabulary: Vocabulary, *, init_from: str, front_end: FrontEnd
) -> dict[str, object]:
    """Loads trained weights into a network.

    Outputs are mapped by mid: a class that the trained model has keeps its weights, wherever it
    stands now; a new class keeps its fresh weights.

    Args:
      net: built for `vocabulary`; its weights are changed.
      vocabulary: of the data to train on.
      init_from: a checkpoint, a workdir with a selected one, or what tools/export.py wrote.
      front_end: of this run; the trained model's must be the same.

    Returns:
      What was done, to be kept with the run: init_from, checkpoint, the fingerprint of its weights,
      and the mids of the classes kept, new and dropped.

    Raises:
      errors.InputError: no such model, another front end or architecture, or no class in common.
    """
    workdir, checkpoint = checkpoints.resolve(init_from)
    run = RunInfo.read(workdir)
    difference = front_end.difference(run.front_end)
    if difference:
        raise errors.InputError(
            f"{init_from}: was trained with another front end than this run's, which has "
            f"FrontEnd.{difference}; bind FrontEnd.* as it was trained"
        )
    known = run.vocabulary
    kept = [mid for mid in vocabulary.mids if mid in known.index]
    report: dict[str, object] = {
        "init_from": init_from,
        "checkpoint": checkpoint,
        "weights": checkpoints.fingerprint(checkpoint),
        "kept": kept,
        "new": [mid for mid in vocabulary.mids if mid not in known.index],
        "dropped": [mid for mid in known.mids if mid not in vocabulary.index],
    }
    if known.mids == vocabulary.mids:
        checkpoints.load_weights(net, checkpoint)
        return report
    if not kept:
        raise errors.InputError(
            f"{init_from}: none of its {len(known)} classes is among the {len(vocabulary)} of this "
            "data; convert the data with the --class_labels that it was trained with"
        )
    trained = checkpoints.load_model(workdir, checkpoint).model
    _copy(trained, net, init_from)
    output, before = net.get_layer(_OUTPUT_LAYER), trained.get_layer(_OUTPUT_LAYER)
    kernel, bias = (np.array(weight) for weight in output.get_weights())
    trained_kernel, trained_bias = before.get_weights()
    now, then = ([v.index[mid] for mid in kept] for v in (vocabulary, known))
    kernel[:, now], bias[now] = trained_kernel[:, then], trained_bias[then]
    output.set_weights([kernel, bias])
    new, dropped = len(vocabulary) - len(kept), len(known) - len(kept)
    logging.info(
        "%s: %d classes keep their output weights, %d are new, %d are dropped",
        init_from,
        len(kept),
        new,
        dropped,
    )
    return report


def write_report(workdir: str, report: Mapping[str, object]) -> None:
    """Keeps what `start_from` returned, beside the run's checkpoints.

    Raises:
      OSError: it cannot be written.
    """
    files.write_json(os.path.join(workdir, INITIALIZATION_FILE), report)


def _copy(source: keras.Model, target: keras.Model, init_from: str) -> None:
    """Copies all weights except those of the output layer."""

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
