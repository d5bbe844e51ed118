"""The statistics of metadata files, as CSV files and figures."""

import dataclasses
import os
import pathlib
from collections.abc import Callable

import matplotlib.figure
import pandas as pd
from absl import logging

from audioset_strong.analysis import label_figures, label_statistics
from audioset_strong.core import choices, drawing, errors, files
from audioset_strong.labels import metadata, table_files, vocabularies
from audioset_strong.labels.metadata_files import MetadataFiles

# Of each set of items: the kind of label that it is made of, and how.
_ITEMS: dict[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "weak": ("weak", label_statistics.weak_items),
    "strong": ("strong", label_statistics.clip_items),
    "strong_segments": ("strong", lambda table: table),
    "negatives": ("negatives", lambda table: table),
    "framed_present": ("framed", lambda table: table[table["present"]]),
    "framed_not_present": ("framed", lambda table: table[~table["present"]]),
    # Of clips, not frames: what section 3.3 counts as negative labels.
    "framed_negatives": ("framed", metadata.negatives_from_framed),
}
_OF_FRAMES = ("framed_present", "framed_not_present")


@dataclasses.dataclass(frozen=True)
class LabelStatsRequest:
    """What to count; the fields are the flags of `tools/label_stats.py`.

    Attributes:
      files: the label files to count. Class lists and the ontology name the classes; with a clip
        list, only its clips are counted.
      output_dir: directory of the tables and figures; created where it does not exist.
      top_k: how many labels to list for each label.
      rank_by: "odds_ratio" or "lower_bound" of its interval.
    """

    files: MetadataFiles
    output_dir: str
    top_k: int = 5
    rank_by: str = choices.ODDS_RATIO


def write(request: LabelStatsRequest) -> tuple[pd.DataFrame, list[pathlib.Path]]:
    """Writes the tables, and the figures that the labels allow.

    Returns:
      The summary (see `label_statistics.summary`) and the paths of the files. Always written are
      summary.csv, classes.csv and items_per_clip.csv; with strong labels segment_durations.csv;
      with clips that have both kinds priors.csv, odds_ratios.csv, odds_ratios_by_weak.csv and
      odds_ratios_by_strong.csv (the top k of each label); and PNG figures of the same names.

    Raises:
      errors.InputError: no file, malformed files, or a directory that cannot be written.
    """
    if request.top_k < 1:
        raise errors.InputError(f"top_k = {request.top_k}: must be at least 1")
    if request.rank_by not in choices.RANKINGS:
        known = " or ".join(choices.RANKINGS)
        raise errors.InputError(f"rank_by {request.rank_by!r}: must be {known}")
    names = request.files.class_names()
    by_file, by_kind = _read(request.files)
    sets = {**by_file, **by_kind}
    counts = label_statistics.class_counts(sets)
    if request.files.class_labels:
        _warn_of_nameless(counts, names.name)
    summary = label_statistics.summary(sets)
    out = _Output(request.output_dir)
    out.table("summary", summary)
    per_clip = label_statistics.items_per_clip(sets)
    # The figure shows kinds, not files; and no frames, which are tens a clip where labels are few.
    drawn = [kind for kind in by_kind if kind not in _OF_FRAMES]
    figure = label_figures.items_per_clip(per_clip[per_clip["set"].isin(drawn)])
    out.table("items_per_clip", per_clip, figure if drawn else None)

    classes = counts.reset_index()
    classes.insert(1, "display_name", classes["mid"].map(names.name))
    segments = by_kind.get("strong_segments")
    if segments is not None:
        durations = label_statistics.segment_durations(segments)
        classes = classes.merge(durations, how="left", left_on="mid", right_index=True)
        histogram = label_statistics.duration_histogram(segments)
        out.table("segment_durations", histogram, label_figures.segment_durations(histogram))
    out.table("classes", classes, label_figures.class_counts(counts[list(by_kind)]))
    if "weak" in by_kind and "strong" in by_kind:
        _compare(by_kind["weak"], by_kind["strong"], request=request, name=names.name, out=out)
    return summary, out.written


def _compare(
    weak: pd.DataFrame,
    strong: pd.DataFrame,
    *,
    request: LabelStatsRequest,
    name: Callable[[str], str],
    out: "_Output",
) -> None:
    """Compares weak and strong labels over the clips that have both."""
    weak, strong = label_statistics.in_common(weak, strong)
    priors = label_statistics.priors(weak, strong)
    if priors.empty:
        logging.warning("no clip has weak and strong labels: no priors and no odds ratios")
        return
    named = priors.assign(display_name=priors["mid"].map(name))
    out.table("priors", named, label_figures.priors(priors, name))
    ratios = label_statistics.odds_ratios(weak, strong, rank_by=request.rank_by)

    def with_names(table: pd.DataFrame) -> pd.DataFrame:
        sides = {f"{side}_name": table[f"{side}_mid"].map(name) for side in ("weak", "strong")}
        return table.assign(**sides)

    out.table("odds_ratios", with_names(ratios))
    for side, by in (
        ("weak", label_statistics.WEAK_MID),
        ("strong", label_statistics.STRONG_MID),
    ):
        top = label_statistics.top_pairs(ratios, by, request.top_k)
        figure = None if top.empty else label_figures.odds_ratios(top, by, name)
        out.table(f"odds_ratios_by_{side}", with_names(top), figure)


def _warn_of_nameless(counts: pd.DataFrame, name: Callable[[str], str]) -> None:
    nameless = {mid: int(count) for mid, count in counts.sum(axis=1).items() if name(mid) == mid}
    if nameless:
        logging.warning("in no class list: %s", vocabularies.list_counts(nameless, name))


def _read(request_files: MetadataFiles) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """The sets of items to count, see `label_statistics`.

    Returns:
      Those of each file, where a kind of label comes from several files; and those of each kind.
    """
    clip_ids = request_files.clip_ids()
    tables = request_files.read_each()
    if clip_ids is not None:
        tables = {
            kind: {
                path: table[table_files.is_among(table["clip_id"], clip_ids)]
                for path, table in by_path.items()
            }
            for kind, by_path in tables.items()
        }
    by_file: dict[str, pd.DataFrame] = {}
    by_kind: dict[str, pd.DataFrame] = {}
    for name, (kind, items) in _ITEMS.items():
        parts = {path: items(table) for path, table in tables[kind].items()}
        if len(parts) > 1:
            by_file |= {f"{name}: {os.path.basename(path)}": part for path, part in parts.items()}
            whole = pd.concat(list(parts.values()), ignore_index=True)
            by_kind[name] = whole.drop_duplicates(ignore_index=True)
        elif parts:
            (by_kind[name],) = parts.values()
    if not by_kind:
        raise errors.InputError(
            "no file to count: give --weak_csv, --strong_tsv, --framed_tsv or --negatives"
        )
    if not any(len(items) for items in by_kind.values()):
        raise errors.InputError("nothing to count: the files hold no label of the chosen clips")
    return by_file, by_kind


class _Output:
    """A directory of CSV files and of figures that show them."""

    def __init__(self, directory: str):
        self.directory = pathlib.Path(directory)
        self.written: list[pathlib.Path] = []
        with files.writing(directory):
            files.make_directory(directory)

    def table(
        self, name: str, table: pd.DataFrame, figure: matplotlib.figure.Figure | None = None
    ) -> None:
        """Writes NAME.csv and, where there is a figure, NAME.png."""
        path = self.directory / f"{name}.csv"
        with files.writing(path):
            files.write_text(path, _with_texts(table).to_csv(index=False))
        self.written.append(path)
        if figure is not None:
            drawing.save(figure, path.with_suffix(".png"))
            self.written.append(path.with_suffix(".png"))


def _with_texts(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its floats as texts, as `to_csv(float_format="%.6g")` would write them.

    pandas calls Python functions for every float; a table of odds ratios has a million of them.
    """
    floats = table.select_dtypes("floating")
    texts = {
        name: ["" if value != value else f"{value:.6g}" for value in column.tolist()]
        for name, column in floats.items()
    }
    return table.assign(**texts)
