"""Scores of recordings: which frame says what, for every length, rate, format and kind of model."""

import numpy as np
import pytest
import soxr
import tensorflow as tf
from scipy import special

import audioset_strong
from audioset_strong.audio import decoding, features
from audioset_strong.core import errors
from audioset_strong.evaluation import scoring
from audioset_strong.inference import predictor, waveform_scorer
from audioset_strong.inputs import evaluation_grid
from audioset_strong.training import checkpoints
from tests import audio_files, datasets, trained


def _waveform(seconds, seed=0):
    envelope = np.sin(np.arange(round(seconds * 16_000)) / 14_000) ** 4
    noise = np.random.default_rng(seed).normal(0, 0.1, len(envelope))
    return (envelope * noise).astype(np.float32)


def _scores_by_hand(network, waveform, starts):
    """Each window cut out, transformed and scored alone."""
    padded = np.pad(waveform, (0, 16_000))
    windows = np.stack([padded[start : start + 15_600] for start in starts])
    return special.expit(np.float64(network(features.log_mel(windows), training=False)))


@pytest.mark.parametrize(("hop_s", "hop"), [(0.96, 15_360), (0.24, 3840), (0.01, 160)])
def test_a_frame_has_the_score_of_its_window(model, hop_s, hop):
    waveform = _waveform(4.3)
    prediction = model.predict(waveform, 16_000, hop_s=hop_s)
    starts = np.arange(len(prediction.scores)) * hop
    expected = _scores_by_hand(trained.network(seed=20), waveform, starts)
    np.testing.assert_allclose(prediction.scores, expected, atol=1e-5)
    np.testing.assert_allclose(prediction.times, starts / 16_000)
    assert starts[-1] + 15_600 >= len(waveform) > starts[-1] + 15_600 - hop
    assert np.ptp(expected, axis=0).min() > 0.01  # a test on constants would show nothing


def test_scores_are_those_of_evaluation(model, tmp_path):
    clips = [datasets.make_clip(i) for i in range(2)]
    directory = datasets.write_dataset(tmp_path / "data", clips, num_shards=1)
    network = trained.network(seed=20)
    predict = scoring.batch_scorer(lambda log_mel: network(log_mel, training=False))
    batches = evaluation_grid.grid_patches([directory])
    scores = scoring.score(predict, batches, mids=datasets.VOCABULARY.mids, are_logits=True)
    for clip, clip_id in zip(clips, scores.clip_ids, strict=True):
        assert clip.clip_id == clip_id
    all_frames, means = (
        scoring.probabilities(values, are_logits=True)
        for values in (scores.frame_scores, scores.clip_scores())
    )
    for clip, frames, mean in zip(clips, all_frames, means, strict=True):
        prediction = model.predict(np.float32(clip.audio / 32768), 16_000)
        np.testing.assert_allclose(prediction.scores[:10], frames, atol=1e-5)
        # The tenth frame ends at 9.6 s; the eleventh lies mostly behind the end and does not count.
        np.testing.assert_allclose(prediction.clip_scores(), mean, atol=1e-5)


@pytest.mark.parametrize(
    ("samples", "hop_s", "frames"),
    [
        (1, 0.96, 1),
        (15_600, 0.96, 1),
        (15_601, 0.96, 2),
        (15_600 + 15_360, 0.96, 2),
        (15_600 + 15_360 + 1, 0.96, 3),
        (15_601, 0.01, 2),
        (160_000, 0.96, 11),
        (160_000, 0.48, 20),
        (32 * 15_360 + 240, 0.96, 32),  # a whole batch
        (32 * 15_360 + 241, 0.96, 33),
    ],
)
def test_every_sample_lies_in_a_frame(model, samples, hop_s, frames):
    prediction = model.predict(_waveform(samples / 16_000), 16_000, hop_s=hop_s)
    assert prediction.scores.shape == (frames, datasets.CLASSES)
    assert prediction.embeddings.shape == (frames, 32)
    assert prediction.times.shape == (frames,)
    assert prediction.seconds == samples / 16_000


@pytest.mark.parametrize("hop_s", [0.96, 0.17])
def test_blocks_and_batches_make_no_difference(model, hop_s):
    waveform = _waveform(20.03)
    whole = model.predict(waveform, 16_000, hop_s=hop_s)
    rng = np.random.default_rng(1)
    cuts = np.sort(rng.integers(0, len(waveform), 30))
    chunks = list(model.stream(np.split(waveform, cuts), hop_s=hop_s, batch_size=7))
    assert {len(chunk.scores) for chunk in chunks[:-1]} == {7}
    np.testing.assert_allclose(
        np.concatenate([chunk.scores for chunk in chunks]), whole.scores, atol=1e-5
    )
    log_mel = np.concatenate([chunk.log_mel for chunk in chunks])
    assert len(log_mel) == 2003
    expected = features.log_mel(np.pad(waveform, (0, 400))).numpy()[:2003]
    np.testing.assert_allclose(log_mel, expected, atol=1e-4)
    assert chunks[-1].seconds == pytest.approx(20.03)


def test_other_rates_are_resampled(model):
    waveform = audio_files.melody(5, 44_100).astype(np.float32)
    got = model.predict(waveform, 44_100)
    expected = model.predict(soxr.resample(waveform, 44_100, 16_000, quality="HQ"), 16_000)
    np.testing.assert_allclose(got.scores, expected.scores, atol=1e-6)
    assert got.seconds == 5
    # int64 floats, float64 samples and tensors are waveforms too
    same = model.predict(tf.constant(waveform, tf.float64), np.int64(44_100))
    np.testing.assert_allclose(got.scores, same.scores, atol=1e-6)


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".m4a"])
def test_files_of_any_format(model, tmp_path, suffix):
    path = str(audio_files.write(tmp_path / f"a{suffix}", audio_files.melody(25, 44_100), 44_100))
    got = model.predict_file(path, hop_s=0.48)
    expected = model.predict(decoding.load(path), 16_000, hop_s=0.48)
    assert abs(len(got.scores) - len(expected.scores)) <= 1
    # Resampled in blocks; and an encoder's padding at the end may be cut elsewhere.
    np.testing.assert_allclose(got.scores[:48], expected.scores[:48], atol=5e-3)
    assert got.seconds == pytest.approx(25, abs=0.1)


def test_top_classes_are_the_highest_means(model):
    prediction = model.predict(_waveform(9.6), 16_000)
    inside = prediction.scores[:10]
    order = np.argsort(-inside.mean(axis=0))
    top = prediction.top(2)
    assert [name for name, _ in top] == [f"class {i}" for i in order[:2]]
    assert [score for _, score in top] == pytest.approx(sorted(inside.mean(axis=0))[:-3:-1])
    assert len(prediction.top(100)) == datasets.CLASSES
    assert prediction.class_names == model.class_names == datasets.VOCABULARY.names


def test_events_are_where_scores_reach_the_threshold(model):
    prediction = model.predict(_waveform(9.6), 16_000)
    found = prediction.events(0.6)
    assert len(found) > 2
    heard = np.zeros((10, datasets.CLASSES), bool)
    for event in found:
        heard[round(event.start_s / 0.96) : round(event.end_s / 0.96), event.label] = True
    np.testing.assert_array_equal(heard, prediction.scores[:10] >= 0.6)
    single = prediction.events(np.array([0.6, 1.0, 1.0, 1.0]))
    assert [e for e in single if e.label == 0] == [e for e in found if e.label == 0] != []
    assert all(event.peak == 1.0 for event in single if event.label)
    with pytest.raises(errors.InputError, match="threshold 2"):
        prediction.events(2.0)


@pytest.mark.parametrize(
    ("waveform", "rate", "hop_s", "message"),
    [
        (np.zeros((2, 16_000)), 16_000, 0.96, r"shape \(2, 16000\): must be \[samples\]"),
        (np.float64(0.5), 16_000, 0.96, r"shape \(\): must be"),
        (np.zeros(0), 16_000, 0.96, "empty waveform"),
        (np.zeros(99, np.int16), 16_000, 0.96, r"int16: must be float in \[-1, 1\] \(divide"),
        (np.zeros(99, np.complex64), 16_000, 0.96, "complex64: must be float"),
        (["a"], 16_000, 0.96, "must be float"),
        (np.array([0, np.nan]), 16_000, 0.96, "nan at sample 1"),
        (np.array([np.inf, 0]), 16_000, 0.96, "inf at sample 0"),
        (np.array([0, -32_768.0]), 16_000, 0.96, r"up to 32768: must be scaled to \[-1, 1\]"),
        (np.zeros(99), 0, 0.96, "sample rate 0: must be in Hz"),
        (np.zeros(99), -16_000, 0.96, "sample rate -16000"),
        (np.zeros(99), "fast", 0.96, "sample rate 'fast'"),
        (np.zeros(99), float("nan"), 0.96, "sample rate nan"),
        (np.zeros(99), None, 0.96, "sample rate None"),
        (np.zeros(99), 16_000, 0.0, "hop 0.0 s: must be a multiple of 0.01"),
        (np.zeros(99), 16_000, 0.015, "hop 0.015 s"),
        (np.zeros(99), 16_000, 0.97, "hop 0.97 s"),
        (np.zeros(99), 16_000, float("nan"), "hop nan s"),
    ],
)
def test_bad_waveforms_rates_and_hops_are_named(model, waveform, rate, hop_s, message):
    with pytest.raises(errors.InputError, match=message):
        model.predict(waveform, rate, hop_s=hop_s)


def test_bad_recordings_are_named(model, tmp_path):
    (tmp_path / "text.wav").write_text("not audio")
    audio_files.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    for name, message in (
        ("text.wav", "libsndfile"),
        ("empty.wav", "no audio"),
        ("no", "such file"),
    ):
        with pytest.raises(errors.InputError, match=f"{name}: .*{message}"):
            model.predict_file(str(tmp_path / name))


def test_a_model_is_a_checkpoint_or_a_workdir_with_a_selected_one(workdir, model, tmp_path):
    waveform = _waveform(2)

    def scores(path):
        return audioset_strong.load_model(path).predict(waveform, 16_000).scores

    selected = model.predict(waveform, 16_000).scores
    for name in ("step-20", "step-20.index"):
        np.testing.assert_array_equal(scores(f"{workdir}/checkpoints/{name}"), selected)
    assert np.abs(scores(f"{workdir}/checkpoints/step-10") - selected).max() > 0.01


def test_a_path_without_a_model_is_refused(tmp_path):
    unselected = trained.write_workdir(tmp_path / "unselected", steps=(1,), selected=None)

    class Other(tf.Module):
        @tf.function(input_signature=[])
        def class_map_path(self):
            return tf.constant("yamnet_class_map.csv")

    tf.saved_model.save(Other(), str(tmp_path / "other"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "saved_model.pb").write_bytes(b"nothing")
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.keras").touch()
    for path, message in (
        (tmp_path / "model.keras", "one file of an export; give the export's directory"),
        (tmp_path / "missing", "no such model"),
        (tmp_path / "empty", "neither a checkpoint nor a workdir"),
        (unselected, "no checkpoint is selected"),
        (tmp_path / "other", "not a SavedModel of audioset_strong_export"),
        (tmp_path / "broken", "not a SavedModel of audioset_strong_export"),
    ):
        with pytest.raises(errors.InputError, match=message) as raised:
            audioset_strong.load_model(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_scores_that_are_not_finite_are_refused():
    net = trained.network()
    net.get_layer("logits").bias.assign([np.nan] * datasets.CLASSES)
    scorer = waveform_scorer.WaveformScorer(net, features.DEFAULT_FRONT_END)
    model = predictor.Model(
        scorer, datasets.VOCABULARY, front_end=scorer.front_end, path="runs/diverged"
    )
    with pytest.raises(errors.InputError, match="runs/diverged: gives scores that are not finite"):
        model.predict(_waveform(1), 16_000)


# Every setting of the front end differs from the default in one of them.
_FRONT_ENDS = (
    features.FrontEnd(lower_hz=300.0, offset=1e-8),
    features.FrontEnd(
        hop_samples=320, num_bands=32, fft_length=1024, lower_hz=60, upper_hz=6000, offset=0.5
    ),
    features.FrontEnd(window_samples=640, hop_samples=128, fft_length=700, num_bands=40),
    features.FrontEnd(window_samples=200, hop_samples=240, fft_length=512, num_bands=24),
    features.FrontEnd(
        sample_rate=8000,
        window_samples=200,
        hop_samples=80,
        fft_length=256,
        num_bands=32,
        upper_hz=3800,
    ),
)


def _other_workdir(directory, front_end):
    return trained.write_workdir(directory, steps=(20,), front_end=front_end)


def _direct(network, front_end, waveform, hop_s):
    """Scores of each window, cut out, transformed and scored alone."""
    hop = round(hop_s * front_end.sample_rate)
    count = 1
    while (count - 1) * hop + front_end.patch_samples < len(waveform):
        count += 1
    padded = np.pad(waveform, (0, front_end.sample_rate))
    windows = np.stack([padded[i * hop :][: front_end.patch_samples] for i in range(count)])
    logits = network(features.log_mel(windows, front_end), training=False)
    return special.expit(np.float64(logits))


@pytest.mark.parametrize("front_end", _FRONT_ENDS)
def test_the_front_end_is_that_of_the_run(tmp_path, front_end):
    workdir = _other_workdir(tmp_path / "run", front_end)
    model = audioset_strong.load_model(workdir)
    assert model.front_end == front_end
    network = checkpoints.load_model(workdir, f"{workdir}/checkpoints/step-20").model
    waveform = soxr.resample(_waveform(7.3), 16_000, front_end.sample_rate)
    hop = front_end.hop_samples / front_end.sample_rate
    for hop_s in (0.96, 9 * hop):
        got = model.predict(waveform, front_end.sample_rate, hop_s=hop_s)
        expected = _direct(network, front_end, waveform, hop_s)
        np.testing.assert_allclose(got.scores, expected, atol=1e-5)
        np.testing.assert_allclose(got.times, np.arange(len(expected)) * hop_s)
        assert got.seconds == pytest.approx(7.3, abs=1e-3)
        assert np.ptp(expected, axis=0).max() > 0.01
        cuts = np.random.default_rng(0).integers(0, len(waveform), 20)
        blocks = np.split(waveform, np.sort(cuts))
        chunks = list(model.stream(blocks, hop_s=hop_s, batch_size=3))
        streamed = np.concatenate([chunk.scores for chunk in chunks])
        np.testing.assert_allclose(streamed, expected, atol=1e-5)
        log_mel = np.concatenate([chunk.log_mel for chunk in chunks])
        by_hand = features.log_mel(np.pad(waveform, (0, 800)), front_end)[: len(log_mel)]
        np.testing.assert_allclose(log_mel, by_hand, atol=1e-3)
    with pytest.raises(errors.InputError, match=rf"must be a multiple of {hop:g} s, up to 0.96 s"):
        model.predict(waveform, 16_000, hop_s=9.5 * hop)


def test_files_are_read_at_the_rate_of_the_front_end(tmp_path):
    front_end = _FRONT_ENDS[-1]
    workdir = _other_workdir(tmp_path / "run", front_end)
    model = audioset_strong.load_model(workdir)
    path = str(audio_files.write(tmp_path / "a.wav", audio_files.melody(5, 44_100), 44_100))
    network = checkpoints.load_model(workdir, f"{workdir}/checkpoints/step-20").model
    expected = _direct(network, front_end, decoding.load(path, 8000), 0.96)
    got = model.predict_file(path)
    assert got.seconds == 5
    np.testing.assert_allclose(got.scores, expected, atol=5e-3)


def test_two_front_ends_give_different_scores(model, tmp_path):
    waveform = 0.01 * _waveform(0.975)
    other = audioset_strong.load_model(_other_workdir(tmp_path / "run", _FRONT_ENDS[0]))
    first, second = (each.predict(waveform, 16_000).scores for each in (other, model))
    assert np.abs(first - second).max() > 1e-3


def test_a_workdir_without_run_json_or_of_another_shape_is_refused(tmp_path):
    workdir = trained.write_workdir(tmp_path / "run", steps=(20,))
    trained.run_info(front_end=features.FrontEnd(num_bands=32)).write(workdir)
    with pytest.raises(errors.InputError, match=r"patches of 96 x 64 .* gives 96 x 32"):
        audioset_strong.load_model(workdir)
    (tmp_path / "run" / "run.json").unlink()
    with pytest.raises(errors.InputError, match=r"its run\.json is missing") as raised:
        audioset_strong.load_model(workdir)
    assert "\n" not in str(raised.value)
