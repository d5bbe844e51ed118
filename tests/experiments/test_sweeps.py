"""Sweeps: the grid, the selected point, and a real sweep of two points."""

import dataclasses
import json

import matplotlib.image
import pandas as pd
import pytest
from tensorboard.backend.event_processing import plugin_event_accumulator

from audioset_strong.analysis import sweep_tables
from audioset_strong.core import errors
from audioset_strong.experiments import sweeps
from tests.datasets import toy_clips, write_dataset
from tests.workdirs import write_run


def make(tmp_path, vary, **settings):
    return sweeps.Sweep(
        output_dir=str(tmp_path / "sweep"),
        vary=sweeps.parse_vary(vary),
        data_dir="data",
        **settings,
    )


def test_every_combination_is_a_point_with_a_name_of_its_own(tmp_path):
    grid = make(tmp_path, ["weak_strong_mixture.mu = 0.0, 0.5", "train.seed = 0, 1, 2"])
    names = [sweeps.point_name(point) for point in grid.points()]
    assert names[:3] == ["mu=0.0,seed=0", "mu=0.0,seed=1", "mu=0.0,seed=2"]
    assert len(set(names)) == 6


def test_every_point_is_a_training_and_an_evaluation_with_its_bindings(tmp_path):
    grid = make(tmp_path, ["single_source.policy = 'weak', 'strong'"], gin_files=("a.gin",))
    train, evaluate = sweeps.commands(grid)[2:]
    assert "--gin_param=single_source.policy = 'strong'" in train.command
    assert "--gin_file=a.gin" in train.command
    assert evaluate.needs == (train.name,)
    assert f"--workdir={tmp_path / 'sweep' / 'runs' / 'policy=strong'}" in evaluate.command


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ([], "nothing to vary"),
        (["mu = 0.1"], "must be like"),
        (["weak_strong_mixture.mu"], "must be like"),
        (["weak_strong_mixture.mu = "], "must be like"),
        (["weak_strong_mixture.mu = weak"], "strings in quotes"),
        (["weak_strong_mixture.mu = 0.1, 0.1"], "twice"),
        (["weak_strong_mixture.mu = 0.1", "weak_strong_mixture.mu = 0.2"], "twice"),
    ],
)
def test_mistakes_in_the_grid_are_refused(vary, message):
    with pytest.raises(errors.InputError, match=message):
        sweeps.parse_vary(vary)


def test_values_that_cannot_be_part_of_a_directory_name_are_refused(tmp_path):
    grid = make(tmp_path, ["single_source.datasets = ('a/b',)"])
    with pytest.raises(errors.InputError, match="cannot be the name of a directory"):
        sweeps.commands(grid)


def test_points_are_compared_by_their_mean_over_seeds(tmp_path):
    grid = make(tmp_path, ["weak_strong_mixture.mu = 0.2, 0.8", "train.seed = 0, 1"])
    # mu 0.2 has the best single run, mu 0.8 the better mean.
    values = {
        "mu=0.2,seed=0": 2.0,
        "mu=0.2,seed=1": 1.0,
        "mu=0.8,seed=0": 1.6,
        "mu=0.8,seed=1": 1.7,
    }
    for name, value in values.items():
        scores = {"strong_validation/d_prime": value, "strong_eval/d_prime": value - 0.5}
        write_run(tmp_path / "sweep" / "runs", name, scores, selected=20)
    table = sweeps.collect(grid)
    picked = sweeps.select(grid, table)
    assert picked["workdir"] == "runs/mu=0.8,seed=1"
    assert picked["value"] == pytest.approx(1.7)
    assert [c["weak_strong_mixture.mu"] for c in picked["candidates"]] == [0.8, 0.2]
    assert [c["mean"] for c in picked["candidates"]] == pytest.approx([1.65, 1.5])
    summary = sweep_tables.summarise(table)
    row = summary[
        (summary["weak_strong_mixture.mu"] == 0.2)
        & (summary["set"] == "strong_eval")
        & (summary["metric"] == "d_prime")
    ].iloc[0]
    assert row["mean"] == pytest.approx(1.0)
    assert row["std"] == pytest.approx(0.5**0.5)  # of 1.5 and 0.5, with n - 1
    assert row["seeds"] == 2


def test_a_point_without_a_selection_is_refused(tmp_path):
    grid = make(tmp_path, ["weak_strong_mixture.mu = 0.2"])
    scores = {"strong_validation/d_prime": 1.0, "strong_eval/d_prime": 1.0}
    write_run(tmp_path / "sweep" / "runs", "mu=0.2", scores)
    with pytest.raises(errors.InputError, match="no checkpoint is selected"):
        sweeps.collect(grid)


def test_without_validation_data_nothing_is_run(tmp_path):
    with pytest.raises(errors.InputError, match="no --validation_data"):
        sweeps.run(make(tmp_path, ["weak_strong_mixture.mu = 0.2"]))
    assert not (tmp_path / "sweep").exists()


def test_points_are_compared_on_held_out_data_or_on_what_is_asked_for_by_name(tmp_path):
    train = write_dataset(tmp_path / "train", toy_clips(4), 1, split="train")
    vary = ["weak_strong_mixture.mu = 0.2"]
    with pytest.raises(errors.InputError, match="train is of the split 'train', not 'validation'"):
        sweeps.run(make(tmp_path, vary, validation_data=(train,)))
    assert not (tmp_path / "sweep").exists()
    asked = make(
        tmp_path, vary, eval_data=(train,), select_on="strong_eval", framed_tsvs=("f.tsv",)
    )
    (_, evaluate) = sweeps.commands(asked)
    assert {"--select_on=strong_eval", "--framed_tsv=f.tsv"} <= set(evaluate.command)
    for mu, value in (("0.2", 1.0), ("0.8", 2.0)):
        scores = {"strong_eval/d_prime_complementary": value}
        write_run(tmp_path / "sweep" / "runs", f"mu={mu}", scores, selected=20)
    grid = dataclasses.replace(asked, vary=sweeps.parse_vary(["weak_strong_mixture.mu = 0.2, 0.8"]))
    picked = sweeps.select(grid, sweeps.collect(grid))
    assert (picked["set"], picked["metric"]) == ("strong_eval", "d_prime_complementary")
    assert picked["workdir"] == "runs/mu=0.8"


@pytest.mark.slow
def test_a_real_sweep_trains_picks_draws_and_continues(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    write_dataset(tmp_path / "data" / "train_weak", toy_clips(24), 1)
    write_dataset(tmp_path / "data" / "train_strong", toy_clips(16), 1)
    write_dataset(tmp_path / "data" / "validation", toy_clips(12, first=100), 1, split="validation")
    out = tmp_path / "sweep"
    grid = sweeps.Sweep(
        output_dir=str(out),
        vary=sweeps.parse_vary(["weak_strong_mixture.mu = 0.0, 1.0"]),
        data_dir=str(tmp_path / "data"),
        gin_files=("table1/plus_strong.gin", "demo/fine_tune.gin"),
        gin_params=(
            "resnet.depths = (1,)",
            "resnet.width = 4",
            "train.batch_size = 8",
            "train.total_steps = 4",
            "train.checkpoint_every = 2",
            "train.fine_tune = False",  # no model to start from here
        ),
        validation_data=(str(tmp_path / "data" / "validation"),),
    )
    sweeps.check_bindings(grid)
    table = sweeps.run(grid, max_parallel=2)
    pd.testing.assert_frame_equal(pd.read_csv(out / "results.csv"), table)
    assert set(table["weak_strong_mixture.mu"]) == {0.0, 1.0}
    assert set(table["set"]) == {"weak_validation", "strong_validation"}
    picked = json.loads((out / "selection.json").read_text())
    best = table[(table["set"] == "strong_validation") & (table["metric"] == "d_prime")]
    assert picked["value"] == pytest.approx(best["value"].max())

    written = sweeps.draw(grid, table)
    assert written == [out / "mu_sweep.png"]
    assert matplotlib.image.imread(written[0])[..., :3].std() > 0.02  # not blank
    (read_back,) = sweep_tables.read([str(out)])  # as report.py does
    pd.testing.assert_frame_equal(read_back.table, table)
    assert read_back.selection == picked
    sweeps.write_hparams(grid, table)
    events = plugin_event_accumulator.EventAccumulator(str(out / "hparams" / "mu=1.0"))
    events.Reload()
    session = events.summary_metadata["_hparams_/session_start_info"]
    assert session.plugin_data.plugin_name == "hparams"
    assert "Validation/strong_d_prime" in events.Tags()["tensors"]

    before = (out / "runs" / "mu=1.0" / "finished.json").stat().st_mtime_ns
    sweeps.run(grid, max_parallel=2)
    assert (out / "runs" / "mu=1.0" / "finished.json").stat().st_mtime_ns == before
    with pytest.raises(errors.InputError, match="sweep with other settings"):
        sweeps.run(dataclasses.replace(grid, gin_params=()))


def test_a_mistyped_binding_is_refused_before_anything_runs(tmp_path):
    grid = make(
        tmp_path, ["weak_strong_mixture.nu = 0.0, 1.0"], gin_files=("table1/plus_strong.gin",)
    )
    with pytest.raises(errors.InputError, match=r"mixture.*nu"):
        sweeps.check_bindings(grid)
