"""`run.json` written, read back, and what is said where it is not right."""

import dataclasses
import json

import pytest

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import errors
from audioset_strong.inputs.training_sources import Source
from audioset_strong.training.run_info import DatasetFacts, RunInfo
from tests import trained

WEAK = Source(("data/weak",), "weak", 0.2)
STRONG = Source(("data/strong", "data/more"), "strong", 0.8, video_fraction=0.5)
DATASET = DatasetFacts("data/weak", "weak", "abcd", 10, 0.03, 10, 0, 0)


def full_run(**changes):
    """A run in which every fact differs from its default."""
    facts = {
        "front_end": FrontEnd(offset=0.001, num_bands=32),
        "sources": (WEAK, STRONG),
        "datasets": (DATASET,),
        "seed": 3,
        "framing_rule": "paper",
        "precision": "bfloat16",
        "ema_decay": 0.99,
        "init_from": "runs/weak",
        "augmentation": {"gain_db": 3.0, "mixup_domain": "waveform"},
        "stream": {"shuffle_buffer": 64, "data_service": None},
    }
    return trained.run_info(**(facts | changes))


def test_what_is_written_is_read_back(tmp_path):
    run = full_run()
    run.write(str(tmp_path))
    assert RunInfo.read(str(tmp_path)) == run
    stored = json.loads((tmp_path / "run.json").read_text())
    assert stored["mu"] == run.mu == pytest.approx(0.8)
    assert set(stored) == {field.name for field in dataclasses.fields(run)} | {"format", "mu"}


def test_a_run_without_a_mixture_has_no_mu():
    assert trained.run_info(sources=(STRONG,)).mu is None


def changed(**values):
    stored = json.loads(json.dumps(full_run().to_json())) | values
    return json.dumps({name: value for name, value in stored.items() if value is not ...})


IMPOSSIBLE = FrontEnd().to_json() | {"fft_length": 256}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"run\.json, line 1: not JSON"),
        ('{\n"format": 1,\n', r"run\.json, line 3: not JSON"),
        ("[]", r"run\.json: not the facts of a run"),
        ("{}", r"run\.json: not the facts of a run .*format"),
        (changed(seed=...), r"run\.json: not the facts of a run .*seed"),
        (changed(sources=[{"datasets": ["a"]}]), r"run\.json: not the facts of a run"),
        (changed(vocabulary=7), r"run\.json: not the facts of a run"),
        (
            changed(format=2),
            r"format 2, but this version reads format 1; use the version .*0\.1\.0",
        ),
        (changed(format=2, versions=...), r"format 2, but this version reads format 1"),
        (changed(front_end=IMPOSSIBLE), r"run\.json: FrontEnd\.fft_length = 256: must be at least"),
        (changed(front_end={"offset": 1}), r"run\.json: front end .*must have"),
        (
            changed(sources=[{"datasets": ["a"], "policy": "loud"}]),
            r"run\.json: Source\.policy = 'loud': must be one of",
        ),
        (changed(seed="abc"), r"run\.json: seed = 'abc': must be a whole number, at least 0"),
        (changed(batch_size=None), r"run\.json: batch_size = None: must be a whole number"),
        (changed(precision="float8"), r"run\.json: precision = 'float8': must be one of float32"),
        (changed(framing_rule="zz"), r"run\.json: framing_rule = 'zz': must be one of released"),
        (changed(ema_decay=2), r"run\.json: ema_decay = 2: must lie in \(0, 1\), or be null"),
        (changed(sources=[]), r"run\.json: sources: must not be empty"),
        (changed(vocabulary=[]), r"run\.json: vocabulary: must not be empty"),
    ],
)
def test_a_file_that_is_damaged_newer_or_impossible_is_one_line(tmp_path, text, message):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(errors.InputError, match=message) as caught:
        RunInfo.read(str(tmp_path))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_bytes_that_are_not_text_are_one_line(tmp_path):
    (tmp_path / "run.json").write_bytes(b"\xff\xfe")
    with pytest.raises(errors.InputError, match="not the facts of a run"):
        RunInfo.read(str(tmp_path))


def test_a_missing_file_is_explained(tmp_path):
    with pytest.raises(
        errors.InputError, match=r"no run\.json; is it the workdir of a training run"
    ):
        RunInfo.read(str(tmp_path / "nowhere"))
    (tmp_path / "model.json").write_text('{"architecture": {}}')
    with pytest.raises(errors.InputError, match=r"its run\.json is missing; restore it"):
        RunInfo.read(str(tmp_path))
    (tmp_path / "model.json").write_text('{"architecture": {}, "vocabulary": []}')
    with pytest.raises(errors.InputError, match=r"an older version .*audioset_strong_upgrade_run"):
        RunInfo.read(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"front_end": FrontEnd(num_bands=32)}, "FrontEnd.offset = 0.01 instead of 0.001"),
        ({"seed": 4}, "seed = 4 instead of 3"),
        ({"batch_size": 8}, "batch_size = 8 instead of 16"),
        ({"framing_rule": "released"}, "framing_rule = 'released' instead of 'paper'"),
        ({"sources": (WEAK,)}, "1 sources instead of 2"),
        (
            {"sources": (WEAK, dataclasses.replace(STRONG, policy="diffuse"))},
            "policy = 'diffuse' instead of 'strong' in source 1",
        ),
        (
            {"sources": (dataclasses.replace(WEAK, datasets=("data/other",)), STRONG)},
            "datasets = ('other',) instead of ('weak',) in source 0",
        ),
        (
            {"augmentation": {"gain_db": 6.0, "mixup_domain": "waveform"}},
            "augmentation.gain_db = 6.0 instead of 3.0",
        ),
        # What may change between two parts of a run.
        ({"init_from": "moved/weak"}, None),
        ({"total_steps": 99, "versions": {}, "stream": {"shuffle_buffer": 64}}, None),
        ({"sources": (dataclasses.replace(WEAK, datasets=("moved/weak",)), STRONG)}, None),
    ],
)
def test_the_first_difference_between_runs_is_named(changes, difference):
    assert full_run(**changes).difference(full_run()) == difference
