"""Metrics from saved scores: without a model, and of other systems."""

import pathlib
from collections.abc import Mapping, Sequence

import pandas as pd

from audioset_strong import errors, progress
from audioset_strong.evaluation import evaluator, measures, scoring


def measure(
    path: str, eval_data: Sequence[str] = (), replicates: int = 0
) -> dict[str, measures.Measured]:
    """Measures the scores of a file.

    Args:
      path: an npz of `scoring.Scores.save`, or with `eval_data` one that `scoring.of_file` takes.
      eval_data: datasets to take the labels from.
      replicates: of the bootstrap; 0 for no intervals.

    Returns:
      "weak_eval" and "strong_eval", as far as the clips have labels.

    Raises:
      errors.InputError: bad scores, no labels, or no usable class.
    """
    if eval_data:
        opened = evaluator.open_eval_set("eval", eval_data, cache_clips=0)
        with progress.bar("reading labels", opened.num_clips, "clip") as bar:
            scores = scoring.of_file(path, opened.batches(), opened.vocabulary.mids, bar.update)
    else:
        scores = scoring.Scores.load(path)
    known = {measures.WEAK: scores.weak_known, measures.STRONG: scores.strong_known}
    kinds = [kind for kind, clips in known.items() if clips.any()]
    if not kinds:
        raise errors.InputError(f"{path}: none of its {len(scores.clip_ids)} clips has labels")
    return {f"{kind}_eval": measures.measure(scores, kind, path, replicates) for kind in kinds}


def to_text(measured: Mapping[str, measures.Measured]) -> str:
    """A table for people: a line a metric, a column a set, intervals in brackets."""

    def cell(values: Mapping[str, float], name: str) -> str:
        if name not in values:
            return "-"
        if f"{name}_low" not in values:
            return f"{values[name]:.4g}"
        return f"{values[name]:.4f} [{values[f'{name}_low']:.3f}, {values[f'{name}_high']:.3f}]"

    names = dict.fromkeys(name for each in measured.values() for name in each.values)
    shown = [name for name in names if not name.endswith(("_low", "_high"))]
    table = pd.DataFrame(
        {
            set_name: [cell(each.values, name) for name in shown]
            for set_name, each in measured.items()
        },
        index=shown,
    )
    return table.to_string()


def write(measured: Mapping[str, measures.Measured], output_dir: str) -> None:
    """Writes `results.csv` (set, metric, value) and `per_class_<set>.csv`.

    Raises:
      errors.InputError: a directory that cannot be written.
    """
    directory = pathlib.Path(output_dir)
    rows = [
        (set_name, metric, value)
        for set_name, each in measured.items()
        for metric, value in each.values.items()
    ]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        results = pd.DataFrame(rows, columns=["set", "metric", "value"])
        results.to_csv(directory / "results.csv", index=False)
        for set_name, each in measured.items():
            each.per_class.to_csv(directory / f"per_class_{set_name}.csv", index=False)
    except OSError as error:
        raise errors.InputError(f"cannot write to {output_dir}: {error.strerror}") from error
