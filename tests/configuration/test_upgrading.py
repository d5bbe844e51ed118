"""Runs of the first version, which wrote no run.json, become readable."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
from scipy import special

import audioset_strong
from audioset_strong.audio import features
from audioset_strong.audio.features import FrontEnd
from audioset_strong.configuration import gin_files, upgrading
from audioset_strong.core import errors
from audioset_strong.inputs import joint_datasets
from audioset_strong.inputs.augmentation import Augmentation
from audioset_strong.inputs.training_sources import Source
from audioset_strong.inputs.training_stream import StreamSettings
from audioset_strong.records.dataset_info import DatasetInfo
from audioset_strong.training.run_info import DatasetFacts, RunInfo
from tests import datasets, trained

_FRONT_END = FrontEnd(lower_hz=300, offset=1e-8)
# As gin wrote it: macros first, long values behind a backslash, modules where names are ambiguous.
_CONFIG = """\
# Macros:
# ==============================================================================
ALL_WEAK = ('train_weak',)
DATA = {data!r}
MU = 0.75
PLACE = %DATA

# Parameters for Augmentation:
# ==============================================================================
augmentation.Augmentation.time_mask_frames = 10
Augmentation.time_masks = 2

# Parameters for frame_labels:
# ==============================================================================
frame_labels.rule = 'paper'

# Parameters for log_mel:
# ==============================================================================
features.log_mel.lower_hz = 300
log_mel.offset = 1e-08

# Parameters for mixture:
# ==============================================================================
mixture.mu = %MU
mixture.policy = 'strong'
mixture.smear = True
mixture.strong_datasets = \\
    ('train_strong',)
mixture.strong_fraction = 0.5
mixture.weak_datasets = %ALL_WEAK

# Parameters for train:
# ==============================================================================
train.batch_size = 16
train.checkpoint_every = 10
train.data_dir = %PLACE
train.ema_decay = 0.99
train.init_from = 'runs/weak_1_8m'
train.learning_rate = @constant
train.model = @resnet
train.seed = 7
train.sources = @mixture
train.total_steps = 20

# Parameters for constant:
# ==============================================================================
constant.learning_rate = 0.001

# Parameters for train_patches:
# ==============================================================================
train_patches.exact_shares = True
train_patches.shuffle_buffer = 64
"""
_NEW_BINDINGS = (
    "ALL_WEAK = ('train_weak',)",
    "MU = 0.75",
    "Augmentation.time_mask_stft_frames = 10",
    "Augmentation.time_masks = 2",
    "train.framing_rule = 'paper'",
    "FrontEnd.lower_hz = 300",
    "FrontEnd.offset = 1e-08",
    "weak_strong_mixture.mu = %MU",
    "weak_strong_mixture.policy = 'strong'",
    "weak_strong_mixture.propagate_to_ancestors = True",
    "weak_strong_mixture.strong_datasets = ('train_strong',)",
    "weak_strong_mixture.strong_video_fraction = 0.5",
    "weak_strong_mixture.weak_datasets = %ALL_WEAK",
    "train.batch_size = 16",
    "train.checkpoint_every = 10",
    "train.ema_decay = 0.99",
    "train.learning_rate = @constant_schedule",
    "constant_schedule.learning_rate = 0.001",
    "train.model = @resnet",
    "train.seed = 7",
    "train.sources = @weak_strong_mixture",
    "train.total_steps = 20",
    "train_patches.exact_shares = True",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    clips = [datasets.make_clip(i) for i in range(3)]
    for name in ("train_weak", "train_strong"):
        datasets.write_dataset(root / name, clips)
    return root


def _paths(data):
    return [str(data / name) for name in ("train_weak", "train_strong")]


def _old_run(directory, data, config=_CONFIG):
    """A run as the first version left it."""
    workdir = trained.write_workdir(directory, steps=(20,), config=config.format(data=str(data)))
    path = pathlib.Path(workdir)
    (path / "run.json").unlink()
    description = json.loads((path / "model.json").read_text())
    description |= {
        "vocabulary": datasets.VOCABULARY.to_json(),
        "data": joint_datasets.fingerprint(_paths(data)),
    }
    (path / "model.json").write_text(json.dumps(description))
    return workdir


def _replaced(old, new):
    assert old in _CONFIG
    return _CONFIG.replace(old, new)


def test_the_facts_of_a_run_are_those_of_its_bindings(data, tmp_path):
    workdir = _old_run(tmp_path / "run", data)
    with pytest.raises(errors.InputError, match=f"audioset_strong_upgrade_run --workdir={workdir}"):
        audioset_strong.load_model(workdir)
    upgrading.upgrade(workdir)
    weak, strong = _paths(data)
    assert RunInfo.read(workdir) == RunInfo(
        front_end=_FRONT_END,
        sources=(
            Source((weak,), "weak", 0.25, propagate_to_ancestors=True),
            Source((strong,), "strong", 0.75, propagate_to_ancestors=True, video_fraction=0.5),
        ),
        vocabulary=datasets.VOCABULARY,
        data_fingerprint=joint_datasets.fingerprint([weak, strong]),
        datasets=tuple(DatasetFacts.of(p, DatasetInfo.load(p)) for p in (weak, strong)),
        framing_rule="paper",
        seed=7,
        batch_size=16,
        total_steps=20,
        ema_decay=0.99,
        init_from="runs/weak_1_8m",
        augmentation=dataclasses.asdict(Augmentation(time_masks=2, time_mask_stft_frames=10)),
        stream=dataclasses.asdict(StreamSettings(exact_shares=True)),
        versions={},
    )
    assert RunInfo.read(workdir).mu == 0.75
    assert audioset_strong.load_model(workdir).front_end == _FRONT_END


def test_config_gin_is_that_of_the_same_bindings_today(data, tmp_path):
    """So that train.py continues the run."""
    workdir = pathlib.Path(_old_run(tmp_path / "run", data))
    old_text = (workdir / "config.gin").read_text()
    upgrading.upgrade(str(workdir))
    assert (workdir / "config_before_upgrade.gin").read_text() == old_text
    macros = [f"DATA = {str(data)!r}", "PLACE = %DATA"]
    assert (workdir / "config.gin").read_text() == gin_files.parse([], [*_NEW_BINDINGS, *macros])


def test_the_scores_are_those_of_the_run(data, tmp_path):
    workdir = _old_run(tmp_path / "run", data)
    upgrading.upgrade(workdir)
    model = audioset_strong.load_model(workdir)
    waveform = np.random.default_rng(0).normal(0, 0.01, 15_600).astype(np.float32)
    log_mel = features.log_mel(waveform, _FRONT_END)[np.newaxis]
    logits = trained.network(seed=20)(log_mel, training=False)
    expected = special.expit(np.float64(logits))
    np.testing.assert_allclose(model.predict(waveform, 16_000).scores, expected, atol=1e-5)


def test_datasets_that_are_gone_are_stored_as_unknown(data, tmp_path):
    copy = tmp_path / "data"
    for name in ("train_weak", "train_strong"):
        datasets.write_dataset(copy / name, [datasets.make_clip(i) for i in range(3)])
    workdirs = [_old_run(tmp_path / name, copy) for name in ("gone", "moved", "other")]
    (copy).rename(tmp_path / "moved_data")
    (note, *_) = upgrading.upgrade(workdirs[0])
    assert "stored as unknown" in note
    run = RunInfo.read(workdirs[0])
    weak, strong = _paths(copy)
    assert run.datasets == (DatasetFacts(weak, "train_weak"), DatasetFacts(strong, "train_strong"))
    assert run.data_fingerprint is not None

    upgrading.upgrade(workdirs[1], data_dir=str(tmp_path / "moved_data"))
    run = RunInfo.read(workdirs[1])
    assert [facts.clips for facts in run.datasets] == [3, 3]
    assert run.sources[0].datasets == (str(tmp_path / "moved_data" / "train_weak"),)

    for name in ("train_weak", "train_strong"):
        datasets.write_dataset(tmp_path / "other_data" / name, [datasets.make_clip(9)], 1)
    for other in ("other_data", "none"):
        with pytest.raises(errors.InputError, match=r"does not hold the datasets .* train_weak, t"):
            upgrading.upgrade(workdirs[2], data_dir=str(tmp_path / other))
    assert not pathlib.Path(workdirs[2], "run.json").exists()


def test_an_evaluation_with_another_front_end_is_pointed_out(data, tmp_path):
    plain = _replaced("features.log_mel.lower_hz = 300\nlog_mel.offset = 1e-08\n", "")
    assert upgrading.upgrade(_old_run(tmp_path / "plain", data, plain)) == []
    workdir = _old_run(tmp_path / "run", data)
    (tmp_path / "run" / "eval").mkdir()
    (note,) = upgrading.upgrade(workdir)
    assert "FrontEnd.lower_hz = 300 instead of 125.0" in note
    assert "delete eval, selection.json and evaluate again" in note


def test_scopes_are_kept():
    old = upgrading.translate(
        "train.data_dir = 'data'\n"
        "train.sources = @large/mixture\n"
        "large/mixture.mu = 0.9\n"
        "large/N = 3\n"
        "x.y = [@a/b/single(), %large/N, {'k': @steps}]\n"
    )
    assert old == upgrading.OldConfig(
        (
            "train.sources = @large/weak_strong_mixture",
            "large/weak_strong_mixture.mu = 0.9",
            "large/N = 3",
            "x.y = [@a/b/single_source(), %large/N, {'k': @step_schedule}]",
        ),
        "data",
        None,
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("train.data_dir = %PLACE\n", "", "does not bind train.data_dir"),
        ("train.data_dir = %PLACE", "train.data_dir = %NOWHERE", "does not bind train.data_dir"),
        ("train.seed = 7", "train.seed = = 7", r"not the bindings of a run"),
        ("train.seed = 7", "import os", r"not the bindings of a run"),
        ("train.seed = 7", "train.sed = 7", "train.sed = 7"),
        ("train.seed = 7", "train.seed = 'x'", "train.seed = 'x': must be"),
        ("mixture.mu = %MU\n", "", "weak_strong_mixture.mu"),
        ("mixture.mu = %MU", "mixture.mu = %MUU", "MUU"),
        ("log_mel.offset = 1e-08", "log_mel.fft_length = 256", "FrontEnd.fft_length = 256"),
        ("log_mel.offset = 1e-08", "log_mel.hop_samples = 320", "hop_samples = 320: the version"),
        ("train.sources = @mixture", "train.sources = @mine", "mine"),
    ],
)
def test_bindings_that_mean_nothing_today_are_refused(data, tmp_path, old, new, message):
    workdir = _old_run(tmp_path / "run", data, _replaced(old, new))
    before = {path: path.read_bytes() for path in (tmp_path / "run").glob("*.*")}
    with pytest.raises(errors.InputError, match=message) as raised:
        upgrading.upgrade(workdir)
    assert "\n" not in str(raised.value)
    assert {path: path.read_bytes() for path in (tmp_path / "run").glob("*.*")} == before


def test_what_is_not_an_old_run_is_refused(data, tmp_path):
    new = trained.write_workdir(tmp_path / "new", steps=(20,))
    with pytest.raises(errors.InputError, match=r"has a run.json already"):
        upgrading.upgrade(new)
    (tmp_path / "new" / "run.json").unlink()
    with pytest.raises(errors.InputError, match=r"model.json: not the model of a first version"):
        upgrading.upgrade(new)
    with pytest.raises(errors.InputError, match=r"model.json: cannot be read"):
        upgrading.upgrade(str(tmp_path / "missing"))
    workdir = _old_run(tmp_path / "run", data)
    (tmp_path / "run" / "config.gin").unlink()
    with pytest.raises(errors.InputError, match=r"config.gin: cannot be read"):
        upgrading.upgrade(workdir)


def test_the_binary_says_what_it_did(server, data, tmp_path):
    workdir = _old_run(tmp_path / "run", data)
    done = server.start("upgrade_run", f"--workdir={workdir}")
    assert done.wait() == 0, done.stderr
    assert done.stdout.startswith(f"{workdir}: run.json is written.\n")
    again = server.start("upgrade_run", f"--workdir={workdir}")
    assert again.wait() == 2
    assert again.stderr == f"error: {workdir}: has a run.json already\n"
