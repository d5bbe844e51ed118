"""Event metrics of a trained model, from records to tables."""

import dataclasses
import importlib
import warnings

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from scipy import special

from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.evaluation import event_metrics, frame_times
from audioset_strong.inference import event_evaluation, export, model_loading
from audioset_strong.labels import vocabularies
from tests import datasets, trained

with warnings.catch_warnings():  # of pkg_resources
    warnings.simplefilter("ignore")
    sed_scores_eval = pytest.importorskip("sed_scores_eval")


def _clips():
    """Four clips of sounds, one of two seconds; the last has no strong labels."""
    clips = datasets.toy_clips(6)
    short = clips[1].audio[: 2 * 16_000 + 77]
    clips[1] = dataclasses.replace(clips[1], audio=short, segments=((100, 1500, 1), (500, 900, 3)))
    clips[2] = dataclasses.replace(clips[2], segments=())
    return [*clips[:5], dataclasses.replace(clips[5], segments=None)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return datasets.write_dataset(tmp_path_factory.mktemp("data") / "eval", _clips(), 2)


@pytest.fixture(scope="module")
def measured(workdir, data, tmp_path_factory):
    """What the model reaches with the default settings."""
    out = tmp_path_factory.mktemp("measured")
    return event_evaluation.evaluate_events(workdir, [data], output_dir=out)


@pytest.fixture
def seen(monkeypatch):
    """The scores, events and lengths that `event_metrics.measure` was given."""
    calls = []
    real = event_metrics.measure

    def measure(scores, events, *, seconds, **more):
        calls.append((scores, events, seconds))
        return real(scores, events, seconds=seconds, **more)

    monkeypatch.setattr(event_metrics, "measure", measure)
    return calls


def _median_by_hand(scores, width):
    half = width // 2
    padded = np.concatenate([scores[:1]] * half + [scores] + [scores[-1:]] * half)
    return np.stack([np.median(padded[i : i + width], axis=0) for i in range(len(scores))])


def _expected(model, hop_s, width):
    """Scores, events and lengths of the clips with strong labels, without the driver."""
    clips = [clip for clip in _clips() if clip.segments is not None]
    scores = {
        clip.clip_id: _median_by_hand(
            model.predict(np.float32(clip.audio / 32768), 16_000, hop_s=hop_s).scores, width
        )
        for clip in clips
    }
    events = {
        clip.clip_id: [(start / 1000, end / 1000, label) for start, end, label in clip.segments]
        for clip in clips
    }
    return scores, events, {clip.clip_id: len(clip.audio) / 16_000 for clip in clips}


@pytest.mark.parametrize(
    ("settings", "hop_s", "width", "threshold"),
    [
        ({}, 0.16, 3, 0.5),
        ({"hop_s": 0.24, "median_s": 1.1, "threshold": 0.6, "batch_size": 3}, 0.24, 5, 0.6),
        ({"median_s": 0.0}, 0.16, 1, 0.5),
    ],
)
def test_tables_are_those_of_the_filtered_scores(
    workdir, model, data, tmp_path, settings, hop_s, width, threshold
):
    out = tmp_path / "new" / "out"
    measured = event_evaluation.evaluate_events(workdir, [data], output_dir=out, **settings)
    scores, events, seconds = _expected(model, hop_s, width)
    expected = event_metrics.measure(
        scores,
        events,
        seconds=seconds,
        vocabulary=datasets.VOCABULARY,
        hop_s=hop_s,
        frame_s=0.96,
        threshold=threshold,
    )
    assert expected.values["clips"] == 5
    assert expected.values["events"] == 5
    assert 0 < expected.values["segment_f1_macro"] < 1
    results = pd.read_csv(out / "results.csv").set_index("metric")["value"]
    assert results["hop_s"] == hop_s
    assert results["median_hops"] == width
    settings_told = ["hop_s", "median_hops", "clips_left_out"]
    # Scores differ by rounding, so thresholds and nothing else do.
    assert results.drop(settings_told).to_dict() == pytest.approx(expected.values)
    table = pd.read_csv(out / "per_class.csv")
    pd.testing.assert_frame_equal(table, expected.per_class, check_dtype=False, atol=1e-5)
    assert table["mid"].tolist() == list(datasets.VOCABULARY.mids)
    assert measured.values == pytest.approx(results.to_dict())
    picture = matplotlib.image.imread(out / "psd_roc.png")
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 50
    names = sorted(path.name for path in out.iterdir())
    assert names == ["per_class.csv", "psd_roc.png", "results.csv"]  # nothing half-written


def _log_mel_scores(clip, hop_frames):
    """Each window of a spectrogram rounded to float16, scored alone; silence behind the end."""
    log_mel = features.log_mel(np.pad(np.float32(clip.audio / 32768), (0, 20_000))).numpy()
    stored = -(-len(clip.audio) // 160)
    log_mel[:stored] = log_mel[:stored].astype(np.float16)
    starts = range(0, max(len(clip.audio) - 15_600, 0) + hop_frames * 160, hop_frames * 160)
    patches = np.stack([log_mel[start // 160 :][:96] for start in starts])
    return special.expit(np.float64(trained.network(seed=20)(patches, training=False)))


@pytest.mark.parametrize("encoding", ["flac", "log_mel"])
def test_every_encoding_gives_the_scores_of_its_windows(workdir, model, tmp_path, seen, encoding):
    path = datasets.write_dataset(tmp_path / "eval", _clips(), 2, encoding)
    # Batches of 7 frames: the last one of a clip is smaller.
    event_evaluation.evaluate_events(
        workdir, [path], output_dir=tmp_path / "out", hop_s=0.17, median_s=0, batch_size=7
    )
    ((scores, events, seconds),) = seen
    of_audio, *expected = _expected(model, 0.17, 1)
    assert [events, seconds] == expected
    clips = {clip.clip_id: clip for clip in _clips()}
    assert scores.keys() == of_audio.keys()
    for clip_id, frames in of_audio.items():
        by_hand = frames if encoding == "flac" else _log_mel_scores(clips[clip_id], 17)
        np.testing.assert_allclose(scores[clip_id], by_hand, atol=1e-3)
        np.testing.assert_allclose(scores[clip_id], frames, atol=0.1)  # rounding changes little
        assert np.ptp(frames, axis=0).max() > 0.2


def test_datasets_are_taken_together_and_files_replaced(workdir, data, measured, tmp_path):
    clips = _clips()
    parts = [
        datasets.write_dataset(tmp_path / "data" / name, chosen, 1)
        for name, chosen in (("b", clips[3:]), ("a", clips[:3]))
    ]
    together = event_evaluation.evaluate_events(workdir, parts, output_dir=tmp_path)
    assert together.values == measured.values
    event_evaluation.evaluate_events(workdir, parts[1:], output_dir=tmp_path)
    results = pd.read_csv(tmp_path / "results.csv").set_index("metric")["value"]
    assert results["clips"] == 3
    with pytest.raises(errors.InputError, match=f"{data}: clip toy00000000_0 is duplicated"):
        event_evaluation.evaluate_events(workdir, [parts[1], data], output_dir=tmp_path)


def test_an_exported_model_gives_the_same_but_takes_no_log_mel(workdir, data, measured, tmp_path):
    exported = str(tmp_path / "exported")
    export.export(workdir, exported, with_tflite=False)
    values = event_evaluation.evaluate_events(exported, [data], output_dir=tmp_path / "out").values
    assert values == pytest.approx(measured.values)
    log_mel = datasets.write_dataset(tmp_path / "eval", _clips(), 1, "log_mel")
    with pytest.raises(errors.InputError, match="exported: an exported model takes audio, but"):
        event_evaluation.evaluate_events(exported, [log_mel], output_dir=tmp_path / "out")


def test_log_mel_of_another_front_end_is_refused(data, tmp_path):
    front_end = features.FrontEnd(lower_hz=300.0)
    workdir = trained.write_workdir(tmp_path / "run", front_end=front_end)
    event_evaluation.evaluate_events(workdir, [data], output_dir=tmp_path / "out")
    log_mel = datasets.write_dataset(tmp_path / "eval", _clips(), 1, "log_mel")
    same = datasets.write_dataset(tmp_path / "same", _clips(), 1, "log_mel", front_end=front_end)
    event_evaluation.evaluate_events(workdir, [same], output_dir=tmp_path / "out")
    with pytest.raises(errors.InputError, match=r"FrontEnd.lower_hz = 125.0 instead of 300.0; con"):
        event_evaluation.evaluate_events(workdir, [log_mel], output_dir=tmp_path / "out")


def test_a_front_end_of_another_shape_gives_the_scores_of_its_windows(data, tmp_path, seen):
    front_end = features.FrontEnd(
        window_samples=500, hop_samples=320, num_bands=32, fft_length=1024, offset=1e-4
    )
    workdir = trained.write_workdir(tmp_path / "run", front_end=front_end)
    event_evaluation.evaluate_events(
        workdir, [data], output_dir=tmp_path / "out", hop_s=0.12, median_s=0, batch_size=5
    )
    ((scores, *_),) = seen
    network = trained.network(seed=20, front_end=front_end)
    for clip in _clips()[:5]:
        waveform = np.pad(np.float32(clip.audio / 32768), (0, 20_000))
        count = 1 + -(-(len(clip.audio) - front_end.patch_samples) // 1920)
        windows = np.stack([waveform[i * 1920 :][: front_end.patch_samples] for i in range(count)])
        logits = network(features.log_mel(windows, front_end), training=False)
        np.testing.assert_allclose(
            scores[clip.clip_id], special.expit(np.float64(logits)), atol=1e-5
        )
    with pytest.raises(errors.InputError, match=r"hop 0.13 s: must be a multiple of 0.02 s"):
        event_evaluation.evaluate_events(workdir, [data], output_dir=tmp_path / "out", hop_s=0.13)


@pytest.mark.parametrize(
    ("median_s", "hop_s", "frames"),
    [
        (0.0, 0.16, 1),
        (0.1, 0.16, 1),
        (0.48, 0.16, 3),
        (0.6, 0.16, 3),
        (0.7, 0.16, 5),
        (0.48, 0.96, 1),
        (0.47, 0.01, 47),
        (3.0, 0.96, 3),
    ],
)
def test_the_filter_has_the_nearest_odd_number_of_hops(median_s, hop_s, frames):
    got = event_evaluation.median_hops(median_s, hop_s)
    assert got % 2 == 1
    assert abs(got * hop_s - median_s) <= hop_s + 1e-9 or got == 1
    assert got == frames


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hop_s": 0.015}, "hop 0.015 s: must be a multiple of 0.01 s"),
        ({"hop_s": 1.0}, "hop 1.0 s"),
        ({"hop_s": float("nan")}, "hop nan s"),
        ({"median_s": -0.1}, "median_s -0.1: must be 0 s"),
        ({"median_s": float("nan")}, "median_s nan"),
        ({"median_s": float("inf")}, "median_s inf"),
        ({"threshold": 0.0}, "threshold 0: must lie in"),
        ({"threshold": 1.5}, "threshold 1.5"),
        ({"threshold": float("nan")}, "threshold nan"),
        ({"batch_size": 0}, "batch_size 0: must be at least 1"),
        ({"model": "no/run"}, "no/run: no such model"),
        ({"ema": True}, "moving average"),
        ({"eval_data": ["no/data"]}, "no/data: no converted dataset"),
        ({"eval_data": []}, "no dataset given"),
    ],
)
def test_bad_settings_are_named_before_any_clip_is_read(
    workdir, data, tmp_path, monkeypatch, change, message
):
    monkeypatch.setattr(event_evaluation.inspection, "clips", lambda *_: pytest.fail("was read"))
    given = {"model": workdir, "eval_data": [data], "output_dir": tmp_path / "out"}
    with pytest.raises(errors.InputError, match=message):
        event_evaluation.evaluate_events(**given | change)
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named_first(monkeypatch, tmp_path):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(errors.InputError, match="sed_scores_eval is missing"):
        event_evaluation.evaluate_events("no/run", ["no/data"], output_dir=tmp_path)


def test_other_classes_unlabelled_clips_and_no_event_are_named(workdir, data, tmp_path):
    clips = _clips()
    other = vocabularies.Vocabulary(datasets.VOCABULARY.mids[::-1], datasets.VOCABULARY.names[::-1])
    for name, listed, classes, message in (
        (
            "reversed",
            clips,
            other,
            r"has other classes \(4\) than .*run \(4\), or another order",
        ),
        ("weak", clips[5:], datasets.VOCABULARY, "weak: no clip with strong labels"),
        ("silent", clips[2:3], datasets.VOCABULARY, "no event in any of 1 clips"),
    ):
        path = datasets.write_dataset(tmp_path / name, listed, 1, vocabulary=classes)
        with pytest.raises(errors.InputError, match=message):
            event_evaluation.evaluate_events(workdir, [path], output_dir=tmp_path / "out")
    log_mel = datasets.write_dataset(tmp_path / "log_mel", clips, 1, "log_mel")
    with pytest.raises(errors.InputError, match=r"log_mel: encoding log_mel, but .*eval has pcm16"):
        event_evaluation.evaluate_events(workdir, [data, log_mel], output_dir=tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.InputError, match="file: cannot be written"):
        event_evaluation.evaluate_events(workdir, [data], output_dir=tmp_path / "file")
    assert not (tmp_path / "out" / "results.csv").exists()


def test_scores_that_are_not_finite_are_refused(workdir, data, tmp_path, monkeypatch):
    broken = np.full((5, datasets.CLASSES), np.nan, np.float32)
    scorer = event_evaluation._ClipScorer(
        datasets.VOCABULARY, features.DEFAULT_FRONT_END, lambda clip: broken
    )
    monkeypatch.setattr(event_evaluation, "_of_audio", lambda *_, **__: scorer)
    with pytest.raises(errors.InputError, match="run: gives scores that are not finite"):
        event_evaluation.evaluate_events(workdir, [data], output_dir=tmp_path)


def test_the_binary_prints_the_metrics_and_names_mistakes(server, workdir, data, tmp_path):
    out = tmp_path / "out"
    given = [f"--model={workdir}", f"--eval_data={data}", f"--output_dir={out}"]
    done = server.start("evaluate_events", *given, "--threshold=0.4", "--median_s=0")
    assert done.wait() == 0, done.stderr
    results = pd.read_csv(out / "results.csv").set_index("metric")["value"]
    assert results["threshold"] == 0.4
    assert results["median_hops"] == 1
    head, *lines = done.stdout.strip().split("\n")
    assert head.startswith("5 clips, 0.01 h, 5 events of 3 classes (1 without)")
    shown = {line.split()[0]: float(line.split()[1]) for line in lines}
    metrics = [name for name in results.index if name.startswith(("psds", "event_f", "segm"))]
    assert sorted(shown) == sorted(metrics)
    assert shown == pytest.approx(results[metrics].to_dict(), abs=1e-4)
    assert "event_f1_macro" in done.stdout
    assert "at 0.4" in done.stdout
    for arguments, message in (
        (given[:2], "Flag --output_dir must have a value"),
        (given[1:], "Flag --model must have a value"),
        ([given[0], given[2]], "Flag --eval_data must have a value"),
        ([*given, "--hop_s=2"], "hop 2.0 s: must be a multiple"),
    ):
        failing = server.start("evaluate_events", *arguments)
        assert failing.wait() == 2
        (line,) = failing.stderr.strip().split("\n")
        assert line.startswith("error: ")
        assert message in line


def test_the_protocol_of_pretrained_sed_is_what_its_validation_does(tmp_path, seen, monkeypatch):
    package_statistics = importlib.import_module("sed_scores_eval.base_modules.statistics")
    curves = package_statistics.onset_offset_curves
    monkeypatch.setattr(  # it takes no read-only arrays, which pandas may give
        package_statistics,
        "onset_offset_curves",
        lambda scores, times, *rest: curves(np.array(scores), np.array(times), *rest),
    )
    # The class "Silence" has events in AudioSet's eval set alone.
    classes = vocabularies.Vocabulary(("/m/a", "/m/b", "/m/c", "/m/028v0c"), tuple("abcd"))
    clips = _clips()
    clips[0] = dataclasses.replace(clips[0], segments=((0, 3000, 3),))
    clips[1] = dataclasses.replace(clips[1], segments=((100, 700, 1), (600, 1500, 1), (0, 900, 3)))
    data = datasets.write_dataset(tmp_path / "eval", clips, 2, vocabulary=classes)
    workdir = trained.write_workdir(tmp_path / "run", vocabulary=classes)
    out = tmp_path / "out"
    measured = event_evaluation.evaluate_events(
        workdir, [data], output_dir=out, protocol="pretrained_sed"
    )
    ((scores, *_),) = seen

    truth = {
        clip.clip_id: [(a / 1000, b / 1000, classes.names[k]) for a, b, k in clip.segments]
        for clip in clips
        if clip.segments is not None
    }
    truth = {i: [event for event in truth[i] if event[2] != "d"] for i in truth}
    truth = {i: events for i, events in truth.items() if events}
    truth[clips[1].clip_id] = [(0.1, 1.5, "b")]
    assert sorted(scores) == sorted(truth)
    used = ["a", "b"]  # the classes with events
    model = model_loading.load_model(workdir)
    frames, seconds = {}, {}
    for clip in clips:
        if clip.clip_id in truth:
            heard = np.float32(clip.audio / 32768)
            filtered = _median_by_hand(model.predict(heard, 16_000, hop_s=0.04).scores, 9)
            seconds[clip.clip_id] = len(heard) / 16_000
            times = frame_times.boundaries(
                len(filtered), hop_s=0.04, frame_s=0.96, seconds=seconds[clip.clip_id]
            )
            frames[clip.clip_id] = sed_scores_eval.base_modules.scores.create_score_dataframe(
                np.float64(filtered[:, :2]), times, used
            )
    _, of_classes, *_ = sed_scores_eval.intersection_based.psds(
        frames,
        truth,
        seconds,
        dtc_threshold=0.7,
        gtc_threshold=0.7,
        cttc_threshold=None,
        alpha_ct=0,
        alpha_st=1,
        unit_of_time="hour",
        max_efpr=100.0,
    )
    expected = [of_classes[name] for name in used]
    assert measured.per_class["psds1"][:2].tolist() == pytest.approx(expected, abs=1e-6)
    assert measured.values["psds1_macro"] == pytest.approx(np.mean(expected), abs=1e-6)
    results = pd.read_csv(out / "results.csv").set_index("metric")["value"]
    told = {"clips": 3, "clips_left_out": 2, "classes": 2, "hop_s": 0.04, "median_hops": 9}
    assert results[list(told)].to_dict() == told
    with pytest.raises(errors.InputError, match="protocol 'dcase': must be one of every_event, p"):
        event_evaluation.evaluate_events(workdir, [data], output_dir=out, protocol="dcase")
    whole = event_evaluation.evaluate_events(workdir, [data], output_dir=out, hop_s=0.04)
    assert whole.values["clips"] == 5
    assert whole.values["classes"] == 3


def test_zero_by_the_penalty_is_told(measured):
    for psds1, psds2, expected in ((0.0, 0.2, ["psds1"]), (0.01, 0.2, []), (0.1, 0.0, ["psds2"])):
        values = measured.values | {"psds1": psds1, "psds1_macro": 0.1, "psds2": psds2}
        text = event_evaluation.as_text(dataclasses.replace(measured, values=values))
        noted = [line.split()[0] for line in text.split("\n") if "see psds1_macro" in line]
        assert noted == expected
