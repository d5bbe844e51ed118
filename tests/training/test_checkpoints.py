"""Checkpoints as readers meet them: whole or not there."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.core import errors, files
from audioset_strong.labels import vocabularies
from audioset_strong.models import resnet
from audioset_strong.training import checkpoints
from tests import trained

VOCABULARY = vocabularies.Vocabulary(("/m/0a", "/m/0b"), ("a", "b"))


@pytest.fixture
def net():
    return resnet.resnet(2, depths=(1,), width=2, bottleneck=False)


@pytest.fixture
def workdir(tmp_path, net):
    trained.run_info(VOCABULARY).write(str(tmp_path))
    checkpoints.save_model_description(str(tmp_path), net)
    saved = tf.train.Checkpoint(model=net)
    for step in (5, 10):
        net.get_layer("logits").bias.assign([step, -step])
        checkpoints.save(saved, str(tmp_path), step=step, keep=True)
    checkpoints.save(saved, str(tmp_path), step=12, keep=False)
    return tmp_path


def test_a_model_comes_back_with_its_weights_and_classes(workdir):
    loaded = checkpoints.load_model(str(workdir))
    assert (loaded.step, loaded.vocabulary) == (10, VOCABULARY)
    np.testing.assert_array_equal(loaded.model.get_layer("logits").bias.numpy(), [10, -10])
    earlier = checkpoints.load_model(str(workdir), str(workdir / "checkpoints" / "step-5"))
    np.testing.assert_array_equal(earlier.model.get_layer("logits").bias.numpy(), [5, -5])


def test_only_kept_checkpoints_are_listed_but_the_newest_is_resumed_from(workdir):
    folder = workdir / "checkpoints"
    assert checkpoints.list_checkpoints(str(workdir)) == [
        (5, str(folder / "step-5")),
        (10, str(folder / "step-10")),
    ]
    assert checkpoints.newest(str(workdir)) == (12, str(folder / "resume-12"))
    assert checkpoints.newest(str(workdir / "nowhere")) is None


def test_states_of_earlier_versions_in_kept_checkpoints_are_resumed_from(workdir, net):
    folder = workdir / "checkpoints"
    assert checkpoints.newest(str(workdir))[0] == 12  # step-20 below holds weights only
    checkpoints.save(tf.train.Checkpoint(model=net), str(workdir), step=20, keep=True)
    assert checkpoints.newest(str(workdir)) == (12, str(folder / "resume-12"))
    optimizer = keras.optimizers.Adam()
    optimizer.build(net.trainable_variables)
    whole = tf.train.Checkpoint(model=net, optimizer=optimizer)
    checkpoints.save(whole, str(workdir), step=15, keep=True)
    assert checkpoints.newest(str(workdir)) == (15, str(folder / "step-15"))
    checkpoints.restore(whole, str(folder / "step-15"))


def test_equal_weights_have_equal_fingerprints_wherever_they_lie(workdir, net, tmp_path):
    folder = workdir / "checkpoints"
    one, other = (checkpoints.fingerprint(str(folder / f"step-{step}")) for step in (5, 10))
    assert one != other
    assert checkpoints.fingerprint(str(folder / "resume-12")) == other
    saved = tf.train.Checkpoint(model=net, step=tf.Variable(3))
    checkpoints.save(saved, str(tmp_path / "moved"), step=99, keep=True)
    assert checkpoints.fingerprint(str(tmp_path / "moved/checkpoints/step-99")) == other


def test_whatever_is_listed_during_a_save_can_be_read(workdir, net, monkeypatch):
    rename, seen = files.rename, []

    def look(source, target):
        for done in (False, True):  # before and after the file is moved
            if done:
                rename(source, target)
            listed = checkpoints.list_checkpoints(str(workdir))
            seen.append([step for step, _ in listed])
            for _, checkpoint in listed:
                checkpoints.load_weights(net, checkpoint)

    monkeypatch.setattr(files, "rename", look)
    checkpoints.save(tf.train.Checkpoint(model=net), str(workdir), step=20, keep=True)
    assert seen == [[5, 10], [5, 10], [5, 10], [5, 10, 20]]  # the data, then the index


def test_leftovers_of_a_killed_save_go_and_whole_checkpoints_stay(workdir):
    folder = workdir / "checkpoints"
    whole = {path.name for path in folder.iterdir()}
    (folder / "step-30.partial_temp").mkdir()
    (folder / "step-30.partial_temp" / "part-0").touch()
    (folder / "resume-31.partial.data-00000-of-00001").touch()
    (folder / "step-32.data-00000-of-00001").touch()  # died before the index was in place
    (folder / "notes.txt").touch()
    checkpoints.remove_leftovers(str(workdir))
    assert {path.name for path in folder.iterdir()} == whole | {"notes.txt"}


def test_a_path_is_a_checkpoint_or_a_workdir_with_a_selection(workdir):
    path = str(workdir / "checkpoints" / "step-5")
    assert checkpoints.resolve(path) == (str(workdir), path)
    assert checkpoints.resolve(path + ".index") == (str(workdir), path)
    (workdir / "selection.json").write_text(json.dumps({"step": 5}))
    assert checkpoints.resolve(str(workdir)) == (str(workdir), path)
    (workdir / "selection.json").write_text(json.dumps({"step": 7}))
    with pytest.raises(errors.InputError, match="checkpoint of step 7 is gone"):
        checkpoints.resolve(str(workdir))
    (workdir / "selection.json").unlink()
    with pytest.raises(errors.InputError, match="no checkpoint is selected yet"):
        checkpoints.resolve(str(workdir))


def test_a_sweep_stands_for_its_selected_point(workdir):
    path = str(workdir / "checkpoints" / "step-5")
    (workdir / "selection.json").write_text('{"step": 5}')
    chosen = {"workdir": workdir.name, "step": 5}
    (workdir.parent / "selection.json").write_text(json.dumps(chosen))
    assert checkpoints.resolve(str(workdir.parent)) == (str(workdir), path)


def test_what_cannot_be_read_is_told_in_one_line(workdir, net, tmp_path):
    checkpoint = str(workdir / "checkpoints" / "step-5")
    other = resnet.resnet(2, depths=(1,), width=3, bottleneck=False)
    with pytest.raises(errors.InputError, match="does not hold the weights of this model") as got:
        checkpoints.load_weights(other, checkpoint)
    assert "\n" not in str(got.value)
    (data,) = (workdir / "checkpoints").glob("step-5.data*")
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(errors.InputError, match=r"step-5: cannot be resumed from .* delete it"):
        checkpoints.restore(tf.train.Checkpoint(model=net), checkpoint)
    with pytest.raises(errors.InputError, match=r"no model\.json"):
        checkpoints.load_model(str(tmp_path / "nowhere"))
    facts = json.loads((workdir / "run.json").read_text())
    facts["vocabulary"].pop()
    (workdir / "run.json").write_text(json.dumps(facts))
    with pytest.raises(
        errors.InputError, match=r"outputs, but the vocabulary of its run\.json has"
    ):
        checkpoints.load_model(str(workdir))
    (workdir / "model.json").write_text('{"architecture": {}')
    with pytest.raises(errors.InputError, match="not a model description"):
        checkpoints.load_model(str(workdir))


def test_a_description_by_a_newer_keras_is_refused_with_both_versions(tmp_path):
    versions = {"audioset_strong": "0.2.0", "keras": "3.99.0"}
    workdir = trained.write_workdir(tmp_path / "run", versions=versions)
    description = json.loads((tmp_path / "run" / "model.json").read_text())
    layer = description["architecture"]["config"]["layers"][1]
    layer["config"]["argument_of_a_newer_keras"] = None
    (tmp_path / "run" / "model.json").write_text(json.dumps(description))
    with pytest.raises(errors.InputError) as got:
        checkpoints.load_model(workdir)
    assert str(got.value) == (
        f"{workdir}: its model.json was written with Keras 3.99.0 and cannot be read with "
        f"{keras.__version__}; use that version or a newer one"
    )
