"""Pictures of single classes: d' of all of them, ROC and precision-recall curves of chosen ones."""

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence

import matplotlib.figure
import matplotlib.ticker
import numpy as np
import pandas as pd
from scipy import integrate

from audioset_strong.core import drawing, errors
from audioset_strong.evaluation import eval_metrics, metrics
from audioset_strong.labels import vocabularies
from audioset_strong.training import checkpoints

_MOST_NAMED = 50  # of more classes the best and the worst are named
_NAME_LENGTH = 40
_POINTS = [field.name for field in dataclasses.fields(metrics.Curve)]
_BLUE = "#0072B2"
_RED = "#D55E00"


def find_classes(wanted: Iterable[str], vocabulary: vocabularies.Vocabulary) -> tuple[str, ...]:
    """The mids of classes that are given by mid or by display name.

    Raises:
      errors.InputError: a class that is not there, or a name of several.
    """
    found = []
    for name in wanted:
        if name in vocabulary.index:
            found.append(name)
            continue
        mids = [
            mid
            for mid, shown in zip(vocabulary.mids, vocabulary.names, strict=True)
            if shown.casefold() == name.casefold()
        ]
        if len(mids) != 1:
            what = f"several classes ({', '.join(mids)})" if mids else "no mid and no display name"
            raise errors.InputError(
                f"--plot_classes: {name!r} is {what} of {len(vocabulary)} classes"
            )
        found += mids
    return tuple(dict.fromkeys(found))


def curves(
    samples: eval_metrics.Samples, vocabulary: vocabularies.Vocabulary, mids: Sequence[str]
) -> pd.DataFrame:
    """ROC and precision-recall curves of classes.

    Against the negatives of section 3.2, or all that are not positive where a class has none of
    the former.

    Args:
      samples: of an eval set.
      vocabulary: the classes.
      mids: those to take.

    Returns:
      mid, display_name, negatives ("known" or "implicit"), and the columns of `metrics.Curve`; of
      a class without positives, or with nothing else, one row of "none" without numbers.
    """
    tables = []
    for mid in mids:
        k = vocabulary.index[mid]
        labels, kind = samples.labels[:, k], "known"
        if not (labels == metrics.NEGATIVE).any():
            labels, kind = (labels == metrics.POSITIVE).astype(np.int8), "implicit"
        if (labels == metrics.POSITIVE).any() and (labels == metrics.NEGATIVE).any():
            points = vars(metrics.curve(samples.scores[:, k], labels))
        else:
            kind, points = "none", {name: [np.nan] for name in _POINTS}
        names = {"mid": mid, "display_name": vocabulary.names[k], "negatives": kind}
        tables.append(pd.DataFrame(names | points))
    return pd.concat(tables, ignore_index=True)


def draw_curves(table: pd.DataFrame, title: str) -> matplotlib.figure.Figure:
    """ROC and precision-recall curves side by side.

    Args:
      table: of `curves`.
      title: above them.
    """
    figure = drawing.new_figure(11.0, 5.4)
    roc, precision = figure.subplots(1, 2)
    roc.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
    for (name, negatives), rows in table.groupby(["display_name", "negatives"], sort=False):
        if negatives == "none":
            for panel in (roc, precision):
                panel.plot([], [], label=f"{_short(name)}: no positives, or nothing else")
            continue
        rate, recall = rows["false_positive_rate"], rows["recall"]
        shown = _short(name) + (" (implicit negatives)" if negatives == "implicit" else "")
        roc.plot(rate, recall, label=f"{shown}, AUC {integrate.trapezoid(recall, rate):.3f}")
        # As average precision sums them: a recall is reached at the precision of its threshold.
        first = rows.drop_duplicates("recall")
        average = np.diff(first["recall"]) @ first["precision"].to_numpy()[1:]
        label = f"{shown}, AP {average:.3f}"
        precision.step(first["recall"], first["precision"], where="pre", label=label)
    for panel, what, x, y in (
        (roc, "ROC", "false positive rate", "true positive rate"),
        (precision, "Precision and recall", "recall", "precision"),
    ):
        panel.set(title=what, xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        panel.grid(alpha=0.3)
        _as_plain_text(panel.legend(fontsize="small").get_texts())
    figure.suptitle(title)
    return figure


def draw_per_class(table: pd.DataFrame, title: str) -> matplotlib.figure.Figure:
    """d' of each class, in order, and against how many positives it has.

    Args:
      table: `measures.Measured.per_class` with display_name. Where no class has a d' on the
        negatives of section 3.2, the one on implicit negatives is drawn.
      title: above it.
    """
    column = "d_prime" if table["d_prime"].notna().any() else "d_prime_implicit"
    used = table.dropna(subset=[column]).sort_values(column)
    shown = used
    if len(used) > _MOST_NAMED:
        half = _MOST_NAMED // 2
        shown = pd.concat([used.head(half), used.tail(half)])
    figure = drawing.new_figure(12.0, max(4.0, 1.6 + 0.19 * len(shown)))
    ordered, scattered = figure.subplots(1, 2, width_ratios=[3, 2])
    y = np.arange(len(shown))
    ordered.hlines(y, 0, shown[column], color="#bbbbbb", linewidth=1)
    ordered.plot(shown[column], y, "o", color=_BLUE, markersize=4)
    names = ordered.set_yticks(y, [_short(name) for name in shown["display_name"]])
    _as_plain_text(tick.label1 for tick in names)
    ordered.set_ylim(-0.8, max(len(shown) - 0.2, 0.8))
    if len(shown) < len(used):
        ordered.axhline(half - 0.5, color="#555555", linestyle=":")
        ordered.set_title(f"the {half} lowest and the {half} highest of {len(used)} classes")
    else:
        ordered.set_title(f"{len(used)} classes")
    scattered.plot(used["positives"], used[column], ".", color=_BLUE)
    if len(used):
        scattered.set_xscale("log", subs=[2, 5])
        scattered.xaxis.set_major_formatter("{x:,.0f}")
        minor = matplotlib.ticker.LogFormatter(minor_thresholds=(2, 2))  # up to two decades
        scattered.xaxis.set_minor_formatter(minor)
    scattered.set_title("by how often it is heard")
    scattered.set(xlabel="positive samples", ylabel=_axis_title(column))
    ordered.set_xlabel(_axis_title(column))
    mean = used[column].mean()
    for line in (ordered.axvline, scattered.axhline):
        if len(used):
            line(mean, color=_RED, linestyle="--", linewidth=1)
    for panel in (ordered, scattered):
        panel.grid(alpha=0.3)
    figure.suptitle(f"{title}, mean d' {mean:.2f}" if len(used) else title)
    return figure


def _axis_title(column: str) -> str:
    return "d'" if column == "d_prime" else "d' (implicit negatives)"


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 3] + "..."


def _as_plain_text(texts: Iterable[matplotlib.text.Text]) -> None:
    for text in texts:
        text.set_parse_math(False)  # a $ in a name is a $


def write_per_class(
    measured: eval_metrics.Measured, vocabulary: vocabularies.Vocabulary, title: str, stem: str
) -> None:
    """Writes the table of `measures.Measured` with the classes' names, and its picture.

    Args:
      measured: an eval set.
      vocabulary: the classes.
      title: of the picture.
      stem: the path of both files, `<stem>.csv` and `<stem>.png`.
    """
    table = measured.per_class.copy()
    table.insert(1, "display_name", vocabulary.names)
    checkpoints.write_text(pathlib.Path(f"{stem}.csv"), table.to_csv(index=False))
    drawing.save(draw_per_class(table, title), pathlib.Path(f"{stem}.png"))


def write_curves(
    samples: eval_metrics.Samples,
    vocabulary: vocabularies.Vocabulary,
    mids: Sequence[str],
    title: str,
    stem: str,
) -> None:
    """Writes the curves of classes as `<stem>.csv` and `<stem>.png`; see `curves`."""
    table = curves(samples, vocabulary, mids)
    drawing.save(draw_curves(table, title), pathlib.Path(f"{stem}.png"))
    # Last: it tells that both are there.
    text = table.to_csv(index=False, float_format="%.6g")
    checkpoints.write_text(pathlib.Path(f"{stem}.csv"), text)


def have_curves(stem: str, mids: Sequence[str]) -> bool:
    """Whether `write_curves` wrote those of all of these classes."""
    path = pathlib.Path(f"{stem}.csv")
    if not mids:
        return True
    return path.exists() and set(mids) <= set(pd.read_csv(path, usecols=["mid"])["mid"])
