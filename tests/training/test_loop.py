"""Training runs: real shards in, real checkpoints and event files out."""

import dataclasses
import fcntl
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from audioset_strong.audio import features
from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import errors, files
from audioset_strong.inputs import opened_sources, training_sources, training_stream
from audioset_strong.inputs.augmentation import Augmentation
from audioset_strong.labels import vocabularies
from audioset_strong.models import resnet
from audioset_strong.training import checkpoints
from audioset_strong.training.run_info import RunInfo
from tests import toy_training
from tests.datasets import toy_clips, write_dataset
from tests.streams import take_samples
from tests.toy_training import keeping_states, tiny, toy_sources


def train(workdir, data_dir, rate=1e-2, **settings):
    defaults = {
        "total_steps": 60,
        "checkpoint_every": 20,
        "steps_per_call": 10,
        "config_text": "train.seed = 0\n",
    }
    return toy_training.train(workdir, data_dir, rate, **(defaults | settings))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_dir):
    """A finished run, with copies of its workdir as it was after each kept checkpoint."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    with keeping_states(workdir.parent / "states"):
        train(workdir, data_dir)
    return workdir


def begun_from(run, workdir, step):
    """A copy of `trained` as it was when it had saved `step`."""
    shutil.copytree(run.parent / f"states/{step}", workdir)
    return workdir


def test_a_run_learns_to_tell_tone_from_noise(trained):
    loaded = checkpoints.load_model(str(trained))
    assert loaded.step == 60
    assert loaded.vocabulary.mids == ("/m/00", "/m/01", "/m/02", "/m/03")
    windows, labels = [], []
    for clip in toy_clips(30, first=1000):
        (start, end, label), *_ = clip.segments
        middle = 8 * (start + end) - features.DEFAULT_FRONT_END.patch_samples // 2
        windows.append(
            clip.audio[max(middle, 0) :][: features.DEFAULT_FRONT_END.patch_samples] / 32768
        )
        labels.append(label)
    log_mel = features.log_mel(tf.constant(np.stack(windows), tf.float32))
    logits = loaded.model.predict(log_mel, verbose=0)
    right = np.argmax(logits[:, :2], axis=1) == labels
    assert right.mean() > 0.9


def test_checkpoints_and_a_finishing_mark_are_where_the_evaluator_looks(trained):
    names = {path.name.partition(".")[0] for path in (trained / "checkpoints").iterdir()}
    assert names == {"step-20", "step-40", "step-60", "resume-60"}
    assert [step for step, _ in checkpoints.list_checkpoints(str(trained))] == [20, 40, 60]
    assert checkpoints.is_finished(str(trained))
    assert not list(trained.rglob("*.tmp"))


def test_tensorboard_shows_loss_gradient_norm_learning_rate_speed_and_config(trained, events):
    logged = events(trained)
    found = event_accumulator.EventAccumulator(str(trained / "train"), {"tensors": 0}).Reload()
    # TensorBoard sorts them so, upper case first.
    assert sorted(found.Tags()["tensors"])[:2] == ["Training/learning_rate", "Training/loss"]
    steps = [10, 20, 30, 40, 50, 60]
    for tag in ("loss", "gradient_norm", "learning_rate"):
        assert [step for step, _ in logged[tag]] == steps
    assert logged["loss"][-1][1] < 0.5 * logged["loss"][0][1]
    assert [float(value) for _, value in logged["learning_rate"]] == pytest.approx([1e-2] * 6)
    assert all(value > 0 for _, value in logged["gradient_norm"])
    # That of the first call would be the time of building the graph.
    assert [step for step, _ in logged["examples_per_second"]] == steps[1:]
    ((_, config),) = logged["run/config"]
    assert b"train.seed = 0" in config.item()
    ((_, run),) = logged["run/facts"]
    assert b'"patches_per_clip": 1' in run.item()


def test_the_first_loss_and_gradient_norm_are_those_of_the_untrained_model(
    data_dir, tmp_path, events
):
    train(tmp_path / "run", data_dir, total_steps=1)
    keras.utils.set_random_seed(0)
    net = tiny(4, class_priors=opened_sources.class_priors(toy_sources(data_dir)))
    batch = next(iter(training_stream.train_patches(toy_sources(data_dir), 16, seed=0)))
    with tf.GradientTape() as tape:
        logits = net(batch["log_mel"], training=True)
        # Cross-entropy written out; the probabilities are far from 0 and 1 here.
        p = tf.sigmoid(logits)
        y = batch["labels"]
        loss = -tf.reduce_mean(y * tf.math.log(p) + (1 - y) * tf.math.log(1 - p))
    gradients = tape.gradient(loss, net.trainable_variables)
    norm = np.sqrt(sum(np.sum(np.square(gradient.numpy())) for gradient in gradients))
    logged = events(tmp_path / "run")
    assert float(logged["loss"][0][1]) == pytest.approx(float(loss), rel=1e-4)
    assert float(logged["gradient_norm"][0][1]) == pytest.approx(float(norm), rel=1e-3)


def test_a_finished_run_is_left_alone(trained, data_dir):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    train(trained, data_dir)
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def test_a_run_resumed_ends_with_the_same_weights_and_the_same_curve(
    trained, data_dir, tmp_path, weights, events, assert_same
):
    resumed = begun_from(trained, tmp_path / "resumed", 20)
    train(resumed, data_dir)
    assert_same(weights(resumed), weights(trained))
    assert events(resumed)["loss"] == events(trained)["loss"][2:]


def test_settings_that_do_not_change_the_result_may_differ_after_a_stop(
    trained, data_dir, tmp_path, weights, assert_same
):
    resumed = begun_from(trained, tmp_path / "resumed", 40)
    train(
        resumed,
        data_dir,
        steps_per_call=3,
        checkpoint_every=15,
        inputs_every=13,
        histograms_every=20,
        resume_every_s=0.0,
        profile_steps=[44, 46],
    )
    assert_same(weights(resumed), weights(trained))


def test_a_finished_run_gets_more_steps_only_when_asked_for(
    trained, data_dir, tmp_path, weights, assert_same
):
    run = train(tmp_path / "run", data_dir, total_steps=20)
    assert checkpoints.is_finished(str(run))
    with pytest.raises(errors.InputError, match="its run has 20 steps, this one 60; --extend"):
        train(run, data_dir)
    train(run, data_dir, extend=True)
    assert_same(weights(run), weights(trained))
    assert RunInfo.read(str(run)) == RunInfo.read(str(trained))
    assert json.loads((run / "finished.json").read_text()) == {"step": 60}
    with pytest.raises(errors.InputError, match="60 steps, this one 20; a run cannot be shortened"):
        train(run, data_dir, total_steps=20, extend=True)


def test_a_run_goes_on_where_its_data_were_moved_but_not_in_other_data(
    trained, data_dir, tmp_path, weights, assert_same
):
    shutil.copytree(data_dir, tmp_path / "moved")
    resumed = begun_from(trained, tmp_path / "resumed", 40)
    write_dataset(tmp_path / "other" / "train", toy_clips(47), 2)
    with pytest.raises(errors.InputError, match="began with other data"):
        train(resumed, str(tmp_path / "other"))
    train(resumed, str(tmp_path / "moved"))
    assert_same(weights(resumed), weights(trained))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "cannot continue its run with seed = 1 instead of 0"),
        ({"front_end": FrontEnd(lower_hz=300.0)}, "with FrontEnd.lower_hz = 300.0 instead of 125"),
        ({"framing_rule": "paper"}, "with framing_rule = 'paper' instead of 'released'"),
        ({"augmentation": Augmentation(gain_db=3.0)}, "augmentation.gain_db = 3.0 instead of 0.0"),
        ({"init_from": "elsewhere"}, "with init_from = 'elsewhere' instead of None"),
    ],
)
def test_a_run_is_not_continued_as_another_one(trained, data_dir, tmp_path, changes, message):
    for step in (40, 60):  # with a part still to do, and finished
        resumed = begun_from(trained, tmp_path / f"from {step}", step)
        with pytest.raises(errors.InputError, match=message):
            train(resumed, data_dir, **changes)
    with pytest.raises(errors.InputError, match=message):
        train(trained, data_dir, **changes)


def test_a_run_of_other_sources_is_not_continued(trained, data_dir, tmp_path):
    resumed = begun_from(trained, tmp_path / "resumed", 40)
    source = dataclasses.replace(toy_sources(data_dir)[0], policy="diffuse")
    with pytest.raises(errors.InputError, match="policy = 'diffuse' instead of 'strong'"):
        train(resumed, data_dir, sources=[source])


def test_the_facts_of_a_run_are_written_before_its_first_step(trained, data_dir, tmp_path):
    def explode(total_steps):
        del total_steps
        return 1e38

    with pytest.raises(errors.InputError, match=r"is (nan|inf) at step"):
        train(tmp_path, data_dir, learning_rate=explode, total_steps=5, checkpoint_every=5)
    run = RunInfo.read(str(tmp_path))
    assert run.sources == tuple(toy_sources(data_dir))
    assert [(d.name, d.clips) for d in run.datasets] == [("train", 48)]
    assert (run.seed, run.batch_size, run.total_steps) == (0, 16, 5)
    assert run.versions["tensorflow"] == tf.__version__
    assert checkpoints.load_model(str(trained)).run == RunInfo.read(str(trained))
    assert set(json.loads((trained / "model.json").read_text())) == {"architecture"}


def test_a_model_of_another_front_end_takes_its_patches_and_its_like_to_start_from(
    trained, data_dir, tmp_path
):
    front_end = FrontEnd(hop_samples=320, num_bands=32, lower_hz=300.0, offset=1e-4)
    run = train(tmp_path / "run", data_dir, front_end=front_end, total_steps=1)
    loaded = checkpoints.load_model(str(run))
    assert loaded.run.front_end == front_end
    assert loaded.model.input.shape[1:] == (48, 32)
    init_from = str(run / "checkpoints" / "step-1")
    train(tmp_path / "tuned", data_dir, front_end=front_end, total_steps=1, init_from=init_from)
    message = "another front end than this run's, which has FrontEnd.hop_samples = 160 instead of"
    with pytest.raises(errors.InputError, match=message):
        train(tmp_path / "other", data_dir, init_from=init_from)
    assert not (tmp_path / "other").exists()


def test_what_is_saved_to_resume_from_is_replaced_and_not_evaluated(
    trained, data_dir, tmp_path, weights, assert_same
):
    seen, save = [], checkpoints.save

    def watched(saved, workdir, **arguments):
        save(saved, workdir, **arguments)
        names = sorted({p.name.partition(".")[0] for p in (run / "checkpoints").iterdir()})
        seen.append((names, checkpoints.newest(workdir)[0]))

    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "save", watched)
        train(run, data_dir, total_steps=40, resume_every_s=0.0)
    assert seen == [
        (["resume-10"], 10),
        (["resume-10", "step-20"], 10),
        (["resume-20", "step-20"], 20),
        (["resume-30", "step-20"], 30),
        (["resume-30", "step-20", "step-40"], 30),
        (["resume-40", "step-20", "step-40"], 40),
    ]
    assert [step for step, _ in checkpoints.list_checkpoints(str(run))] == [20, 40]
    assert_same(weights(run), weights(trained, 40))


def test_kept_checkpoints_hold_no_optimizer_and_the_newest_state_does(trained):
    def groups(name):
        path = str(trained / "checkpoints" / name)
        names = tf.train.load_checkpoint(path).get_variable_to_shape_map()
        return {n.partition("/")[0] for n in names} - {"_CHECKPOINTABLE_OBJECT_GRAPH"}

    assert groups("step-20") == {"model", "step"}
    assert groups("resume-60") == {"model", "step", "optimizer"}
    sizes = {
        name: sum(p.stat().st_size for p in (trained / "checkpoints").glob(f"{name}.data*"))
        for name in ("step-60", "resume-60")
    }
    assert sizes["step-60"] < 0.5 * sizes["resume-60"]  # Adam has two values beside each weight


def test_a_run_whose_state_is_gone_is_not_begun_anew(trained, data_dir, tmp_path):
    run = begun_from(trained, tmp_path / "run", 40)
    for path in (run / "checkpoints").glob("resume-*"):
        path.unlink()
    with pytest.raises(errors.InputError, match=r"the state to resume from .* is gone.*step-40"):
        train(run, data_dir)


def test_a_bound_removes_the_oldest_that_are_evaluated_and_not_selected(data_dir, tmp_path):
    run = tmp_path / "run"
    listed, save = [], checkpoints.save

    def evaluating(saved, workdir, *, step, keep, **arguments):
        """Acts as an evaluator that has seen all but the newest two, and prefers step 2."""
        listed.append([at for at, _ in checkpoints.list_checkpoints(workdir)])
        save(saved, workdir, step=step, keep=keep, **arguments)
        if keep and step > 2:
            (run / "eval").mkdir(exist_ok=True)
            rows = [f"{at},{name},d_prime,1.0" for at in range(1, step - 1) for name in "ab"]
            (run / "eval" / "results.csv").write_text("\n".join(["step,set,metric,value", *rows]))
            (run / "selection.json").write_text('{"step": 2}')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "save", evaluating)
        train(run, data_dir, total_steps=6, checkpoint_every=1, keep_checkpoints=2)
    kept = [step for step, _ in checkpoints.list_checkpoints(str(run))]
    assert kept == [2, 5, 6]  # 5 has not been seen
    assert [1, 2] in listed  # nothing goes before it is evaluated
    assert not list((run / "checkpoints").glob("step-1.*"))


def test_another_seed_trains_another_model(trained, data_dir, tmp_path, weights):
    train(tmp_path, data_dir, seed=1, total_steps=20)
    assert not np.array_equal(weights(trained, 20)[0], weights(tmp_path, 20)[0])


def test_fine_tuning_begins_with_the_selected_weights_and_a_fresh_optimizer(
    trained, data_dir, tmp_path, assert_same
):
    shutil.copytree(trained, tmp_path / "pretrained")
    (tmp_path / "pretrained" / "selection.json").write_text('{"step": 40}')
    # A learning rate of zero leaves the trainable weights as they were loaded.
    init_from = str(tmp_path / "pretrained")
    train(tmp_path / "tuned", data_dir, rate=0.0, init_from=init_from, total_steps=1)
    start = checkpoints.load_model(str(trained), str(trained / "checkpoints" / "step-40")).model
    tuned = checkpoints.load_model(str(tmp_path / "tuned")).model
    assert_same(
        [w.numpy() for w in tuned.trainable_weights], [w.numpy() for w in start.trainable_weights]
    )
    # The moving averages go on from the loaded ones, with momentum 0.9.
    batch = next(training_stream.train_patches(toy_sources(data_dir), 16).as_numpy_iterator())
    stem = keras.Model(start.input, start.get_layer("stem_conv").output)(batch["log_mel"])
    old, new = (m.get_layer("stem_norm").moving_variance.numpy() for m in (start, tuned))
    wanted = 0.9 * old + 0.1 * stem.numpy().var(axis=(0, 1, 2))
    np.testing.assert_allclose(new, wanted, rtol=1e-3)
    reader = tf.train.load_checkpoint(str(tmp_path / "tuned" / "checkpoints" / "resume-1"))
    assert reader.get_tensor("optimizer/_iterations/.ATTRIBUTES/VARIABLE_VALUE") == 1


def test_a_fine_tuned_run_continues_where_its_start_was_moved_and_not_from_another_start(
    trained, data_dir, tmp_path, weights, assert_same
):
    before, after = tmp_path / "runs" / "weak", tmp_path / "moved" / "weak"
    shutil.copytree(trained, before)
    options = {"rate": 1e-2, "total_steps": 10, "checkpoint_every": 10}
    tuned = tmp_path / "tuned"
    train(tuned, data_dir, init_from=str(before / "checkpoints" / "step-40"), **options)
    shutil.move(before, after)
    options |= {"total_steps": 20, "extend": True}
    moved = str(after / "checkpoints" / "step-40")
    with pytest.raises(errors.InputError, match=r"with init_from = '.*step-20' instead of"):
        train(tuned, data_dir, init_from=str(after / "checkpoints" / "step-20"), **options)
    train(tuned, data_dir, init_from=moved, **options)
    train(tmp_path / "whole", data_dir, init_from=moved, **options)
    assert_same(weights(tuned), weights(tmp_path / "whole"))
    run = RunInfo.read(str(tuned))
    assert run.init_from == str(before / "checkpoints" / "step-40")  # as it was called then
    assert run.init_weights == RunInfo.read(str(tmp_path / "whole")).init_weights is not None


def test_a_run_that_is_meant_to_be_fine_tuned_does_not_start_from_nothing(data_dir, tmp_path):
    with pytest.raises(errors.InputError, match=r"train\.fine_tune = True: .*--init_from=WORKDIR"):
        train(tmp_path / "run", data_dir, fine_tune=True)
    assert not (tmp_path / "run").exists()


def test_fine_tuning_needs_a_selection_or_a_checkpoint_of_the_same_network(
    trained, data_dir, tmp_path
):
    checkpoint = str(trained / "checkpoints" / "step-20")
    with pytest.raises(errors.InputError, match="no checkpoint is selected yet"):
        train(tmp_path / "a", data_dir, init_from=str(trained))
    with pytest.raises(errors.InputError, match="neither a checkpoint nor a workdir"):
        train(tmp_path / "a", data_dir, init_from=str(tmp_path / "nowhere"))
    others = vocabularies.Vocabulary(("/m/0x", "/m/0y"), ("x", "y"))
    write_dataset(tmp_path / "data" / "train", toy_clips(8), 1, vocabulary=others)
    with pytest.raises(
        errors.InputError, match="none of its 4 classes is among the 2 of this data"
    ):
        train(tmp_path / "a", str(tmp_path / "data"), init_from=checkpoint)

    def wider(num_classes, **_):
        return resnet.resnet(num_classes, depths=(1,), width=8, bottleneck=False)

    with pytest.raises(errors.InputError, match="does not hold the weights of this model"):
        train(tmp_path / "a", data_dir, model=wider, init_from=checkpoint)
    assert not (tmp_path / "a").exists()


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_clips(data_dir, tmp_path, weights):
    def explode(total_steps):
        del total_steps
        return keras.optimizers.schedules.PiecewiseConstantDecay([10], [1e-3, 1e38])

    run = tmp_path / "run"
    with pytest.raises(errors.InputError, match=r"the (loss|gradient norm) is \S+ at step") as got:
        train(run, data_dir, learning_rate=explode, checkpoint_every=10)
    assert f"--init_from={run}/checkpoints/step-10" in str(got.value)
    assert [step for step, _ in checkpoints.list_checkpoints(str(run))] == [10]
    assert all(np.isfinite(values).all() for values in weights(run))
    told = json.loads((run / "diverged.json").read_text())
    assert f"at step {told['step']} " in str(got.value)
    (wanted,) = take_samples(1, toy_sources(data_dir), 16, start_step=told["step"] - 1)
    assert [clip["clip_id"] for clip in told["batch"]] == [i.decode() for i in wanted["clip_id"]]
    assert [clip["start_sample"] for clip in told["batch"]] == list(wanted["start"])


def test_two_processes_do_not_train_in_one_workdir(data_dir, tmp_path):
    other = open(tmp_path / ".lock", "w")  # noqa: SIM115
    fcntl.flock(other, fcntl.LOCK_EX)  # as another process holds it
    with pytest.raises(errors.InputError, match="another process is training in it"):
        train(tmp_path, data_dir, total_steps=1)
    other.close()
    train(tmp_path, data_dir, total_steps=1)


class _Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


class _Dying:
    """Stands for `files.rename`; dies at a checkpoint's file once `left` others are in place."""

    def __init__(self, left):
        self.left, self.rename = left, files.rename

    def __call__(self, source, target):
        if "checkpoints" in str(target):
            if not self.left:
                raise _Killed
            self.left -= 1
        self.rename(source, target)


@pytest.mark.slow
def test_a_run_that_dies_at_any_file_of_a_save_continues_and_ends_the_same(
    trained, data_dir, tmp_path, weights, assert_same
):
    run = begun_from(trained, tmp_path / "run", 40)
    for survived in (0, 1, 2, 3):  # files of the checkpoint that are in place when it dies
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "rename", _Dying(survived))
            with pytest.raises(_Killed):
                train(run, data_dir)
        assert checkpoints.newest(str(run))[0] == 40
        assert not checkpoints.is_finished(str(run))
    train(run, data_dir)
    assert_same(weights(run), weights(trained))
    names = {path.name.partition(".")[0] for path in (run / "checkpoints").iterdir()}
    assert names == {"step-20", "step-40", "step-60", "resume-60"}
    assert not list(run.rglob("*partial*"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "train.batch_size = 0"),
        ({"total_steps": 2.5}, "train.total_steps = 2.5: must be a whole number"),
        ({"steps_per_call": 0}, "train.steps_per_call = 0"),
        ({"checkpoint_every": -1}, "train.checkpoint_every = -1"),
        ({"seed": -1}, "train.seed = -1"),
        ({"learning_rate": 1e-3}, "train.learning_rate = 0.001: must name a function"),
        ({"sources": []}, "no dataset given"),
        ({"sources": [training_sources.Source(("nowhere",), "weak")]}, "nowhere"),
    ],
)
def test_bad_settings_stop_before_anything_is_written(data_dir, tmp_path, settings, message):
    with pytest.raises(errors.InputError, match=message):
        train(tmp_path / "run", data_dir, **settings)
    assert not (tmp_path / "run").exists()
