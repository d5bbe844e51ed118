"""Pictures by class: d' of all classes, ROC and precision-recall curves of chosen ones."""

import dataclasses
import io
from collections.abc import Iterable, Sequence

import matplotlib.figure
import matplotlib.ticker
import numpy as np
import pandas as pd
from scipy import integrate

from audioset_strong.core import drawing, errors, files
from audioset_strong.evaluation import eval_metrics, metrics, scoring
from audioset_strong.labels import vocabularies

_MAX_NAMED = 50  # of more classes only the best and the worst are named
_NAME_LENGTH = 40
_POINTS = [field.name for field in dataclasses.fields(metrics.Curve)]
_BLUE = "#0072B2"
_RED = "#D55E00"


def find_classes(names: Iterable[str], vocabulary: vocabularies.Vocabulary) -> tuple[str, ...]:
    """Finds classes by mid or by display name.

    Args:
      names: mids or display names, the latter in any case.
      vocabulary: the classes.

    Returns:
      Their mids, each once, in the order of `names`.

    Raises:
      errors.InputError: no such class, or a display name that several classes have.
    """
    found = []
    for name in names:
        if name in vocabulary.index:
            found.append(name)
            continue
        mids = [
            mid
            for mid, shown in zip(vocabulary.mids, vocabulary.names, strict=True)
            if shown.casefold() == name.casefold()
        ]
        if len(mids) != 1:
            wrong = (
                f"is the name of several classes ({', '.join(mids)})"
                if mids
                else f"is neither a mid nor a display name of the {len(vocabulary)} classes"
            )
            raise errors.InputError(f"--plot_classes: {name!r} {wrong}")
        found += mids
    return tuple(dict.fromkeys(found))


def curves(
    samples: eval_metrics.Samples, vocabulary: vocabularies.Vocabulary, *, mids: Sequence[str]
) -> pd.DataFrame:
    """ROC and precision-recall curves of classes.

    The negatives are those of section 3.2. For a class without any of them, everything that is not
    positive counts as negative (implicit negatives).

    Args:
      samples: of an eval set.
      vocabulary: the classes.
      mids: the classes to take.

    Returns:
      mid, display_name, negatives ("known", "complementary" where none of them is explicit, or
      "implicit"), and the columns of `metrics.Curve`, with probabilities as thresholds. A class
      without positives, or with nothing but positives, has one row with negatives "none" and no
      numbers.
    """
    tables = []
    for mid in mids:
        k = vocabulary.index[mid]
        labels, kind = samples.labels[:, k], "known"
        negative = labels == metrics.NEGATIVE
        if not (negative & samples.explicit[:, k]).any():
            kind = "complementary"
        if not negative.any():
            labels, kind = (labels == metrics.POSITIVE).astype(np.int8), "implicit"
        if (labels == metrics.POSITIVE).any() and (labels == metrics.NEGATIVE).any():
            points = dict(vars(metrics.curve(labels, samples.scores[:, k])))
            # The first threshold stays infinite: a probability of 1 would not be above all scores.
            points["threshold"][1:] = scoring.probabilities(
                points["threshold"][1:], are_logits=samples.are_logits
            )
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
        shown = _short(name) + ("" if negatives == "known" else f" ({negatives} negatives)")
        roc.plot(rate, recall, label=f"{shown}, AUC {integrate.trapezoid(recall, rate):.3f}")
        # As in average precision: each recall counts with the precision where it is first reached.
        first = rows.drop_duplicates("recall")
        average = np.diff(first["recall"]) @ first["precision"].to_numpy()[1:]
        label = f"{shown}, AP {average:.3f}"
        precision.step(first["recall"], first["precision"], where="pre", label=label)
    for panel, panel_title, x, y in (
        (roc, "ROC", "false positive rate", "true positive rate"),
        (precision, "Precision and recall", "recall", "precision"),
    ):
        panel.set(title=panel_title, xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        panel.grid(alpha=0.3)
        _as_plain_text(panel.legend(fontsize="small").get_texts())
    figure.suptitle(title)
    return figure


def draw_per_class(table: pd.DataFrame, title: str) -> matplotlib.figure.Figure:
    """d' of each class, in order, and over the number of its positives.

    Args:
      table: `eval_metrics.EvalResult.per_class` with a column display_name. Where no class has a d'
        on explicit negatives, the one on complementary or implicit negatives is drawn.
      title: above it.
    """
    column = eval_metrics.class_d_prime(table)
    used = table.dropna(subset=[column]).sort_values(column)
    num_rows = min(len(used), _MAX_NAMED)
    figure = drawing.new_figure(12.0, max(4.0, 1.6 + 0.19 * num_rows))
    ordered, scattered = figure.subplots(1, 2, width_ratios=[3, 2])
    _draw_ordered(ordered, used, column)
    _draw_by_positives(scattered, used, column)
    mean = used[column].mean()
    for line in (ordered.axvline, scattered.axhline):
        if len(used):
            line(mean, color=_RED, linestyle="--", linewidth=1)
    for panel in (ordered, scattered):
        panel.grid(alpha=0.3)
    figure.suptitle(f"{title}, mean d' {mean:.2f}" if len(used) else title)
    return figure


def _draw_ordered(panel: matplotlib.axes.Axes, used: pd.DataFrame, column: str) -> None:
    """d' of the classes by name; of many classes the lowest and the highest."""
    shown, half = used, _MAX_NAMED // 2
    if len(used) > _MAX_NAMED:
        shown = pd.concat([used.head(half), used.tail(half)])
    y = np.arange(len(shown))
    panel.hlines(y, 0, shown[column], color="#bbbbbb", linewidth=1)
    panel.plot(shown[column], y, "o", color=_BLUE, markersize=4)
    names = panel.set_yticks(y, [_short(name) for name in shown["display_name"]])
    _as_plain_text(tick.label1 for tick in names)
    panel.set_ylim(-0.8, max(len(shown) - 0.2, 0.8))
    panel.set_xlabel(eval_metrics.metric_title(column))
    if len(shown) < len(used):
        panel.axhline(half - 0.5, color="#555555", linestyle=":")
        panel.set_title(f"the {half} lowest and the {half} highest of {len(used)} classes")
    else:
        panel.set_title(f"{len(used)} classes")


def _draw_by_positives(panel: matplotlib.axes.Axes, used: pd.DataFrame, column: str) -> None:
    """d' of the classes over the number of their positive samples."""
    panel.plot(used["positives"], used[column], ".", color=_BLUE)
    if len(used):
        panel.set_xscale("log", subs=[2, 5])
        panel.xaxis.set_major_formatter("{x:,.0f}")
        minor = matplotlib.ticker.LogFormatter(minor_thresholds=(2, 2))  # up to two decades
        panel.xaxis.set_minor_formatter(minor)
    panel.set_title("by number of positives")
    panel.set(xlabel="positive samples", ylabel=eval_metrics.metric_title(column))


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 3] + "..."


def _as_plain_text(texts: Iterable[matplotlib.text.Text]) -> None:
    for text in texts:
        text.set_parse_math(False)  # a $ in a name is a $


def write_per_class(
    result: eval_metrics.EvalResult, vocabulary: vocabularies.Vocabulary, path_stem: str
) -> None:
    """Writes the table of classes with their display names.

    Args:
      result: of an eval set.
      vocabulary: the classes.
      path_stem: the table goes to `<path_stem>.csv`.

    Raises:
      OSError: it cannot be written.
    """
    table = result.per_class.copy()
    table.insert(1, "display_name", vocabulary.names)
    files.write_text(f"{path_stem}.csv", table.to_csv(index=False))


def write_picture(path_stem: str, title: str) -> str:
    """Draws the table of `write_per_class`, see `draw_per_class`.

    Args:
      path_stem: of the table; the picture goes to `<path_stem>.png`.
      title: of the picture.

    Returns:
      The path of the picture.

    Raises:
      OSError: it cannot be written, or there is no table.
    """
    table = pd.read_csv(io.StringIO(files.read_text(f"{path_stem}.csv")))
    drawing.save(draw_per_class(table, title), f"{path_stem}.png")
    return f"{path_stem}.png"


def write_curves(
    samples: eval_metrics.Samples,
    vocabulary: vocabularies.Vocabulary,
    *,
    mids: Sequence[str],
    title: str,
    path_stem: str,
) -> None:
    """Writes the curves of classes, see `curves`, and their picture.

    Args:
      samples: of an eval set.
      vocabulary: the classes.
      mids: the classes to draw.
      title: of the picture.
      path_stem: the table goes to `<path_stem>.csv`, the picture to `<path_stem>.png`.

    Raises:
      OSError: they cannot be written.
    """
    table = curves(samples, vocabulary, mids=mids)
    drawing.save(draw_curves(table, title), f"{path_stem}.png")
    # The table is written last, because `have_curves` looks for it.
    files.write_text(f"{path_stem}.csv", table.to_csv(index=False, float_format="%.6g"))


def have_curves(path_stem: str, mids: Sequence[str]) -> bool:
    """Whether `write_curves` wrote the curves of all of these classes under this stem."""
    path = f"{path_stem}.csv"
    if not mids:
        return True
    if not files.exists(path):
        return False
    table = pd.read_csv(io.StringIO(files.read_text(path)), usecols=["mid"])
    return set(mids) <= set(table["mid"])
