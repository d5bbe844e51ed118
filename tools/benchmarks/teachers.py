"""What a teacher knows about weak labels, where strong labels tell the truth.

Example:
  python -m tools.benchmarks.teachers --weak=data/train_weak --strong=data/train_strong \
      --teacher=first

Takes the scores that audioset_strong_teach wrote for a dataset of weak labels, and a dataset with
strong labels of some of its clips. Of pseudo-strong labels it tells, for each frame_quantile, the
precision and recall of the 0.96 s frames in which a weak label is said to hold; of masked labels,
for each missing_share, how many of them sound in their clips. Both count those clips and classes
alone that have strong labels.
"""

import numpy as np
from absl import flags

from audioset_strong.core import cli, errors
from audioset_strong.inputs import evaluation_grid, teacher_scores
from audioset_strong.labels.framing import FRAME_MS
from audioset_strong.records.dataset_info import DatasetInfo

_WEAK = flags.DEFINE_string("weak", None, "Dataset that the teacher has scored.", required=True)
_STRONG = flags.DEFINE_string("strong", None, "Dataset with strong labels.", required=True)
_TEACHER = flags.DEFINE_string("teacher", None, "Name of the teacher's scores.", required=True)
_QUANTILES = flags.DEFINE_list("quantiles", ["0", "0.3", "0.5", "0.7", "1"], "frame_quantiles.")
_SHARES = flags.DEFINE_list("shares", ["0.01", "0.02", "0.05", "0.1"], "missing_shares.")


def _strong_labels() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Clip id -> bool `[frames, classes]`; and whether a class is among the strong labels."""
    found = {}
    for batch in evaluation_grid.grid_labels([_STRONG.value]).as_numpy_iterator():
        positive = batch["frame_labels"] == 1
        for clip_id, known, labels in zip(
            batch["clip_id"], batch["strong_known"], positive, strict=True
        ):
            if known:
                found[clip_id.decode()] = labels
    if not found:
        raise errors.InputError(f"--strong={_STRONG.value}: no clip has strong labels")
    return found, np.any([labels.any(axis=0) for labels in found.values()], axis=0)


def main(argv: list[str]) -> None:
    """Prints both tables, as Markdown."""
    del argv
    scores = teacher_scores.read(_WEAK.value, DatasetInfo.load(_WEAK.value), _TEACHER.value)
    strong, known = _strong_labels()
    clip_ids = np.array(scores.clip_ids.to_pylist())

    def pairs(counts: np.ndarray, labels: np.ndarray) -> set[tuple[str, int]]:
        """(clip id, class) of those that strong labels tell about."""
        named = zip(np.repeat(clip_ids, counts).tolist(), labels.tolist(), strict=True)
        return {(clip_id, label) for clip_id, label in named if clip_id in strong and known[label]}

    weak = pairs(scores.label_counts, scores.labels)
    sounding = {
        (clip_id, label)
        for clip_id, frames in strong.items()
        for label in np.flatnonzero(frames.any(axis=0)).tolist()
    }
    print(
        f"{len(strong)} clips with strong labels, {len(sounding)} pairs of a clip and a class in "
        f"it, {len(sounding - weak)} of them not among the weak labels\n\n"
        "| `frame_quantile` | precision of frames | recall |\n|---:|---:|---:|"
    )
    true = sum(strong[clip_id][:, label].sum() for clip_id, label in weak)
    for quantile in _QUANTILES.value:
        said = teacher_scores.pseudo_strong(scores, float(quantile))
        right = marked = 0
        for clip_id, label, start, end in zip(
            np.repeat(clip_ids, said.counts), said.label, said.start_ms, said.end_ms, strict=True
        ):
            if (clip_id, label) in weak:
                frames = strong[clip_id][start // FRAME_MS : end // FRAME_MS, label]
                marked += len(frames)
                right += frames.sum()
        print(f"| {quantile} | {right / marked:.2f} | {right / true:.2f} |")
    print("\n| `missing_share` | labels masked | of them in the strong labels |\n|---:|---:|---:|")
    for share in _SHARES.value:
        labels, counts = teacher_scores.missing_labels(scores, float(share))
        masked = pairs(counts, labels)
        print(f"| {share} | {len(masked)} | {len(masked & sounding)} |")


if __name__ == "__main__":
    cli.run(main)
