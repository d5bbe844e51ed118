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

from collections.abc import Iterator

import numpy as np
from absl import flags

from audioset_strong.core import cli, errors
from audioset_strong.inputs import evaluation_grid, teacher_scores
from audioset_strong.labels.framing import FRAMES_PER_CLIP
from audioset_strong.records.dataset_info import DatasetInfo

_WEAK = flags.DEFINE_string("weak", None, "Dataset that the teacher has scored.", required=True)
_STRONG = flags.DEFINE_string("strong", None, "Dataset with strong labels.", required=True)
_TEACHER = flags.DEFINE_string("teacher", None, "Name of the teacher's scores.", required=True)
_QUANTILES = flags.DEFINE_list("quantiles", ["0", "0.3", "0.5", "0.7", "1"], "frame_quantiles.")
_SHARES = flags.DEFINE_list("shares", ["0.01", "0.02", "0.05", "0.1"], "missing_shares.")

_FRAME_MS = 960


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


def _by_clip(counts: np.ndarray, *columns: np.ndarray) -> Iterator[Iterator[tuple]]:
    """The rows of each clip, from columns of all clips one after the other."""
    ends = np.cumsum(counts)
    for begin, end in zip(ends - counts, ends, strict=True):
        yield zip(*(column[begin:end].tolist() for column in columns), strict=True)


def main(argv: list[str]) -> None:
    """Prints both tables, as Markdown."""
    del argv
    scores = teacher_scores.read(_WEAK.value, DatasetInfo.load(_WEAK.value), _TEACHER.value)
    strong, known = _strong_labels()
    weak = dict.fromkeys(strong, frozenset())
    clip_ids = scores.clip_ids.to_pylist()
    for clip_id, labels in zip(clip_ids, _by_clip(scores.label_counts, scores.labels), strict=True):
        if clip_id in strong:
            weak[clip_id] = frozenset(label for (label,) in labels if known[label])
    sounding = sum(int(labels.any(axis=0).sum()) for labels in strong.values())
    unheard = sum(
        int(labels.any(axis=0)[label]) and label not in weak[clip_id]
        for clip_id, labels in strong.items()
        for label in range(len(known))
    )
    print(
        f"{len(strong)} clips with strong labels, {sounding} pairs of a clip and a class in it, "
        f"{unheard} of them not among the weak labels\n\n"
        "| `frame_quantile` | precision of frames | recall |\n|---:|---:|---:|"
    )
    for quantile in _QUANTILES.value:
        said = teacher_scores.pseudo_strong(scores, float(quantile))
        rows = _by_clip(said.counts, said.label, said.start_ms, said.end_ms)
        right = marked = true = 0
        for clip_id, segments in zip(clip_ids, rows, strict=True):
            if clip_id not in strong:
                continue
            holds = np.zeros([FRAMES_PER_CLIP, len(known)], bool)
            for label, start, end in segments:
                holds[start // _FRAME_MS : end // _FRAME_MS, label] = known[label]
            marked += holds.sum()
            right += (holds & strong[clip_id]).sum()
            true += strong[clip_id][:, sorted(weak[clip_id])].sum()
        print(f"| {quantile} | {right / marked:.2f} | {right / true:.2f} |")
    print("\n| `missing_share` | labels masked | of them in the strong labels |\n|---:|---:|---:|")
    for share in _SHARES.value:
        labels, counts = teacher_scores.missing_labels(scores, float(share))
        masked = right = 0
        for clip_id, missing in zip(clip_ids, _by_clip(counts, labels), strict=True):
            for (label,) in missing:
                if clip_id in strong and known[label]:
                    masked += 1
                    right += strong[clip_id][:, label].any()
        print(f"| {share} | {masked} | {right} |")


if __name__ == "__main__":
    cli.run(main)
