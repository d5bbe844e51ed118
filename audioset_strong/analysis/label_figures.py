"""Figures of labels: a clip with all of its labels (Fig. 1), priors (Fig. 2), counts, odds ratios.

Every function returns a matplotlib figure that belongs to no window; `drawing.save` writes it.
"""

import itertools
import typing
from collections.abc import Callable, Sequence

import matplotlib.axes
import matplotlib.figure
import matplotlib.patches
import matplotlib.text
import matplotlib.ticker
import matplotlib.transforms
import numpy as np
import pandas as pd
from matplotlib.backends import backend_agg

from audioset_strong.analysis import label_statistics
from audioset_strong.audio import features
from audioset_strong.core import drawing
from audioset_strong.labels import framed_labels, framing
from audioset_strong.labels.vocabularies import Vocabulary
from audioset_strong.records import clip_records

Name = Callable[[str], str]  # mid -> display name

# Told apart by colour-blind eyes too (Okabe and Ito 2008).
_WEAK, _STRONG, _POSITIVE, _NEGATIVE = "#E69F00", "#0072B2", "#009E73", "#D55E00"
_SET_COLOURS = ("#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
_LOWER_HZ, _UPPER_HZ = 125.0, 7500.0  # of Fig. 1's mel bands
_NAMED_CLASSES = 24  # in Fig. 2, at most, and at most a quarter of the classes
_LONGEST_NAME = 34  # characters
_LABELS_SHOWN, _PARTNERS_SHOWN = 12, 3  # of the odds ratios


def clip(
    shown: clip_records.Clip, vocabulary: Vocabulary, rule: str = framing.RELEASED
) -> matplotlib.figure.Figure:
    """Fig. 1: a clip's spectrogram above its weak, strong and framed labels.

    Every class has a row of its own in each panel; time runs the same in all of them.

    Args:
      shown: the clip.
      vocabulary: what its class indices mean.
      rule: of the framed labels, see `framing.frame_labels`.
    """
    names = [_short(name) for name in vocabulary.names]
    weak = sorted(shown.weak_labels or ())
    strong = sorted({label for _, _, label in shown.segments or ()})
    negative = sorted(set(shown.negatives or ()) - set(strong))
    rows = (weak, strong, [*strong, *negative])
    heights = [2.6, *(max(0.25 * len(classes), 0.5) for classes in rows)]
    figure = drawing.new_figure(9.5, 1.9 + sum(heights))
    axes = figure.subplots(4, 1, sharex=True, height_ratios=heights)
    _spectrogram(axes[0], shown)
    axes[0].set_title(shown.clip_id, fontsize=10)
    for axis, classes, known, kind in (
        (axes[1], rows[0], shown.weak_labels is not None, "weak"),
        (axes[2], rows[1], shown.segments is not None, "strong"),
        (axes[3], rows[2], shown.segments is not None, "framed"),
    ):
        axis.set_yticks(range(len(classes)), [names[label] for label in classes], fontsize=8)
        axis.set_ylim(max(len(classes), 1) - 0.5, -0.5)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", alpha=0.3)
        axis.set_axisbelow(True)
        axis.set_ylabel(kind)
        if not classes:
            note = f"no {kind} label" if known else f"{kind} labels unknown"
            axis.text(0.5, 0.5, note, transform=axis.transAxes, ha="center", va="center")
    axes[1].barh(range(len(weak)), shown.seconds, height=0.7, color=_WEAK)
    _segments(axes[2], shown, strong)
    _frames(axes[3], shown, rows[2], len(vocabulary), rule)
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


def _spectrogram(axis: matplotlib.axes.Axes, shown: clip_records.Clip) -> None:
    if shown.log_mel is not None:
        log_mel = shown.log_mel.values.astype(np.float32)
    else:
        # A clip shorter than one window would have no spectrogram at all.
        missing = max(features.WINDOW_SAMPLES - shown.num_samples, 0)
        waveform = np.pad(shown.waveform, (0, missing))
        log_mel = features.log_mel(waveform).numpy()
    frames, bands = log_mel.shape
    hop = features.HOP_SAMPLES / features.SAMPLE_RATE
    left = (features.WINDOW_SAMPLES / features.SAMPLE_RATE - hop) / 2
    axis.imshow(
        log_mel.T,
        origin="lower",
        aspect="auto",
        cmap="magma",
        extent=(left, left + frames * hop, -0.5, bands - 0.5),
        interpolation="nearest",
    )
    hz = np.array([250, 500, 1000, 2000, 4000])
    edges = np.log1p(np.array([_LOWER_HZ, _UPPER_HZ]) / 700)
    place = (np.log1p(hz / 700) - edges[0]) / (edges[1] - edges[0]) * (bands + 1) - 1
    axis.set_yticks(place, [f"{value}" for value in hz], fontsize=8)
    axis.set_ylabel("Hz")
    axis.tick_params(axis="x", labelbottom=False)


def _segments(axis: matplotlib.axes.Axes, shown: clip_records.Clip, classes: Sequence[int]) -> None:
    for start_ms, end_ms, label in shown.segments or ():
        axis.barh(
            classes.index(label),
            (end_ms - start_ms) / 1000,
            left=start_ms / 1000,
            height=0.7,
            # Where segments of one class overlap, it shows; and the edge shows the shortest.
            color=(*matplotlib.colors.to_rgb(_STRONG), 0.6),
            edgecolor=_STRONG,
            linewidth=1,
        )


def _frames(
    axis: matplotlib.axes.Axes,
    shown: clip_records.Clip,
    classes: Sequence[int],
    num_classes: int,
    rule: str,
) -> None:
    segments = np.array(shown.segments or (), np.int64).reshape(1, -1, 3)
    grid = framed_labels.frame_grid()
    grid = grid[grid + framing.FRAME_MS / 2 <= 1000 * shown.seconds]  # half of each is audio
    positive = framing.frame_labels(
        segments[..., 0],
        segments[..., 1],
        segments[..., 2],
        grid[np.newaxis],
        framing.FRAME_MS,
        num_classes,
        rule,
    )
    explicit = np.zeros((1, num_classes), bool)
    explicit[0, list(shown.negatives or ())] = True
    labels = framing.three_valued_labels(positive, explicit).numpy()[0]  # [frames, classes]
    for row, label in enumerate(classes):
        whole_clip = not (labels[:, label] > 0).any()  # no positive frame: not complementary
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
    """Fig. 2: each class's share of clips by strong against that by weak labels.

    Classes that one side lacks cannot be drawn on logarithmic axes and are counted below. Those
    farthest from the diagonal are named, as far as there is room.

    Args:
      table: of `label_statistics.priors`.
      name: of a mid.
    """
    drawn = table[(table["weak_clips"] > 0) & (table["strong_clips"] > 0)]
    figure = drawing.new_figure(7.5, 7.5)
    axis = figure.subplots()
    x, y = drawn["weak_prior"].to_numpy(), drawn["strong_prior"].to_numpy()
    values = np.concatenate([x, y]) if len(drawn) else np.array([1e-3, 1.0])
    limits = values.min() / 2, min(values.max() * 2, 1.5)
    for factor, style in ((1, "-"), (10, "--"), (0.1, "--")):
        ends = np.array(limits)
        axis.plot(ends, ends * factor, style, color="#888888", linewidth=1, zorder=1)
        if limits[0] * max(factor, 1 / factor) < limits[1]:  # else it lies outside
            x_end = min(limits[1], limits[1] / factor)
            axis.annotate(
                f"{factor:g}\u00d7",
                (x_end, x_end * factor),
                # Below the line: beside its end at the top, to the left of one at the right edge.
                xytext=(5, -10) if factor > 1 else (-4, -24),
                textcoords="offset points",
                ha="left" if factor > 1 else "right",
                va="center",
                color="#666666",
                fontsize=8,
            )
    axis.plot(x, y, "o", color=_STRONG, alpha=0.6, markersize=4, zorder=2)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlim(limits)
    axis.set_ylim(limits)
    axis.set_aspect("equal")
    axis.grid(alpha=0.2)
    axis.set_xlabel("share of clips with the weak label")
    axis.set_ylabel("share of clips with the strong label")
    one_sided = [
        f"{np.count_nonzero(table[f'{kind}_clips'] == 0)} classes without {kind} label"
        for kind in ("weak", "strong")
    ]
    axis.set_title(f"{len(drawn)} classes; not shown: {', '.join(one_sided)}", fontsize=9)
    named = min(_NAMED_CLASSES, -(-len(drawn) // 4))
    points = drawn.loc[drawn["ratio"].map(np.log).abs().nlargest(named).index]
    _place_names(
        axis,
        points[["weak_prior", "strong_prior"]].to_numpy(),
        [_short(name(mid)) for mid in points["mid"]],
        obstacles=np.stack([x, y], axis=1),
    )
    return figure


def _place_names(
    axis: matplotlib.axes.Axes, points: np.ndarray, names: Sequence[str], obstacles: np.ndarray
) -> None:
    """Writes names beside points, the first ones first, where nothing is in the way.

    Args:
      axis: to write on; its limits must be set.
      points: `[names, 2]`, in data coordinates.
      names: one that fits nowhere is left out.
      obstacles: `[markers, 2]`, likewise; the points among them.
    """
    drawn = typing.cast(matplotlib.figure.Figure, axis.figure)
    drawn.draw_without_rendering()  # settles where the axes are
    renderer = typing.cast(backend_agg.FigureCanvasAgg, drawn.canvas).get_renderer()
    room = axis.get_window_extent(renderer)
    bounds = matplotlib.transforms.Bbox.from_bounds
    taken = [bounds(x - 2, y - 2, 4, 4) for x, y in axis.transData.transform(obstacles)]
    sides = ((1, 0), (-1, 0), (0.8, 1), (-0.8, 1), (0.8, -1), (-0.8, -1), (0, 1.6), (0, -1.6))
    for point, name in zip(points, names, strict=True):
        for reach, (dx, dy) in itertools.product((5, 20, 40), sides):  # near places first
            text = axis.annotate(
                name,
                point,
                xytext=(dx * reach, dy * reach),
                textcoords="offset points",
                ha="left" if dx > 0 else "right" if dx < 0 else "center",
                va="center",
                fontsize=7,
                arrowprops={"arrowstyle": "-", "color": "#aaaaaa", "linewidth": 0.5, "shrinkA": 0},
            )
            text.set_in_layout(False)
            text.update_positions(renderer)
            box = matplotlib.text.Text.get_window_extent(text, renderer)  # without the line
            inside = room.contains(box.x0, box.y0) and room.contains(box.x1, box.y1)
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def class_counts(counts: pd.DataFrame) -> matplotlib.figure.Figure:
    """Items of each class, the most frequent class of each set first.

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
    """The share of clips by how many items they have; clips of the longest 0.1% are left out.

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
    axis.set_yscale("log")
    axis.set_xlim(0)
    axis.set_ylim(0.7)
    axis.grid(alpha=0.3)
    axis.set_xlabel("length (s)")
    axis.set_ylabel("segments")
    return figure


def odds_ratios(top: pd.DataFrame, by: str, name: Name) -> matplotlib.figure.Figure:
    """The labels that go most surely with each of the most frequent labels of one side.

    Args:
      top: of `label_statistics.top_pairs`.
      by: the side, "weak_mid" or "strong_mid".
      name: of a mid.
    """
    sides = {label_statistics.WEAK: "weak", label_statistics.STRONG: "strong"}
    (other,) = set(sides) - {by}
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
