"""Every run is evaluated with log-mel of the front end that it was trained with."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.evaluation import eval_sets, following, results, score_files
from audioset_strong.evaluation.settings import EvaluationSettings
from audioset_strong.training import checkpoints, run_info
from tests import toy_training
from tests import trained as trained_runs
from tests.datasets import make_clip, toy_clips, write_dataset

OTHER = features.FrontEnd(offset=1e-8, lower_hz=300.0)
NARROW = features.FrontEnd(num_bands=32, hop_samples=320)  # patches of another shape
CLIPS = toy_clips(6, 2000)
SETTINGS = EvaluationSettings(intervals=False, save_scores="npz")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    write_dataset(directory / "train", toy_clips(16), 1)
    write_dataset(directory / "eval", CLIPS, 1)
    return directory


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one step with the default front end."""
    directory = tmp_path_factory.mktemp("runs") / "default"
    trained_runs.write_workdir(directory, steps=(1,), selected=None)
    return directory


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def with_front_end(workdir, front_end):
    info = run_info.RunInfo.read(str(workdir))
    dataclasses.replace(info, front_end=front_end).write(str(workdir))
    return workdir


def evaluate(*workdirs, data, **given):
    arguments = {"run_once": True, "settings": SETTINGS} | given
    following.evaluate_workdirs(
        [str(path) for path in workdirs], {"eval": str(data / "eval")}, **arguments
    )


def scored(workdir):
    return score_files.load(str(workdir / "eval" / "scores" / "eval-1.npz"))


def computed(model, clip, front_end):
    """The logits of a clip's ten frames, straight from the audio, the front end and the model."""
    padded = np.pad(clip.audio / 32768, (0, 11 * 15_360))
    length = front_end.patch_samples
    windows = np.stack([padded[i * 15_360 : i * 15_360 + length] for i in range(10)])
    log_mel = features.log_mel(tf.constant(windows, tf.float32), front_end)
    return model(log_mel, training=False)


@pytest.mark.parametrize("cache_clips", [0, pytest.param(1000, marks=pytest.mark.slow)])
def test_runs_of_different_front_ends_are_each_scored_with_their_own(
    data, trained, tmp_path, cache_clips
):
    runs = {
        features.DEFAULT_FRONT_END: shutil.copytree(trained, tmp_path / "default"),
        # The same weights, so that only the front end can make a difference.
        OTHER: with_front_end(shutil.copytree(trained, tmp_path / "other"), OTHER),
        NARROW: toy_training.train(
            tmp_path / "narrow",
            data,
            total_steps=1,
            checkpoint_every=1,
            steps_per_call=1,
            batch_size=4,
            front_end=NARROW,
        ),
    }
    settings = dataclasses.replace(SETTINGS, cache_clips=cache_clips)
    evaluate(*runs.values(), data=data, settings=settings)
    for front_end, workdir in runs.items():
        scores = scored(workdir)
        model = checkpoints.load_model(str(workdir)).model
        for clip in CLIPS:
            got = scores.frame_scores[scores.clip_ids.index(clip.clip_id)]
            expected = computed(model, clip, front_end)
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    default, other = runs[features.DEFAULT_FRONT_END], runs[OTHER]
    difference = scored(default).frame_scores - scored(other).frame_scores
    assert np.abs(difference).max() > 0.01
    values = [results.read_results(str(workdir))["value"] for workdir in (default, other)]
    assert not values[0].equals(values[1])


def test_a_run_without_its_facts_is_refused_before_any_work(data, trained, run, tmp_path):
    (run / "run.json").unlink()
    with pytest.raises(errors.InputError, match=f"{run}: its run.json is missing"):
        evaluate(run, data=data, run_once=False)  # there are checkpoints, so it has begun
    assert not (run / "eval").exists()
    # It costs no other run anything.
    other = shutil.copytree(trained, tmp_path / "other")
    with pytest.raises(following.LeftOutError, match=f"{run}: its run.json is missing") as caught:
        evaluate(run, other, data=data)
    assert "\n" not in str(caught.value)
    assert set(results.read_results(str(other))["step"]) == {1}
    assert not (run / "eval").exists()


def test_a_run_of_a_newer_version_is_refused_before_any_work(data, run):
    facts = json.loads((run / "run.json").read_text()) | {"format": 99}
    (run / "run.json").write_text(json.dumps(facts))
    with pytest.raises(errors.InputError, match=r"run\.json: format 99, but this version reads"):
        evaluate(run, data=data)
    assert not (run / "eval").exists()


@pytest.mark.parametrize(
    ("front_end", "message"),
    [
        (features.FrontEnd(num_bands=32), r"takes patches of shape \(96, 64\), but .* \(96, 32\)"),
        (
            features.FrontEnd(
                sample_rate=32_000, window_samples=800, hop_samples=320, fft_length=1024
            ),
            "cannot be evaluated on 'eval': .*sample rate 16000 Hz, but",
        ),
    ],
)
def test_a_front_end_that_fits_neither_model_nor_data_is_told(data, run, front_end, message):
    with_front_end(run, front_end)
    with pytest.raises(errors.InputError, match=message):
        evaluate(run, data=data)
    assert not list(run.glob("eval/results.csv"))


@pytest.mark.parametrize("sample_rate", [8_000, 32_000, 48_000])
def test_datasets_of_another_sample_rate_can_be_opened(tmp_path, sample_rate):
    clips = [make_clip(i, sample_rate=sample_rate) for i in range(2)]
    directory = write_dataset(tmp_path / "data", clips)
    (batch,) = eval_sets.open_eval_set("eval", [directory]).label_batches()
    assert batch["frame_labels"].shape == (2, 10, 4)
    # From 1 to 3 s, by hand: the frames from 0.96 and 1.92 s; of that from 2.88 s only 0.12 s.
    assert (batch["frame_labels"][0, :, 1] == 1).tolist() == [False, True, True] + 7 * [False]
