"""Compared rows in a report, from workdirs with models whose difference is known."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from audioset_strong.analysis import comparisons, report, tables
from audioset_strong.core import errors
from audioset_strong.evaluation import leave_one_out, left_out_files, metrics
from tests.workdirs import SETS, write_run

CLIPS = 80
MIDS = ("/m/a", "/m/b", "/m/c")
ROWS = ("weak_1_8m", "plus_diffuse", "plus_strong")


def left_out(gains, *, seed=0, clips=CLIPS, fingerprint="data"):
    """What a model with these gains, one for each class, is without each clip."""
    rng = np.random.default_rng(0)  # of the clips, the same for all models
    labels = rng.integers(0, 2, (clips, len(MIDS))).astype(np.int8)
    shared = rng.normal(size=labels.shape)
    own = np.random.default_rng(seed + 1).normal(size=labels.shape)
    scores = np.array(gains) * labels + shared + 0.3 * own
    classes = list(leave_one_out.classes(labels, scores, clip=np.arange(clips)))
    ranking = metrics.ranking_precision(labels, scores)
    return left_out_files.SetLeftOut(
        clip_ids=tuple(f"Yclip{i}_0" for i in range(clips)),
        mids=MIDS,
        metrics={
            "d_prime": leave_one_out.mean(classes, "d_prime", num_clips=clips),
            "lwlrap": leave_one_out.lwlrap(ranking, clip=np.arange(clips), num_clips=clips),
        },
        classes=classes,
        fingerprint=fingerprint,
    )


def write(runs_dir, name, gains, *, selected=20, **kwargs):
    """A workdir with what comparisons need, of the selected checkpoint or of the last."""
    kept = left_out(gains, **kwargs)
    values = {f"{s}/{metric}": each.value for s in SETS for metric, each in kept.metrics.items()}
    write_run(runs_dir, name, values, selected=selected)
    for set_name in SETS:
        replace(runs_dir, name, set_name, kept)
    return kept


def replace(runs_dir, name, set_name, kept):
    folder = runs_dir / name / "eval" / "left_out"
    folder.mkdir(exist_ok=True)
    left_out_files.save(kept, str(folder / f"{set_name}-20.npz"))


def write_rows(runs):
    """Three rows; plus_strong gains in every class but the last over weak_1_8m."""
    for seed, (name, gains) in enumerate(
        zip(ROWS, ([0.5, 1.0, 1.5], [0.5, 1.5, 1.5], [2.5, 1.5, 1.5]), strict=True)
    ):
        write(runs, name, gains, seed=seed)
    return runs


@pytest.fixture
def runs_dir(tmp_path):
    return write_rows(tmp_path / "runs")


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """The rows, their report and the names of its files."""
    directory = tmp_path_factory.mktemp("reported")
    runs, out = write_rows(directory / "runs"), directory / "report"
    return runs, out, {path.name for path in report.write(str(runs), str(out))}


def compare(runs_dir, *texts):
    runs = tables.read_runs(str(runs_dir))
    return comparisons.compare(str(runs_dir), runs, pairs=comparisons.parse_pairs(texts, runs))


def test_the_paper_s_decomposition_adds_up(runs_dir):
    compared = compare(runs_dir)
    table = compared.shown()
    assert compared.pairs == [
        ("plus_strong", "weak_1_8m"),
        ("plus_strong", "plus_diffuse"),
        ("plus_diffuse", "weak_1_8m"),
    ]
    assert len(table) == 3 * len(SETS) * 2  # d' and lwlrap
    whole, temporal, rest = (
        table[(table["first"] == first) & (table["second"] == second)]
        for first, second in compared.pairs
    )
    np.testing.assert_allclose(
        whole["difference"], temporal["difference"].to_numpy() + rest["difference"].to_numpy()
    )
    d_prime = whole[(whole["set"] == "strong_eval") & (whole["metric"] == "d_prime")].squeeze()
    wanted = left_out([2.5, 1.5, 1.5], seed=2).metrics["d_prime"].value
    wanted -= left_out([0.5, 1.0, 1.5], seed=0).metrics["d_prime"].value
    assert d_prime["difference"] == pytest.approx(wanted)
    assert 0 < d_prime["low"] < wanted < d_prime["high"]
    assert d_prime["clips"] == CLIPS
    assert d_prime["paper"] == 0.26
    assert compared.notes == []


def test_every_pair_is_in_the_table_once(runs_dir):
    table = compare(runs_dir, "plus_diffuse,plus_strong").table
    pairs = set(zip(table["first"], table["second"], strict=True))
    assert pairs == {
        ("plus_diffuse", "plus_strong"),
        ("plus_diffuse", "weak_1_8m"),
        ("plus_strong", "weak_1_8m"),
    }
    assert not table.duplicated(["first", "second", "set", "metric"]).any()


def test_classes_that_gain_are_told_from_those_that_do_not(reported):
    runs_dir, out, written = reported
    compared = compare(runs_dir)
    classes = compared.classes[("plus_strong", "weak_1_8m"), "strong_eval"].set_index("mid")
    assert classes["change"].to_dict() == {"/m/a": "gain", "/m/b": "gain", "/m/c": ""}
    assert classes["display_name"].tolist() == ["Bark", "Meow", "Never heard"]
    classes = compared.classes[("plus_strong", "plus_diffuse"), "strong_eval"].set_index("mid")
    assert classes["change"].to_dict() == {"/m/a": "gain", "/m/b": "", "/m/c": ""}
    backwards = compare(runs_dir, "weak_1_8m,plus_strong")
    classes = backwards.classes[("weak_1_8m", "plus_strong"), "strong_eval"].set_index("mid")
    assert classes["change"]["/m/a"] == "loss"
    name = "classes_plus_strong_weak_1_8m_strong_eval.csv"
    assert name in written
    assert pd.read_csv(out / name)["change"].fillna("").tolist() == ["gain", "gain", ""]


def test_the_report_holds_the_differences(reported):
    runs_dir, out, written = reported
    assert {"comparisons.md", "comparisons.csv", "comparisons.png"} <= written
    text = (out / "comparisons.md").read_text()
    row = compare(runs_dir).shown().iloc[2]
    assert (row["set"], row["metric"]) == ("strong_eval", "d_prime")
    cell = f"{row['difference']:+.3f} [{row['low']:+.2f} to {row['high']:+.2f}] (paper +0.26)"
    (line,) = [line for line in text.splitlines() if line.startswith("| +Strong over Weak-1.8M |")]
    assert line.split(" | ")[1:3] == ["fine-tuning with strong labels", "1, 1"]
    assert line.split(" | ")[5] == cell
    page = (out / "index.html").read_text()
    assert "Differences between rows" in page
    assert f"{row['difference']:+.3f}" in page
    assert "a row with one run says nothing of how training would turn out another time" in text


def test_other_seeds_of_a_row_count(runs_dir):
    def interval(compared):
        table = compared.shown()
        chosen = (table["set"] == "strong_eval") & (table["metric"] == "d_prime")
        return table[chosen].iloc[0]

    alone = interval(compare(runs_dir, "plus_strong,weak_1_8m"))
    others = [
        write(runs_dir, f"plus_strong-seed={seed}", [gain, 1.5, 1.5], seed=seed)
        for seed, gain in ((11, 0.5), (12, 4.5))
    ]
    several = interval(compare(runs_dir, "plus_strong,weak_1_8m"))
    assert (several["first_runs"], several["second_runs"]) == (3, 1)
    kept = [left_out([2.5, 1.5, 1.5], seed=2), *others]
    base = left_out([0.5, 1.0, 1.5], seed=0).metrics["d_prime"].value
    values = [each.metrics["d_prime"].value for each in kept]
    assert several["difference"] == pytest.approx(np.mean(values) - base)
    assert several["high"] - several["low"] > alone["high"] - alone["low"]


def test_the_seeds_of_a_sweep_in_a_row_s_place_count(runs_dir):
    sweep = runs_dir / "strong_67k"
    points = [(0.3, 0, 1.0), (0.7, 0, 2.0), (0.7, 1, 2.2)]
    lines = ["run,weak_strong_mixture.mu,train.seed,step,set,metric,value"]
    for mu, seed, gain in points:
        name = f"mu={mu},seed={seed}"
        write(sweep / "runs", name, [gain] * 3, seed=20 + seed)
        lines.append(f'"{name}",{mu},{seed},20,strong_validation,d_prime,{gain}')
    (sweep / "results.csv").write_text("\n".join(lines) + "\n")
    selected = {"workdir": "runs/mu=0.7,seed=1", "step": 20, "set": "strong_validation"}
    selected |= {"metric": "d_prime", "value": 2.2, "rule": "highest", "candidates": []}
    (sweep / "selection.json").write_text(json.dumps(selected))
    table = compare(runs_dir, "strong_67k,weak_1_8m").shown()
    assert set(table["first_runs"]) == {2}
    values = [left_out([gain] * 3, seed=20 + s).metrics["d_prime"].value for _, s, gain in points]
    wanted = np.mean(values[1:]) - left_out([0.5, 1.0, 1.5]).metrics["d_prime"].value
    assert table["difference"].iloc[0] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (left_out([1, 1, 1], clips=79), "clips"),
        (left_out([1, 1, 1], fingerprint="other"), "data or labels"),
        (dataclasses.replace(left_out([1, 1, 1]), mids=("/m/a", "/m/b", "/m/x")), "classes"),
    ],
)
def test_rows_measured_on_other_data_are_not_compared(runs_dir, tmp_path, changed, what):
    replace(runs_dir, "plus_diffuse", "strong_eval", changed)
    compared = compare(runs_dir)
    lines = [
        f"{titles} are not compared on the strong eval: they were evaluated on different {what}."
        for titles in ("+Strong and +Diffuse", "+Diffuse and Weak-1.8M")
    ]
    assert compared.notes == lines
    table = compared.table
    on_strong = table[table["set"] == "strong_eval"]
    assert set(zip(on_strong["first"], on_strong["second"], strict=True)) == {
        ("plus_strong", "weak_1_8m")
    }
    report.write(str(runs_dir), str(tmp_path / "report"))
    for name in ("comparisons.md", "index.html"):
        assert lines[0] in (tmp_path / "report" / name).read_text()


def test_a_run_without_the_file_is_told_with_what_writes_it(runs_dir, tmp_path):
    for path in (runs_dir / "weak_1_8m" / "eval" / "left_out").iterdir():
        path.unlink()
    compared = compare(runs_dir)
    line = (
        f"Weak-1.8M is not compared: {runs_dir / 'weak_1_8m'} has no file for it, which "
        "audioset_strong_evaluate --checkpoint=step-20 writes."
    )
    assert compared.notes == [line]
    assert set(compared.shown()["second"]) == {"plus_diffuse"}
    # The classes are still drawn, none of them coloured.
    classes = compared.classes[("plus_strong", "weak_1_8m"), "strong_eval"]
    assert classes["change"].eq("").all()
    written = report.write(str(runs_dir), str(tmp_path / "report"))
    assert "per_class_strong_eval.png" in {path.name for path in written}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plus_strong", "--compare=plus_strong: '' is no row; give two of weak_67k, "),
        ("plus_strong,plus", "--compare=plus_strong,plus: 'plus' is no row"),
        ("plus_strong,plus_strong", "--compare=plus_strong,plus_strong: give two different rows"),
        ("plus_strong,weak_67k", "--compare=plus_strong,weak_67k: weak_67k has no evaluated run"),
        ("plus_strong,weak_1_8m,weak_67k", "'weak_1_8m,weak_67k' is no row"),
    ],
)
def test_a_wrong_pair_is_told(runs_dir, tmp_path, text, message):
    with pytest.raises(errors.InputError, match=message.replace("'", ".")):
        report.write(str(runs_dir), str(tmp_path / "report"), compare=[text])
    assert not (tmp_path / "report").exists()
