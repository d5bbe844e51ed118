"""Label figures: what is drawn where, read from the figures themselves."""

import matplotlib.colors
import matplotlib.text
import numpy as np
import pandas as pd
import pytest

from audioset_strong.analysis import label_clip, label_figures, label_statistics
from audioset_strong.core import errors
from audioset_strong.labels.vocabularies import Vocabulary
from audioset_strong.records import clip_records
from tests.datasets import make_clip, write_dataset

CLASSES = Vocabulary(
    ("/m/0", "/m/1", "/m/2", "/m/3"), ("Dog", "Bark", "Cat", "A very long name of a class, " * 3)
)


def bars(axis):
    """(row, begin, end, kind) of each bar; kind is "none" for a hollow one, or its colour."""
    found = []
    for patch in axis.patches:
        alpha = patch.get_facecolor()[3]
        colour = "none" if alpha == 0 else matplotlib.colors.to_hex(patch.get_facecolor())
        row = patch.get_y() + patch.get_height() / 2
        found.append((round(row), patch.get_x(), patch.get_x() + patch.get_width(), colour))
    return found


def row_names(axis):
    return [label.get_text() for label in axis.get_yticklabels()]


@pytest.fixture
def shown():
    noise = np.random.default_rng(0).integers(-3000, 3000, 160_000).astype(np.int16)
    return clip_records.Clip(
        clip_id="abc_30000",
        audio=noise,
        sample_rate=16_000,
        weak_labels=(0,),
        segments=((1000, 3000, 1), (2500, 2501, 1), (9700, 9900, 2)),
        negatives=(0, 3),
    )


def test_a_clip_is_a_spectrogram_above_three_panels_on_one_time_axis(shown):
    spectrogram, weak, strong, framed = label_figures.clip(shown, CLASSES).axes
    assert {axis.get_xlim() for axis in (spectrogram, weak, strong, framed)} == {(0, 10)}
    (image,) = spectrogram.get_images()
    assert image.get_array().shape == (64, 998)
    left, right, *_ = image.get_extent()
    assert (left, right) == pytest.approx((0.0075, 9.9875))  # centres of the windows
    assert spectrogram.get_title() == "abc_30000"
    assert [axis.get_ylabel() for axis in (weak, strong, framed)] == ["weak", "strong", "framed"]


def test_every_label_of_a_clip_has_its_place(shown):
    _, weak, strong, framed = label_figures.clip(shown, CLASSES).axes
    assert row_names(weak) == ["Dog"]
    ((row, begin, end, _),) = bars(weak)
    assert (row, begin, end) == (0, 0, 10)
    assert row_names(strong) == ["Bark", "Cat"]
    drawn = sorted((row, begin, end) for row, begin, end, _ in bars(strong))
    assert np.allclose(drawn, [(0, 1.0, 3.0), (0, 2.5, 2.501), (1, 9.7, 9.9)])
    assert row_names(framed)[:3] == ["Bark", "Cat", "Dog"]
    assert row_names(framed)[3].startswith("A very long name of a class")
    assert len(row_names(framed)[3]) < 40
    assert all(np.isclose(end - begin, 0.96) for _, begin, end, _ in bars(framed))
    by_row = {}
    for row, _, _, kind in sorted(bars(framed)):
        by_row.setdefault(row, []).append(kind)
    # Bark sounds 1-3 s: frames 1 and 2. Cat sounds after the last frame: nothing is known of it.
    green, orange = "#009e73", "#d55e00"
    assert by_row == {
        0: [orange, green, green] + [orange] * 7,
        2: ["none"] * 10,
        3: ["none"] * 10,
    }


def test_frames_that_begin_after_a_short_clip_s_end_are_not_drawn(shown):
    short = clip_records.Clip("a_0", shown.audio[:80_000], 16_000, None, ((0, 2000, 1),), None)
    _, weak, _, framed = label_figures.clip(short, CLASSES).axes
    assert len(bars(framed)) == 5  # 4.8-5.76 s is audio for 0.2 s only
    assert not bars(weak)
    assert [text.get_text() for text in weak.texts] == ["weak labels unknown"]


def test_a_clip_shorter_than_a_window_can_be_drawn(shown):
    tiny = clip_records.Clip("a_0", shown.audio[:100], 16_000, (), (), ())
    spectrogram, weak, *_ = label_figures.clip(tiny, CLASSES).axes
    assert spectrogram.get_images()[0].get_array().shape == (64, 1)
    assert [text.get_text() for text in weak.texts] == ["no weak label"]


def priors_table(weak, strong, clips=1000):
    rng = np.random.default_rng(0)
    mids = [f"/m/{i}" for i in range(len(weak))]

    def items(counts):
        chosen = [rng.choice(clips - 1, n, replace=False) for n in counts]
        pairs = [(f"c{i}", mid) for mid, ids in zip(mids, chosen, strict=True) for i in ids]
        # One clip for each that every class is in makes all clips common to both.
        everywhere = [(f"c{i}", "/m/all") for i in range(clips)]
        return pd.DataFrame(pairs + everywhere, columns=["clip_id", "mid"]).astype(str)

    return label_statistics.priors(items(weak), items(strong))


def test_priors_are_points_on_logarithmic_axes_with_the_outliers_named():
    weak = [100] * 40 + [3, 500, 0, 7]
    strong = [90 + i for i in range(40)] + [90, 20, 50, 0]
    table = priors_table(weak, strong)
    axis = label_figures.priors(table, lambda mid: f"name of {mid}").axes[0]
    assert axis.get_xscale() == axis.get_yscale() == "log"
    (points,) = (line for line in axis.lines if line.get_marker() == "o")
    assert len(points.get_xdata()) == 43  # 42 and the class of every clip
    assert max(points.get_xdata()) == max(points.get_ydata()) == 1.0
    slopes = sorted(
        line.get_ydata()[0] / line.get_xdata()[0] for line in axis.lines if line is not points
    )
    assert slopes == pytest.approx([0.1, 1, 10])
    texts = {text.get_text() for text in axis.texts}
    assert {"name of /m/40", "name of /m/41", "1\u00d7", "10\u00d7", "0.1\u00d7"} <= texts
    assert axis.get_title() == (
        "43 classes; not shown: 1 classes without weak label, 1 classes without strong label"
    )


def test_names_in_the_priors_do_not_overlap():
    rng = np.random.default_rng(3)
    table = priors_table(rng.integers(40, 44, 80), rng.integers(200, 210, 80))
    figure = label_figures.priors(table, lambda mid: f"a rather long name {mid}")
    axis = figure.axes[0]
    renderer = figure.canvas.get_renderer()
    named = [text for text in axis.texts if "name" in text.get_text()]
    figure.draw_without_rendering()
    boxes = [matplotlib.text.Text.get_window_extent(text, renderer) for text in named]
    assert len(boxes) >= 10
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize(("lowest", "highest"), [(90, 110), (100, 300), (50, 400), (5, 900)])
def test_tick_labels_of_the_priors_do_not_overlap(lowest, highest):
    clips = np.geomspace(lowest, highest, 6).astype(int)
    figure = label_figures.priors(priors_table(clips, clips[::-1]), str)
    figure.draw_without_rendering()
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        labels = [label for label in axis.get_ticklabels(which="both") if label.get_text()]
        first, last = sorted(axis.get_view_interval())
        ticks = [*axis.get_majorticklocs(), *axis.get_minorticklocs()]
        assert sum(first <= tick <= last for tick in ticks) >= 2
        boxes = [label.get_window_extent().padded(1) for label in labels]
        assert boxes
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        assert {text.get_text()[-1] for text in labels} == {"%"}


def test_odds_ratios_are_intervals_under_the_label_they_belong_to():
    top = pd.DataFrame(
        {
            "weak_mid": ["/m/0", "/m/0", "/m/1"],
            "strong_mid": ["/m/1", "/m/2", "/m/0"],
            "both": [5, 4, 3],
            "weak_only": [1, 2, 0],
            "odds_ratio": [9.0, 4.0, 2.0],
            "low": [3.0, 2.0, 1.1],
            "high": [30.0, 8.0, 4.0],
        }
    )
    axis = label_figures.odds_ratios(top, "weak_mid", CLASSES.name).axes[0]
    assert row_names(axis) == ["Dog (6 clips)", "Bark", "Cat", "Bark (3 clips)", "Dog"]
    bold = [label.get_fontweight() == "bold" for label in axis.get_yticklabels()]
    assert bold == [True, False, False, True, False]
    lines = [(list(line.get_xdata()), line.get_ydata()[0]) for line in axis.lines]
    for row, y in zip(top.itertuples(), (1, 2, 4), strict=True):
        assert ([row.low, row.high], y) in lines
        assert ([row.odds_ratio], y) in lines


def test_counts_and_lengths_are_drawn_whole():
    counts = pd.DataFrame({"weak": [5, 0, 70], "strong": [1, 2, 0]}, index=["/m/0", "/m/1", "/m/2"])
    axis = label_figures.class_counts(counts).axes[0]
    assert [list(line.get_ydata()) for line in axis.lines] == [[70, 5], [2, 1]]
    legend = [text.get_text() for text in axis.get_legend().get_texts()]
    assert legend == ["weak (2 classes)", "strong (2 classes)"]
    histogram = label_statistics.duration_histogram(
        pd.DataFrame({"start_ms": [0, 0, 0], "end_ms": [150, 160, 9999]})
    )
    axis = label_figures.segment_durations(histogram).axes[0]
    heights = {round(bar.get_x(), 1): bar.get_height() for bar in axis.patches if bar.get_height()}
    assert heights == {0.1: 2, 9.9: 1}
    per_clip = pd.DataFrame(
        {"set": ["weak"] * 2 + ["strong"], "items": [1, 3, 2], "share": [0.25, 0.75, 1.0]}
    )
    axis = label_figures.items_per_clip(per_clip).axes[0]
    assert [list(line.get_xdata()) for line in axis.lines] == [[1, 3], [2]]
    assert [list(line.get_ydata()) for line in axis.lines] == [[0.25, 0.75], [1.0]]


@pytest.mark.parametrize("encoding", ["pcm16", "flac"])
def test_a_clip_is_found_in_the_shards_of_a_dataset(tmp_path, encoding):
    clips = [make_clip(i, seconds=1.0) for i in range(7)]
    directory = write_dataset(tmp_path / "data", clips, encoding=encoding)
    found, vocabulary = label_clip.from_dataset(directory, clips[5].clip_id)
    np.testing.assert_array_equal(found.audio, clips[5].audio)
    assert (found.weak_labels, found.segments) == (clips[5].weak_labels, clips[5].segments)
    assert len(vocabulary) == 4
    with pytest.raises(errors.InputError, match=r"nobody_0: .*data has no clip of that name"):
        label_clip.from_dataset(directory, "nobody_0")


def test_a_clip_that_was_not_converted_is_refused_with_its_reason(tmp_path):
    clips = [make_clip(i, seconds=1.0) for i in range(4)]
    directory = write_dataset(tmp_path / "data", clips, num_shards=2)
    (tmp_path / "data" / "manifest.csv").write_text(
        "clip_id,status,reason,file,shard,seconds\n"
        f"{clips[1].clip_id},written,,a.wav,data-00001-of-00002.tfrecord,1.000\n"
        "gone_0,missing,no audio file,,,\n"
    )
    found, _ = label_clip.from_dataset(directory, clips[1].clip_id)
    assert found.clip_id == clips[1].clip_id
    with pytest.raises(errors.InputError, match=r"gone_0: not in .*: missing \(no audio file\)"):
        label_clip.from_dataset(directory, "gone_0")
    with pytest.raises(errors.InputError, match=r"nobody_0: .*data has no clip of that name"):
        label_clip.from_dataset(directory, "nobody_0")
