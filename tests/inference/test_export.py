"""Exported models give what the Python model gives, without the project's code."""

import csv
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special
from tensorflow.lite.python import schema_py_generated as schema

import audioset_strong
from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.inference import export, tflite, waveform_scorer
from audioset_strong.inputs.training_sources import Source
from audioset_strong.labels import metadata, vocabularies
from audioset_strong.records import dataset_info
from audioset_strong.training import checkpoints, run_info
from tests import datasets, trained, workdirs

_FRONT_END = features.FrontEnd(lower_hz=150.0)
_CONFIG = "FrontEnd.lower_hz = 150.0\nsingle_source.datasets = ['train_toy']\n"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """An evaluated run, whose front end is not the default one."""
    root = tmp_path_factory.mktemp("root")
    clips = [datasets.make_clip(i) for i in range(3)]
    toy = str(datasets.write_dataset(root / "data" / "train_toy", clips))
    facts = run_info.DatasetFacts.of(toy, dataset_info.DatasetInfo.load(toy))
    path = trained.write_workdir(
        root / "toy run",
        config=_CONFIG,
        front_end=_FRONT_END,
        sources=(Source((toy,), "strong", propagate_to_ancestors=True),),
        datasets=(facts,),
        seed=7,
        versions={"audioset_strong": "0.1.0", "tensorflow": "2.17.1"},
    )
    values = {"strong_eval/d_prime": 1.25, "weak_eval/lwlrap": 0.625}
    workdirs.write_run(root, "evaluated", values)
    (root / "evaluated" / "eval").rename(root / "toy run" / "eval")
    return path


@pytest.fixture(scope="module")
def exported(workdir, tmp_path_factory):
    return export.export(workdir, str(tmp_path_factory.mktemp("out") / "exported"))


def _sounds(samples=15_600):
    """A whisper beside a shout, and nothing at all: where quantised front ends fail."""
    rng = np.random.default_rng(0)
    time = np.arange(samples) / 16_000
    yield (0.8 * np.sin(2 * np.pi * 300 * time) + 1e-3 * rng.normal(size=samples)).astype("f")
    yield (0.05 * rng.normal(size=samples) * np.linspace(0, 1, samples)).astype("f")
    yield np.zeros(samples, "f")


@pytest.mark.parametrize("samples", [1, 15_600, 15_601, 100_000])
def test_the_saved_model_gives_the_scores_of_the_python_model(exported, model, samples):
    loaded = tf.saved_model.load(str(exported))
    for waveform in _sounds(samples):
        expected = model.predict(waveform, 16_000)
        scores, embeddings, log_mel = loaded(waveform)
        np.testing.assert_allclose(scores, expected.scores, atol=1e-5)
        np.testing.assert_allclose(embeddings, expected.embeddings, rtol=1e-4, atol=1e-5)
        frames = len(expected.scores)
        padded = np.pad(waveform, (0, (frames - 1) * 15_360 + 15_600 - samples))
        by_hand = features.log_mel(padded, _FRONT_END)
        np.testing.assert_allclose(log_mel, by_hand, atol=1e-4)
        assert log_mel.shape == (frames * 96, 64)


def test_code_written_for_yamnet_works_by_changing_the_path(exported):
    path = str(exported)
    # From here on as in the tutorials of YAMNet.
    model = tf.saved_model.load(path)
    waveform = np.zeros(3 * 16000, dtype=np.float32)
    scores, embeddings, log_mel_spectrogram = model(waveform)
    scores.shape.assert_is_compatible_with([None, datasets.CLASSES])
    embeddings.shape.assert_is_compatible_with([None, 32])
    log_mel_spectrogram.shape.assert_is_compatible_with([None, 64])
    with tf.io.gfile.GFile(model.class_map_path().numpy()) as csvfile:
        class_names = [row["display_name"] for row in csv.DictReader(csvfile)]
    assert class_names[scores.numpy().mean(axis=0).argmax()] in datasets.VOCABULARY.names
    served = model.signatures["serving_default"](waveform=tf.constant(waveform))
    np.testing.assert_allclose(served["scores"], scores, atol=1e-6)
    np.testing.assert_allclose(served["embeddings"], embeddings, atol=1e-6)
    np.testing.assert_allclose(served["log_mel"], log_mel_spectrogram, atol=1e-6)


def test_the_class_map_is_in_the_format_of_audioset(exported):
    table = metadata.read_class_list(str(exported / "assets" / "class_map.csv"))
    assert tuple(table["mid"]) == datasets.VOCABULARY.mids
    assert tuple(table["display_name"]) == datasets.VOCABULARY.names


def test_an_exported_model_is_loaded_like_a_checkpoint(exported, model):
    waveform = np.concatenate(list(_sounds(50_000)))
    loaded = audioset_strong.load_model(str(exported))
    assert loaded.class_names == model.class_names
    assert loaded.front_end == _FRONT_END
    for hop_s in (0.96, 0.3):
        got = loaded.predict(waveform, 22_050, hop_s=hop_s)
        expected = model.predict(waveform, 22_050, hop_s=hop_s)
        np.testing.assert_allclose(got.scores, expected.scores, atol=1e-5)
        np.testing.assert_array_equal(got.times, expected.times)


# Of scores: what fine differences of the network's weights may come to.
@pytest.mark.parametrize(
    ("kind", "tolerance"), [("float32", 1e-3), ("float16", 0.02), ("int8", 0.2)]
)
def test_tflite_gives_the_scores_of_the_python_model(exported, model, kind, tolerance):
    interpreter = tflite.interpreter(str(exported / "tflite" / f"{kind}.tflite"))
    run = interpreter.get_signature_runner("serving_default")
    for waveform in _sounds():
        expected = model.predict(waveform, 16_000)
        got = run(waveform=waveform)
        assert got["scores"].shape == (1, datasets.CLASSES)
        np.testing.assert_allclose(got["scores"], expected.scores, atol=tolerance)
        scale = np.abs(expected.embeddings).max()
        np.testing.assert_allclose(got["embeddings"], expected.embeddings, atol=tolerance * scale)
        # The front end is precise in all of them.
        log_mel = features.log_mel(waveform, _FRONT_END)
        np.testing.assert_allclose(got["log_mel"], log_mel, atol=2e-3)


@pytest.mark.parametrize("kind", tflite.KINDS)
def test_outputs_of_tflite_come_in_order(exported, kind):
    interpreter = tflite.interpreter(str(exported / "tflite" / f"{kind}.tflite"))
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    interpreter.set_tensor(entry["index"], next(_sounds()))
    interpreter.invoke()
    got = [interpreter.get_tensor(o["index"]) for o in interpreter.get_output_details()]
    named = interpreter.get_signature_runner()(waveform=next(_sounds()))
    for values, name in zip(got, ("scores", "embeddings", "log_mel"), strict=True):
        np.testing.assert_array_equal(values, named[name])


def test_a_frame_with_a_nan_has_nan_for_scores(exported):
    waveform = next(_sounds(3 * 15_360 + 240))
    saved_model = tf.saved_model.load(str(exported))
    clean = saved_model(waveform)
    waveform[20_000] = np.nan  # in the second of three frames
    scores, embeddings, _ = saved_model(waveform)
    for got, wanted in ((scores, clean[0]), (embeddings, clean[1])):
        assert np.isnan(got[1]).all()
        np.testing.assert_array_equal(got[::2], wanted[::2])
    for kind in tflite.KINDS:
        run = tflite.interpreter(str(exported / "tflite" / f"{kind}.tflite")).get_signature_runner()
        named = run(waveform=waveform[15_360:30_960])
        assert np.isnan(named["scores"]).all(), kind
        assert np.isnan(named["embeddings"]).all(), kind


@pytest.mark.parametrize("kind", tflite.KINDS)
def test_tflite_needs_built_in_operators_only(exported, kind):
    content = (exported / "tflite" / f"{kind}.tflite").read_bytes()
    flatbuffer = schema.Model.GetRootAs(content, 0)
    codes = [flatbuffer.OperatorCodes(i) for i in range(flatbuffer.OperatorCodesLength())]
    assert len(codes) > 5
    assert [code.CustomCode() for code in codes] == [None] * len(codes)
    assert schema.BuiltinOperator.CUSTOM not in [code.BuiltinCode() for code in codes]


def test_quantised_models_are_smaller(exported):
    sizes = [(exported / "tflite" / f"{kind}.tflite").stat().st_size for kind in tflite.KINDS]
    assert sizes == sorted(sizes, reverse=True)


def test_the_keras_file_is_the_network(exported, model):
    network = keras.models.load_model(exported / "model.keras")
    waveform = next(_sounds())
    log_mel = features.log_mel(waveform, _FRONT_END)[tf.newaxis]
    scores = special.expit(network.predict(log_mel, verbose=0))
    np.testing.assert_allclose(scores, model.predict(waveform, 16_000).scores, atol=1e-5)


def test_the_weights_are_there_to_fine_tune_from(exported, workdir):
    for name in ("model.json", "run.json", "config.gin"):
        assert (exported / name).read_bytes() == pathlib.Path(workdir, name).read_bytes()
    weights = str(exported / "weights" / "step-20")
    # As --init_from is read, which takes the directory too.
    assert checkpoints.resolve(weights) == (str(exported), weights)
    assert checkpoints.resolve(str(exported)) == (str(exported), weights)
    loaded = checkpoints.load_model(str(exported), weights)
    original = checkpoints.load_model(workdir, f"{workdir}/checkpoints/step-20")
    for got, expected in zip(loaded.model.weights, original.model.weights, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_the_model_card_tells_data_settings_metrics_and_classes(exported):
    card = (exported / "model_card.md").read_text()
    for line in (
        "# Model card: toy run",
        "| run | toy run, step 20 |",
        "| front end | sample_rate 16000, window_samples 400, hop_samples 160, fft_length 512, "
        "num_bands 64, lower_hz 150.0, upper_hz 7500.0, offset 0.01 |",
        "| trained with | audioset_strong 0.1.0, tensorflow 2.17.1 |",
        "| seed | 7 |",
        "| examples | 20 steps of 16 |",
        "| train_toy | strong | 1 | yes |",
        "Strong labels are framed by the rule `released`.",
        "| train_toy | 3 | 0.01 | 3 | 3 | 3 |",
        "Fingerprint of the datasets: `0123abcd`.",
        "| strong_eval | d_prime | 1.25 | 1.150 to 1.450 |",
        "| weak_eval | lwlrap | 0.625 | 0.525 to 0.825 |",
        "single_source.datasets = ['train_toy']",
        "| 3 | /m/03 | class 3 |",
        "## Intended use",
        "## Limits",
    ):
        assert line in card.split("\n")
    assert "{" not in card.partition("## Settings")[0]


def test_the_card_of_a_run_of_which_little_is_known_says_so(tmp_path):
    workdir = trained.write_workdir(
        tmp_path / "bare",
        steps=(5,),
        selected=None,
        data_fingerprint=None,
        versions={},
        sources=(Source(("data/train_toy",), "weak"),),
        datasets=(run_info.DatasetFacts("data/train_toy", "train_toy"),),
    )
    (tmp_path / "bare" / "config.gin").unlink()
    out = export.export(f"{workdir}/checkpoints/step-5", str(tmp_path / "out"), with_tflite=False)
    card = (out / "model_card.md").read_text()
    assert "| chosen | by hand |" in card
    assert "| trained with | not known |" in card
    assert "| train_toy | weak | 1 | no |" in card
    assert "framed by" not in card
    unknown = " | ".join(["not known"] * 5)
    assert f"| train_toy | {unknown} |\n\nFingerprint of the datasets: not known.\n" in card
    assert "```\nnot known\n```" in card
    assert "## Evaluation\n\nNot evaluated.\n" in card
    assert not (out / "tflite").exists()


def test_an_export_states_its_front_end_whatever_lies_beside_it(tmp_path):
    front_end = features.FrontEnd(
        sample_rate=8000,
        window_samples=200,
        hop_samples=160,
        fft_length=512,
        num_bands=32,
        upper_hz=3800,
        offset=1e-6,
    )
    workdir = trained.write_workdir(
        tmp_path / "run",
        front_end=front_end,
    )
    out = export.export(workdir, str(tmp_path / "out"))
    (out / "run.json").unlink()
    original = audioset_strong.load_model(workdir)
    loaded = audioset_strong.load_model(out)
    assert loaded.front_end == front_end
    waveform = next(_sounds(50_000))
    expected = original.predict(waveform, 16_000, hop_s=0.1)
    got = loaded.predict(waveform, 16_000, hop_s=0.1)
    np.testing.assert_allclose(got.scores, expected.scores, atol=1e-5)
    # As YAMNet is called, and TensorFlow Lite: with samples at the rate of the front end.
    samples = waveform[: front_end.patch_samples]
    scores, _, log_mel = tf.saved_model.load(str(out))(samples)
    assert log_mel.shape == (48, 32)
    np.testing.assert_allclose(scores, original.predict(samples, 8000).scores, atol=1e-5)
    interpreter = tflite.interpreter(str(out / "tflite" / "float32.tflite"))
    outputs = interpreter.get_signature_runner("serving_default")(waveform=samples)
    np.testing.assert_allclose(outputs["scores"], scores, atol=1e-3)
    np.testing.assert_allclose(outputs["log_mel"], log_mel, atol=2e-3)


def _older_export(directory, front_end):
    """A SavedModel as the first version wrote it: it does not state its front end."""

    class Older(waveform_scorer.WaveformScorer):
        def __init__(self, network, class_map):
            super().__init__(network, front_end)
            self._class_map = tf.saved_model.Asset(class_map)

        @tf.function(input_signature=[])
        def class_map_path(self):
            return self._class_map.asset_path

    vocabularies.write_class_list(directory.parent / "class_map.csv", datasets.VOCABULARY)
    older = Older(trained.network(seed=20), str(directory.parent / "class_map.csv"))
    tf.saved_model.save(older, str(directory))


def test_an_older_export_is_read_where_its_front_end_is_certain(tmp_path):
    _older_export(tmp_path / "default", features.DEFAULT_FRONT_END)
    loaded = audioset_strong.load_model(tmp_path / "default")
    assert loaded.front_end == features.DEFAULT_FRONT_END
    quiet = features.FrontEnd(offset=1e-8)
    _older_export(tmp_path / "other", quiet)
    with pytest.raises(errors.InputError, match=r"than the default; write its run.json with"):
        audioset_strong.load_model(tmp_path / "other")
    trained.run_info().write(str(tmp_path / "other"))
    with pytest.raises(errors.InputError, match=r"run.json describes another front end than"):
        audioset_strong.load_model(tmp_path / "other")
    trained.run_info(front_end=quiet).write(str(tmp_path / "other"))
    assert audioset_strong.load_model(tmp_path / "other").front_end == quiet


def test_nothing_is_exported_over_something_else(workdir, tmp_path):
    (tmp_path / "mine").write_text("text")
    for out in (tmp_path, tmp_path / "mine"):
        with pytest.raises(errors.InputError, match="exists already"):
            export.export(workdir, str(out))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(errors.InputError, match="cannot be written"):
        export.export(workdir, str(tmp_path / "mine" / "below"))
    with pytest.raises(errors.InputError, match="neither a checkpoint nor a workdir"):
        export.export(str(tmp_path / "missing"), str(tmp_path / "new"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_moving_average_is_exported_on_demand(tmp_path):
    net, averaged = trained.network(seed=1), trained.network(seed=2)
    saved = tf.train.Checkpoint(
        model=net, averages=[tf.Variable(w.value) for w in averaged.trainable_variables]
    )
    workdir = str(tmp_path / "run")
    checkpoints.save(saved, workdir, step=5, keep=True)
    checkpoints.save_model_description(workdir, net)
    trained.run_info().write(workdir)
    path = f"{workdir}/checkpoints/step-5"
    for layer in averaged.layers:  # of batch norm's statistics there is one kind
        for weight in layer.non_trainable_variables:
            weight.assign(next(w for w in net.variables if w.path == weight.path))
    for ema, wanted in ((False, net), (True, averaged)):
        out = export.export(path, str(tmp_path / f"out{ema}"), with_tflite=False, ema=ema)
        loaded = tf.saved_model.load(str(out))
        for waveform in _sounds():
            scores, _, log_mel = loaded(waveform)
            logits = wanted(log_mel[np.newaxis, :96]).numpy()
            np.testing.assert_allclose(scores[0], special.expit(logits[0]), atol=1e-5)
    with pytest.raises(errors.InputError, match="exported already"):
        audioset_strong.load_model(str(tmp_path / "outTrue"), ema=True)
