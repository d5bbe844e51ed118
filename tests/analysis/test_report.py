"""Table 1 and its figures from workdirs written by hand, so that every figure is known."""

import json

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from audioset_strong import errors
from audioset_strong.analysis import report, tables
from tests.workdirs import write_run


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


def test_without_explicit_negatives_the_report_gives_d_prime_on_implicit_ones(tmp_path):
    runs = tmp_path / "runs"
    strong = {"strong_eval/d_prime": 1.1, "strong_eval/d_prime_implicit": 3.25}
    write_run(runs, "weak_1_8m", strong | {"weak_eval/d_prime_implicit": 2.125}, selected=20)
    out = tmp_path / "report"
    report.write(str(runs), str(out))
    told = (
        "No d' on the weak eval where it has no explicit negatives; d' on implicit ones (all that "
        "is not labelled), not comparable with the paper's: Weak-1.8M 2.125."
    )
    for name in ("table1.md", "index.html"):
        text = (out / name).read_text()
        assert told in text
        assert "3.25" not in text  # the strong eval has its own d'
    assert pd.read_csv(out / "table1.csv")["weak_eval_d_prime_implicit"].dropna().item() == 2.125


def test_the_report_is_tables_pictures_and_a_page_with_all_of_it(runs_dir, tmp_path):
    written = report.write(str(runs_dir), str(tmp_path / "out" / "report"))
    assert {path.name for path in written} == {
        "table1.csv",
        "table1.md",
        "table1.tex",
        "table1.png",
        "index.html",
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
    latex = (tmp_path / "out" / "report" / "table1.tex").read_text()
    assert r"+Strong & 1.00 (1.28) & 0.40 & 1.40 (1.39) & -- \\" in latex
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert "src='http" not in page  # needs no other file
    assert "Never heard" in page
    assert "mixture.mu = 0.8" in page
    for path in written:
        if path.suffix == ".png":
            picture = matplotlib.image.imread(path)
            assert picture.shape[0] > 200
            assert picture[..., :3].std() > 0.02  # not blank


def test_a_directory_without_evaluated_runs_is_refused(tmp_path):
    with pytest.raises(errors.InputError, match=r"no evaluated run in it.*weak_67k"):
        report.write(str(tmp_path), str(tmp_path / "report"))


def test_a_sweep_in_a_row_s_place_stands_there_with_its_best_point(runs_dir):
    scores = {"weak_eval/d_prime": 1.0, "weak_eval/lwlrap": 0.4, "strong_eval/d_prime": 1.7}
    sweep = runs_dir / "plus_diffuse"
    write_run(sweep / "runs", "mu=0.3", scores, selected=10, mu=0.3)
    write_run(sweep / "runs", "mu=0.7", scores | {"strong_eval/d_prime": 1.8}, selected=10, mu=0.7)
    (sweep / "selection.json").write_text(json.dumps({"workdir": "runs/mu=0.7", "step": 10}))
    table = tables.table1(tables.read_runs(str(runs_dir))).set_index("row")
    assert table["mu"]["plus_diffuse"] == 0.7
    assert table["strong_eval_d_prime"]["plus_diffuse"] == pytest.approx(1.3)
