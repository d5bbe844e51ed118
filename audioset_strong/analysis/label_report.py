"""The statistics of metadata files, as CSV files and figures."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence

import pandas as pd
from absl import logging

from audioset_strong.analysis import label_figures, label_statistics
from audioset_strong.core import drawing, errors
from audioset_strong.labels import metadata
from audioset_strong.labels.ontology import Ontology
from audioset_strong.labels.vocabularies import Vocabulary, describe


@dataclasses.dataclass(frozen=True)
class Request:
    """What to count; the fields are the flags of `tools/label_stats.py`.

    Attributes:
      output_dir: where the tables and figures go; created where it does not exist.
      weak_csvs, strong_tsvs, framed_tsvs, negatives: metadata files.
      class_labels: class lists, for the names of the classes.
      ontology: ontology.json, for the names of those in no class list.
      clip_list: file of segment ids; only these clips are counted.
      top_k: labels listed for each label, by odds ratio.
      skip_bad_rows: leave malformed rows out instead of raising.
    """

    output_dir: str
    weak_csvs: tuple[str, ...] = ()
    strong_tsvs: tuple[str, ...] = ()
    framed_tsvs: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    class_labels: tuple[str, ...] = ()
    ontology: str | None = None
    clip_list: str | None = None
    top_k: int = 5
    skip_bad_rows: bool = False


def write(request: Request) -> tuple[pd.DataFrame, list[pathlib.Path]]:
    """Writes the tables, and the figures of what there is.

    Returns:
      The summary (see `label_statistics.summary`), and the files written: summary.csv, classes.csv,
      items_per_clip.csv; with strong labels segment_durations.csv; with clips of both kinds
      priors.csv, odds_ratios.csv, odds_ratios_by_weak.csv and odds_ratios_by_strong.csv (the top k
      of each label); and PNG figures of the same names.

    Raises:
      errors.InputError: no or malformed files, or a directory that cannot be written.
    """
    if request.top_k < 1:
        raise errors.InputError(f"top_k = {request.top_k}: must be at least 1")
    name = _names(request.class_labels, request.ontology)
    files, kinds, strong = _read(request)
    sets = {**files, **kinds}
    counts = label_statistics.class_counts(sets)
    if request.class_labels:
        _warn_of_nameless(counts, name)
    classes = counts.reset_index()
    classes.insert(1, "display_name", classes["mid"].map(name))
    per_clip = label_statistics.items_per_clip(sets)
    summary = label_statistics.summary(sets)
    out = _Output(request.output_dir)
    out.table("summary", summary)
    # Figures show the kinds whole. Frames are tens a clip, where labels are a few.
    drawn = [kind for kind in kinds if not kind.startswith("framed")]
    figure = label_figures.items_per_clip(per_clip[per_clip["set"].isin(drawn)])
    out.table("items_per_clip", per_clip, figure if drawn else None)
    if strong is not None:
        durations = label_statistics.segment_durations(strong)
        classes = classes.merge(durations, how="left", left_on="mid", right_index=True)
        histogram = label_statistics.duration_histogram(strong)
        out.table("segment_durations", histogram, label_figures.segment_durations(histogram))
    out.table("classes", classes, label_figures.class_counts(counts[list(kinds)]))
    if "weak" in kinds and "strong" in kinds:
        _compare(kinds["weak"], kinds["strong"], request.top_k, name, out)
    return summary, out.written


def _compare(
    weak: pd.DataFrame, strong: pd.DataFrame, top_k: int, name: Callable[[str], str], out: "_Output"
) -> None:
    """Weak against strong labels, over the clips that have both."""
    priors = label_statistics.priors(weak, strong)
    if priors.empty:
        logging.warning("no clip has weak and strong labels: no priors and no odds ratios")
        return
    named = priors.assign(display_name=priors["mid"].map(name))
    out.table("priors", named, label_figures.priors(priors, name))
    ratios = label_statistics.odds_ratios(weak, strong)

    def with_names(table: pd.DataFrame) -> pd.DataFrame:
        sides = {f"{side}_name": table[f"{side}_mid"].map(name) for side in ("weak", "strong")}
        return table.assign(**sides)

    out.table("odds_ratios", with_names(ratios))
    for side, by in (("weak", label_statistics.WEAK), ("strong", label_statistics.STRONG)):
        top = label_statistics.top_pairs(ratios, by, top_k)
        figure = None if top.empty else label_figures.odds_ratios(top, by, name)
        out.table(f"odds_ratios_by_{side}", with_names(top), figure)


def _names(class_labels: Sequence[str], ontology: str | None) -> Callable[[str], str]:
    vocabulary = Vocabulary.from_files(class_labels) if class_labels else Vocabulary((), ())
    if ontology:
        nodes = Ontology.read(ontology).names
        vocabulary = vocabulary.union(Vocabulary(tuple(nodes), tuple(nodes.values())))
    return vocabulary.name


def _warn_of_nameless(counts: pd.DataFrame, name: Callable[[str], str]) -> None:
    nameless = {mid: int(count) for mid, count in counts.sum(axis=1).items() if name(mid) == mid}
    if nameless:
        logging.warning("of no class listed: %s", describe(nameless, name))


def _read(
    request: Request,
) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame], pd.DataFrame | None]:
    """The items to count, see `label_statistics`.

    Returns:
      Those of each file, where a kind of label comes from several files; those of each kind; and
      the strong segments.
    """
    clips = set(metadata.read_clip_list(request.clip_list)) if request.clip_list else None
    files: dict[str, pd.DataFrame] = {}
    kinds: dict[str, pd.DataFrame] = {}

    def read(reader: Callable, paths: Sequence[str]) -> dict[str, pd.DataFrame]:
        tables = {path: reader(path, skip_bad_rows=request.skip_bad_rows) for path in paths}
        if clips is None:
            return tables
        return {path: table[table["clip_id"].isin(clips)] for path, table in tables.items()}

    def add(kind: str, tables: dict[str, pd.DataFrame], items: Callable) -> None:
        parts = {path: items(table) for path, table in tables.items()}
        if len(parts) > 1:
            files.update({f"{kind}: {os.path.basename(path)}": parts[path] for path in parts})
            whole = pd.concat(list(parts.values()), ignore_index=True)
            kinds[kind] = whole.drop_duplicates(ignore_index=True)
        elif parts:
            (kinds[kind],) = parts.values()

    strong = read(metadata.read_strong_tsv, request.strong_tsvs)
    framed = read(metadata.read_framed_tsv, request.framed_tsvs)
    add("weak", read(metadata.read_weak_csv, request.weak_csvs), label_statistics.weak_items)
    add("strong", strong, label_statistics.clip_items)
    add("strong_segments", strong, lambda table: table)
    add("negatives", read(metadata.read_negatives, request.negatives), lambda table: table)
    add("framed_present", framed, lambda table: table[table["present"]])
    add("framed_not_present", framed, lambda table: table[~table["present"]])
    if not kinds:
        raise errors.InputError(
            "no file to count: give --weak_csv, --strong_tsv, --framed_tsv or --negatives"
        )
    if not any(len(items) for items in kinds.values()):
        raise errors.InputError("nothing to count: no label of the clips asked for in the files")
    return files, kinds, kinds.get("strong_segments")


class _Output:
    """A directory of CSV files and of figures that show them."""

    def __init__(self, directory: str):
        self.directory = pathlib.Path(directory)
        self.written: list[pathlib.Path] = []
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise errors.InputError(f"cannot write to {directory}: {error.strerror}") from error

    def table(self, name: str, table: pd.DataFrame, figure=None) -> None:
        """Writes NAME.csv and, where there is a figure, NAME.png."""
        path = self.directory / f"{name}.csv"
        try:
            table.to_csv(path, index=False, float_format="%.6g")
            self.written.append(path)
            if figure is not None:
                drawing.save(figure, path.with_suffix(".png"))
                self.written.append(path.with_suffix(".png"))
        except OSError as error:
            raise errors.InputError(f"cannot write to {path}: {error.strerror}") from error
