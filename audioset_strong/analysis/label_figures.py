"""Figures of labels: a clip with all of its labels (Fig. 1), priors (Fig. 2), counts, odds ratios.

Every function returns a matplotlib figure without a window; `drawing.save` writes it.
"""

import itertools
import typing
from collections.abc import Callable, Sequence

import adjustText
import matplotlib.axes
import matplotlib.figure
import matplotlib.patches
import matplotlib.ticker
import matplotlib.transforms
import numpy as np
import pandas as pd

from audioset_strong.analysis import label_statistics
from audioset_strong.audio.features import DEFAULT_FRONT_END, FrontEnd, log_mel
from audioset_strong.core import drawing
from audioset_strong.labels import framed_labels, framing
from audioset_strong.labels.vocabularies import Vocabulary
from audioset_strong.records import clip_records

Name = Callable[[str], str]  # mid -> display name

# Distinguishable for colour-blind readers (Okabe and Ito 2008, https://jfly.uni-koeln.de/color/).
_WEAK, _STRONG, _POSITIVE, _NEGATIVE = "#E69F00", "#0072B2", "#009E73", "#D55E00"
_SET_COLOURS = ("#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
_NAMED_CLASSES = 24  # in Fig. 2, at most, and at most a quarter of the classes
_LONGEST_NAME = 34  # characters
_PLACEMENT_STEPS, _MARKER_PIXELS = 200, 4  # of the search for places of the names
_LABELS_SHOWN, _PARTNERS_SHOWN = 12, 3  # of the odds ratios


def clip(
    shown: clip_records.Clip,
    vocabulary: Vocabulary,
    *,
    rule: str = framing.RELEASED,
    front_end: FrontEnd = DEFAULT_FRONT_END,
) -> matplotlib.figure.Figure:
    """Fig. 1: a clip's spectrogram above its weak, strong and framed labels.

    Every class has its own row in each panel; the panels share one time axis.

    Args:
      shown: the clip.
      vocabulary: the classes that the indices of the clip stand for.
      rule: of the framed labels, see `framing.frame_labels`.
      front_end: of the spectrogram. For a clip whose record holds log-mel values, the one that
        they were computed with.
    """
    weak = sorted(shown.weak_labels or ())
    strong = sorted({label for _, _, label in shown.segments or ()})
    negative = sorted(set(shown.negatives or ()) - set(strong))
    framed = [*strong, *negative]
    heights = [2.6, *(max(0.25 * len(classes), 0.5) for classes in (weak, strong, framed))]
    figure = drawing.new_figure(9.5, 1.9 + sum(heights))
    axes = figure.subplots(4, 1, sharex=True, height_ratios=heights)
    _spectrogram(axes[0], shown, front_end)
    axes[0].set_title(shown.clip_id, fontsize=10)
    strong_known = shown.segments is not None
    for axis, classes, known, kind in (
        (axes[1], weak, shown.weak_labels is not None, "weak"),
        (axes[2], strong, strong_known, "strong"),
        (axes[3], framed, strong_known, "framed"),
    ):
        _class_rows(axis, [_short(vocabulary.names[k]) for k in classes], kind, known=known)
    axes[1].barh(range(len(weak)), shown.seconds, height=0.7, color=_WEAK)
    _segments(axes[2], shown, strong)
    _frames(axes[3], shown, framed, num_classes=len(vocabulary), rule=rule)
    figure.align_ylabels(axes)
    axes[3].set_xlabel("time (s)")
    axes[3].set_xlim(0, max(shown.seconds, 10.0))
    axes[3].xaxis.set_major_locator(matplotlib.ticker.MultipleLocator(1))
    legend = [
        matplotlib.patches.Patch(color=_POSITIVE, label="positive"),
        matplotlib.patches.Patch(color=_NEGATIVE, label="complementary negative"),
        matplotlib.patches.Patch(
            facecolor="none", edgecolor=_NEGATIVE, hatch="////", label="explicit negative"
        ),
    ]
    figure.legend(handles=legend, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _class_rows(
    axis: matplotlib.axes.Axes, names: Sequence[str], kind: str, *, known: bool
) -> None:
    """Prepares a panel with one row for each class; a note takes the place of no rows."""
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    axis.set_ylabel(kind)
    if not names:
        note = f"no {kind} label" if known else f"{kind} labels unknown"
        axis.text(0.5, 0.5, note, transform=axis.transAxes, ha="center", va="center")


def _spectrogram(axis: matplotlib.axes.Axes, shown: clip_records.Clip, front_end: FrontEnd) -> None:
    if shown.log_mel is not None:
        values = shown.log_mel.values.astype(np.float32)
    else:
        # A clip shorter than one window would have no spectrogram at all.
        missing = max(front_end.window_samples - shown.num_samples, 0)
        values = log_mel(np.pad(shown.waveform, (0, missing)), front_end).numpy()
    stft_frames, bands = values.shape
    hop_s = front_end.hop_samples / front_end.sample_rate
    left = (front_end.window_samples / front_end.sample_rate - hop_s) / 2
    axis.imshow(
        values.T,
        origin="lower",
        aspect="auto",
        cmap="magma",
        extent=(left, left + stft_frames * hop_s, -0.5, bands - 0.5),
        interpolation="nearest",
    )
    hz = np.array([250, 500, 1000, 2000, 4000])
    hz = hz[(front_end.lower_hz < hz) & (hz < front_end.upper_hz)]
    edges = np.log1p(np.array([front_end.lower_hz, front_end.upper_hz]) / 700)
    position = (np.log1p(hz / 700) - edges[0]) / (edges[1] - edges[0]) * (bands + 1) - 1
    axis.set_yticks(position, [f"{value}" for value in hz], fontsize=8)
    axis.set_ylabel("Hz")
    axis.tick_params(axis="x", labelbottom=False)


def _segments(axis: matplotlib.axes.Axes, shown: clip_records.Clip, classes: Sequence[int]) -> None:
    for start_ms, end_ms, label in shown.segments or ():
        axis.barh(
            classes.index(label),
            (end_ms - start_ms) / 1000,
            left=start_ms / 1000,
            height=0.7,
            # Half transparent, so that overlaps show; the edge makes the shortest segments visible.
            color=(*matplotlib.colors.to_rgb(_STRONG), 0.6),
            edgecolor=_STRONG,
            linewidth=1,
        )


def _frames(
    axis: matplotlib.axes.Axes,
    shown: clip_records.Clip,
    classes: Sequence[int],
    *,
    num_classes: int,
    rule: str,
) -> None:
    segments = np.array(shown.segments or (), np.int64).reshape(1, -1, 3)
    grid = framed_labels.frame_grid()
    grid = grid[framing.frames_inside(grid, framing.FRAME_MS, 1000 * shown.seconds)]
    positive = framing.frame_labels(
        segments[..., 0],
        segments[..., 1],
        segments[..., 2],
        frame_start=grid[np.newaxis],
        frame_length=framing.FRAME_MS,
        num_classes=num_classes,
        rule=rule,
    )
    explicit = np.zeros((1, num_classes), bool)
    explicit[0, list(shown.negatives or ())] = True
    labels = framing.three_valued_labels(positive, explicit).numpy()[0]  # [frames, classes]
    for row, label in enumerate(classes):
        whole_clip = not (labels[:, label] > 0).any()  # no positive frame: an explicit negative
        for start, value in zip(grid / 1000, labels[:, label], strict=True):
            if value < 0:
                continue
            hatched = value == 0 and whole_clip
            axis.barh(
                row,
                framing.FRAME_MS / 1000,
                left=start,
                height=0.7,
                align="center",
                facecolor="none" if hatched else _POSITIVE if value else _NEGATIVE,
                edgecolor=_NEGATIVE if hatched else "white",
                hatch="////" if hatched else None,
                linewidth=0.8,
            )


def priors(table: pd.DataFrame, name: Name) -> matplotlib.figure.Figure:
    """Fig. 2: the share of clips that have each class, by strong against by weak labels.

    Classes that have only one kind of label cannot be drawn on logarithmic axes; the title counts
    them. The classes farthest from the diagonal are named, as far as there is room.

    Args:
      table: of `label_statistics.priors`.
      name: gives the display name of a mid.
    """
    drawn = table[(table["weak_clips"] > 0) & (table["strong_clips"] > 0)]
    figure = drawing.new_figure(7.5, 7.5)
    axis = figure.subplots()
    points = drawn[["weak_prior", "strong_prior"]].to_numpy()
    limits = (points.min() / 2, min(points.max() * 2, 1.5)) if len(points) else (5e-4, 1.5)
    _ratio_lines(axis, limits)
    axis.plot(*points.T, "o", color=_STRONG, alpha=0.6, markersize=4, zorder=2)
    axis.set(xscale="log", yscale="log", xlim=limits, ylim=limits, aspect="equal")
    steps = (1, 2, 5) if limits[1] < 100 * limits[0] else (1,)  # a decade
    for side, kind in ((axis.xaxis, "weak"), (axis.yaxis, "strong")):
        side.set_major_locator(matplotlib.ticker.LogLocator(subs=steps))
        side.set_major_formatter(lambda share, _: f"{100 * share:g}%")
        side.set_minor_formatter(matplotlib.ticker.NullFormatter())
        side.set_label_text(f"share of clips with the {kind} label")
    axis.grid(alpha=0.2)
    one_sided = [
        f"{np.count_nonzero(table[f'{kind}_clips'] == 0)} classes without {kind} label"
        for kind in ("weak", "strong")
    ]
    axis.set_title(f"{len(drawn)} classes; not shown: {', '.join(one_sided)}", fontsize=9)
    named = min(_NAMED_CLASSES, -(-len(drawn) // 4))
    farthest = drawn.loc[drawn["ratio"].map(np.log).abs().nlargest(named).index]
    _name_points(
        axis,
        farthest[["weak_prior", "strong_prior"]].to_numpy(),
        [_short(name(mid)) for mid in farthest["mid"]],
        obstacles=points,
    )
    return figure


def _ratio_lines(axis: matplotlib.axes.Axes, limits: tuple[float, float]) -> None:
    """Draws the lines on which the strong share is 0.1, 1 and 10 times the weak one."""
    low, high = limits
    for factor, style in ((1, "-"), (10, "--"), (0.1, "--")):
        ends = np.array(limits)
        axis.plot(ends, ends * factor, style, color="#888888", linewidth=1, zorder=1)
        if low * max(factor, 1 / factor) >= high:  # outside the axes
            continue
        x_end = min(high, high / factor)
        axis.annotate(
            f"{factor:g}\u00d7",
            (x_end, x_end * factor),
            # Below the line: to the right of an end at the top, to the left of one at the right.
            xytext=(5, -10) if factor > 1 else (-4, -24),
            textcoords="offset points",
            ha="left" if factor > 1 else "right",
            va="center",
            color="#666666",
            fontsize=8,
        )


def _name_points(
    axis: matplotlib.axes.Axes, points: np.ndarray, names: Sequence[str], *, obstacles: np.ndarray
) -> None:
    """Writes names beside points, with a line to the point where the name is not next to it.

    Args:
      axis: to write on; its limits must be set.
      points: `[names, 2]`, in data coordinates.
      names: most important first. A name for which there is no room is left out.
      obstacles: `[markers, 2]`, in data coordinates: what no name may hide.
    """
    if not names:
        return
    figure = typing.cast(matplotlib.figure.Figure, axis.figure)
    figure.draw_without_rendering()  # settles where the axes are
    # One marker of those that hide each other: the search takes the square of their number.
    pixels = np.round(axis.transData.transform(obstacles) / _MARKER_PIXELS)
    obstacles = obstacles[np.unique(pixels, axis=0, return_index=True)[1]]
    texts = []
    for (x, y), name in zip(points, names, strict=True):  # beginning away from the diagonal
        text = axis.text(x, y, name, ha="right" if y > x else "left", va="center", fontsize=7)
        text.set_in_layout(False)
        texts.append(text)
    # A number of steps, not a time, so that the picture is the same on every machine.
    _, lines = adjustText.adjust_text(
        texts,
        *obstacles.T,
        ax=axis,
        iter_lim=_PLACEMENT_STEPS,
        expand=(1.05, 1.3),
        force_static=(0.2, 0.3),
        force_explode=(0.0, 0.0),
        arrowprops={"arrowstyle": "-", "color": "#aaaaaa", "linewidth": 0.5},
    )
    kept: list[matplotlib.transforms.Bbox] = []
    for text in texts:
        box = text.get_window_extent()
        if not any(box.overlaps(other) for other in kept):
            kept.append(box)
            continue
        for line in lines:
            if line.patchA is text:
                line.remove()
        text.remove()


def class_counts(counts: pd.DataFrame) -> matplotlib.figure.Figure:
    """The number of items of each class, the most frequent class of each set first.

    Args:
      counts: of `label_statistics.class_counts`.
    """
    figure = drawing.new_figure(8, 5)
    axis = figure.subplots()
    for colour, set_name in zip(itertools.cycle(_SET_COLOURS), counts.columns, strict=False):
        ordered = np.sort(counts[set_name].to_numpy())[::-1]
        ordered = ordered[ordered > 0]
        label = f"{set_name} ({len(ordered)} classes)"
        marker = "." if len(ordered) < 50 else None
        axis.plot(np.arange(1, len(ordered) + 1), ordered, marker=marker, color=colour, label=label)
    axis.set_yscale("log")
    axis.grid(alpha=0.3)
    axis.set_xlabel("classes, the most frequent first")
    axis.set_ylabel("items of the class")
    axis.legend(fontsize=8)
    return figure


def items_per_clip(table: pd.DataFrame) -> matplotlib.figure.Figure:
    """The distribution of the number of items per clip; the longest 0.1% of its tail is cut off.

    Args:
      table: of `label_statistics.items_per_clip`.
    """
    figure = drawing.new_figure(8, 4.5)
    axis = figure.subplots()
    longest = 1
    by_set = table.groupby("set", sort=False)
    for colour, (set_name, rows) in zip(itertools.cycle(_SET_COLOURS), by_set, strict=False):
        axis.plot(rows["items"], rows["share"], ".-", color=colour, label=set_name)
        covered = rows["share"].cumsum().to_numpy()
        longest = max(longest, rows["items"].iloc[np.searchsorted(covered, 0.999)])
    axis.set_xlim(0, longest + 1)
    axis.set_ylim(0)
    axis.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axis.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    axis.grid(alpha=0.3)
    axis.set_xlabel("items of the clip")
    axis.set_ylabel("share of clips")
    axis.legend(fontsize=8)
    return figure


def segment_durations(histogram: pd.DataFrame) -> matplotlib.figure.Figure:
    """How long strong segments last.

    Args:
      histogram: of `label_statistics.duration_histogram`.
    """
    figure = drawing.new_figure(8, 4)
    axis = figure.subplots()
    start, end = histogram["from_seconds"], histogram["to_seconds"]
    axis.bar(start, histogram["segments"], end - start, align="edge", color=_STRONG)
    axis.set(yscale="log", xlim=(0, None), ylim=(0.7, None))
    axis.grid(alpha=0.3)
    axis.set(xlabel="length (s)", ylabel="segments")
    return figure


def odds_ratios(top: pd.DataFrame, by: str, name: Name) -> matplotlib.figure.Figure:
    """The labels associated most with each of the most frequent labels of one side.

    Args:
      top: of `label_statistics.top_pairs`.
      by: the side, "weak_mid" or "strong_mid".
      name: gives the display name of a mid.
    """
    sides = {label_statistics.WEAK_MID: "weak", label_statistics.STRONG_MID: "strong"}
    (other,) = sides.keys() - {by}
    clips = (top["both"] + top[f"{sides[by]}_only"]).groupby(top[by]).first()
    frequent = clips.nlargest(_LABELS_SHOWN).index
    ticks: list[str] = []
    figure = drawing.new_figure(8, 1.2 + 0.2 * len(frequent) * (_PARTNERS_SHOWN + 1))
    axis = figure.subplots()
    headings = []
    for mid in frequent:
        headings.append(len(ticks))
        ticks.append(f"{_short(name(mid))} ({clips[mid]} clips)")
        for row in top[top[by] == mid].head(_PARTNERS_SHOWN).itertuples():
            y = len(ticks)
            axis.plot([row.low, row.high], [y, y], color=_STRONG, linewidth=2)
            axis.plot(row.odds_ratio, y, "o", color=_STRONG, markersize=5)
            ticks.append(_short(name(getattr(row, other))))
    axis.set_yticks(range(len(ticks)), ticks, fontsize=8)
    for heading in headings:
        axis.get_yticklabels()[heading].set_fontweight("bold")
        axis.axhline(heading - 0.5, color="#cccccc", linewidth=0.8)
    axis.set_ylim(max(len(ticks), 1) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.axvline(1, color="#888888", linewidth=1)
    axis.set_xscale("log")
    axis.grid(axis="x", alpha=0.3)
    axis.set_xlabel(f"odds ratio of the {sides[other]} label, given the {sides[by]} one in bold")
    return figure


def _short(name: str) -> str:
    if len(name) <= _LONGEST_NAME:
        return name
    return name[: _LONGEST_NAME - 1].rstrip(" ,(") + "\u2026"
