"""Table 1 and its figures from workdirs written by hand, so that every figure is known."""

import json

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from audioset_strong import errors
from audioset_strong.analysis import report, tables


def write_run(runs_dir, name, values, selected=None, mu=None):
    """A workdir with results of two checkpoints; `values` are those of step 20."""
    workdir = runs_dir / name
    (workdir / "eval" / "per_class").mkdir(parents=True)
    lines = ["step,set,metric,value"]
    for step, offset in ((10, -0.5), (20, 0.0)):
        for key, value in values.items():
            set_name, metric = key.split("/")
            lines += [
                f"{step},{set_name},{metric},{value + offset}",
                f"{step},{set_name},{metric}_low,{value + offset - 0.1}",
                f"{step},{set_name},{metric}_high,{value + offset + 0.2}",
            ]
        for set_name in ("weak_eval", "strong_eval"):
            table = pd.DataFrame(
                {
                    "mid": ["/m/a", "/m/b", "/m/c"],
                    "display_name": ["Bark", "Meow", "Never heard"],
                    "d_prime": [values["strong_eval/d_prime"], 0.5, np.nan],
                }
            )
            table.to_csv(workdir / "eval" / "per_class" / f"{set_name}-{step}.csv", index=False)
    (workdir / "eval" / "results.csv").write_text("\n".join(lines) + "\n")
    binding = f"mixture.mu = {mu}\n" if mu is not None else "single.policy = 'weak'\n"
    (workdir / "config.gin").write_text("# Parameters:\n" + binding)
    if selected is not None:
        (workdir / "selection.json").write_text(json.dumps({"step": selected}))


@pytest.fixture
def runs_dir(tmp_path):
    scores = {"weak_eval/d_prime": 1.0, "weak_eval/lwlrap": 0.4}
    runs = tmp_path / "runs"
    write_run(runs, "weak_1_8m", scores | {"strong_eval/d_prime": 1.1}, selected=10)
    write_run(runs, "plus_strong", scores | {"strong_eval/d_prime": 1.4}, selected=20, mu=0.8)
    write_run(runs, "strong_67k", scores | {"strong_eval/d_prime": 1.2})
    return runs


def test_table_1_holds_the_chosen_checkpoint_of_each_run(runs_dir):
    table = tables.table1(tables.read_runs(str(runs_dir))).set_index("row")
    assert list(table.index) == [
        "weak_67k",
        "diffuse_67k",
        "strong_67k",
        "weak_1_8m",
        "plus_diffuse",
        "plus_strong",
    ]
    assert table["strong_eval_d_prime"]["weak_1_8m"] == pytest.approx(0.6)  # of step 10
    assert table["strong_eval_d_prime"]["plus_strong"] == pytest.approx(1.4)
    assert table["strong_eval_d_prime_low"]["plus_strong"] == pytest.approx(1.3)
    assert table["strong_eval_d_prime_high"]["plus_strong"] == pytest.approx(1.6)
    assert table["mu"]["plus_strong"] == 0.8
    assert table["chosen_by"].to_dict() == {
        "weak_67k": "not run",
        "diffuse_67k": "not run",
        "strong_67k": "last",
        "weak_1_8m": "validation",
        "plus_diffuse": "not run",
        "plus_strong": "validation",
    }
    assert table["step"]["strong_67k"] == 20
    assert np.isnan(table["strong_eval_lwlrap"]["plus_strong"])  # not measured: no number


def test_the_paper_s_figures_stand_beside_ours_and_only_where_known(runs_dir):
    table = tables.table1(tables.read_runs(str(runs_dir))).set_index("row")
    assert table["paper_strong_eval_d_prime"]["weak_1_8m"] == 1.13
    assert table["paper_strong_eval_d_prime"]["plus_strong"] == 1.39
    assert np.isnan(table["paper_strong_eval_d_prime"]["weak_67k"])


def test_the_report_is_a_csv_a_markdown_table_and_pictures(runs_dir, tmp_path):
    written = report.write(str(runs_dir), str(tmp_path / "out" / "report"))
    assert {path.name for path in written} == {
        "table1.csv",
        "table1.md",
        "table1.png",
        "checkpoints.png",
        "per_class_weak_eval.png",
        "per_class_strong_eval.png",
    }
    markdown = (tmp_path / "out" / "report" / "table1.md").read_text().splitlines()
    assert (
        "| +Strong | 0.8 | 20 | 1.000 [0.90, 1.20] | 0.400 [0.30, 0.60] | 1.400 [1.30, 1.60] "
        in ("\n".join(markdown))
    )
    assert any(line.startswith("| Weak-67k |  | not run | - |") for line in markdown)
    assert any("the last checkpoint stands for Strong-67k" in line for line in markdown)
    read_back = pd.read_csv(tmp_path / "out" / "report" / "table1.csv")
    assert read_back["strong_eval_d_prime"].dropna().tolist() == pytest.approx([1.2, 0.6, 1.4])
    for path in written:
        if path.suffix == ".png":
            picture = matplotlib.image.imread(path)
            assert picture.shape[0] > 200
            assert picture[..., :3].std() > 0.02  # not blank


def test_a_directory_without_evaluated_runs_is_refused(tmp_path):
    with pytest.raises(errors.InputError, match=r"no evaluated run in it.*weak_67k"):
        report.write(str(tmp_path), str(tmp_path / "report"))
