"""The report from workdirs and sweeps written by hand, so that every number in it is known."""

import dataclasses
import html.parser
import json
import pathlib
import re
import shutil
import typing

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from audioset_strong.analysis import (
    comparison_figures,
    comparisons,
    figures,
    paper_table,
    report,
    sweep_figures,
    sweep_optima,
    sweep_tables,
    table_notes,
    table_texts,
    tables,
)
from audioset_strong.audio import features
from audioset_strong.configuration import gin_files
from audioset_strong.core import errors
from audioset_strong.evaluation import selection
from audioset_strong.evaluation.measured_on import MeasuredOn
from audioset_strong.experiments import sweeps
from audioset_strong.training import run_info
from tests.workdirs import measured_on, write_run

FRACTIONS = ["weak_strong_mixture.strong_video_fraction = 0.1, 0.5, 1.0", "train.seed = 0, 1"]


def write_sweep(directory, vary, value_of):
    """A finished sweep; `value_of(point)` is d' on the strong eval and on the validation data."""
    grid = sweeps.Sweep(output_dir=str(directory), vary=sweeps.parse_vary(vary), data_dir="data")
    for point in grid.points():
        value = value_of(point)
        scores = {"strong_eval/d_prime": value, "strong_validation/d_prime": value}
        scores |= {"weak_eval/lwlrap": value / 4}
        write_run(directory / "runs", sweeps.point_name(point), scores, selected=20)
    table = sweeps.collect(grid)
    table.to_csv(directory / "results.csv", index=False)
    selection.write(str(directory), sweeps.select(grid, table))
    return directory


def by_fraction(point):
    return (
        1.0
        + float(point["weak_strong_mixture.strong_video_fraction"]) / 2
        + 0.2 * float(point["train.seed"])
    )


class Page(html.parser.HTMLParser):
    """The tables, headings and text of a page, and whether its elements are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.headings, self.text = [], [], ""
        self.open = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag in ("meta", "img"):
            return
        self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "h2":
            self.headings.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data
        elif "h2" in self.open:
            self.headings[-1] += data


def points_of(panel):
    """label-free curves of a panel: x, mean and half the length of the error bar."""
    return [
        [
            (x, y, pytest.approx((bar[1][1] - bar[0][1]) / 2))
            for (x, y), bar in zip(
                curve[0].get_xydata().tolist(), curve[2][0].get_segments(), strict=True
            )
        ]
        for curve in panel.containers
    ]


def marks_of(panel, meaning, figure):
    """Where the marks of a panel are that mean something, as the legend says."""
    (handle,) = (h for h in figure.legends[0].legend_handles if h.get_label() == meaning)
    return [
        line.get_xydata().tolist()
        for line in panel.lines
        if line.get_marker() == handle.get_marker() and line.get_linestyle() == "None"
    ]


def levels_of(panel):
    """The heights of a panel's dashed lines."""
    return [line.get_ydata()[0] for line in panel.lines if line.get_linestyle() == "--"]


def write_runs(runs):
    """Three rows of Table 1."""
    scores = {"weak_eval/d_prime": 1.0, "weak_eval/lwlrap": 0.4}
    write_run(runs, "weak_1_8m", scores | {"strong_eval/d_prime": 1.1}, selected=10)
    write_run(
        runs,
        "plus_strong",
        scores | {"strong_eval/d_prime": 1.4},
        selected=20,
        mu=0.8,
        init_from="runs/weak_1_8m",
    )
    write_run(runs, "strong_67k", scores | {"strong_eval/d_prime": 1.2})
    return runs


@pytest.fixture
def runs_dir(tmp_path):
    return write_runs(tmp_path / "runs")


class Report(typing.NamedTuple):
    """A report, its files, and the rows and sweeps that it is of; to be read by several tests."""

    out: pathlib.Path
    written: list[pathlib.Path]
    runs_dir: pathlib.Path
    sweeps: tuple[pathlib.Path, ...]


def write_report(directory, *sweeps):
    runs, out = write_runs(directory / "runs"), directory / "new" / "report"
    written = report.write(str(runs), str(out), sweep_dirs=[str(sweep) for sweep in sweeps])
    return Report(out, written, runs, sweeps)


@pytest.fixture(scope="module")
def of_rows(tmp_path_factory):
    """The report of three rows without sweeps."""
    return write_report(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def of_sweeps(tmp_path_factory):
    """The report of three rows, Fig. 3 and a sweep of mu."""
    directory = tmp_path_factory.mktemp("sweeps")
    mu = write_sweep(
        directory / "mu" / "plus_strong",
        ["weak_strong_mixture.mu = 0.2, 0.8", "train.seed = 0, 1"],
        lambda point: (
            1.0 + float(point["weak_strong_mixture.mu"]) + 0.1 * float(point["train.seed"])
        ),
    )
    fractions = write_sweep(directory / "fig3" / "plus_strong", FRACTIONS, by_fraction)
    return write_report(directory, fractions, mu)


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
    assert np.isnan(table["strong_eval_lwlrap"]["plus_strong"])  # not measured


def test_what_each_row_started_from_is_told_and_a_fine_tuned_row_from_scratch_noted(
    runs_dir, tmp_path
):
    table = tables.table1(tables.read_runs(str(runs_dir))).set_index("row")
    assert table["start"].dropna().to_dict() == {
        "weak_1_8m": "scratch",
        "strong_67k": "scratch",
        "plus_strong": "runs/weak_1_8m",
    }
    assert not any("from scratch" in note for note in table_notes.notes(table.reset_index()))
    write_run(runs_dir, "plus_diffuse", {"strong_eval/d_prime": 1.0}, mu=0.7)
    report.write(str(runs_dir), str(tmp_path / "report"))
    cells = {"table1.md": "| weak_1_8m |", "index.html": ">weak_1_8m<"}
    for name, cell in cells.items():
        text = (tmp_path / "report" / name).read_text()
        assert "Trained from scratch, not from Weak-1.8M as in the paper: +Diffuse." in text
        assert cell in text


# Table 1 of the paper, copied line by line.
PAPER = """
Weak-67k     0.86 0.39 0.81 0.29
Diffuse-67k  0.82 0.27 0.88 0.29
Strong-67k   0.96 0.31 1.05 0.33
Weak-1.8M    1.17 0.53 1.13 0.43
+Diffuse     1.21 0.38 1.28 0.43
+Strong      1.28 0.42 1.39 0.47
"""


def paper_lines():
    return {title: values for title, *values in map(str.split, PAPER.strip().splitlines())}


def test_all_of_the_paper_s_figures_stand_beside_ours_wherever_the_table_is_shown(of_rows):
    markdown = (of_rows.out / "table1.md").read_text()
    latex = (of_rows.out / "table1.tex").read_text()
    page = Page((of_rows.out / "index.html").read_text()).tables[0]
    csv = pd.read_csv(of_rows.out / "table1.csv").set_index("training_set")
    for title, values in paper_lines().items():
        (line,) = (line for line in markdown.splitlines() if line.startswith(f"| {title} |"))
        assert [cell.strip() for cell in line.split("|")[-5:-1]] == values
        (line,) = (line for line in latex.splitlines() if line.startswith(f"{title} &"))
        assert re.findall(r"\((\d\.\d\d)\)", line) == values
        (line,) = (line for line in page if line[0] == title)
        assert line[-4:] == values
        columns = [f"paper_{s}_{m}" for s in tables.SETS for m in tables.METRICS]
        assert csv.loc[title, columns].tolist() == [float(value) for value in values]
    drawn = figures.table1(tables.read_runs(str(of_rows.runs_dir)))
    diamonds = [
        [
            line.get_xdata()[0]
            for line in axis.lines
            if line.get_marker() == "D" and len(line.get_xdata())
        ]
        for axis in drawn.axes
    ]
    shown = [paper_lines()[title] for title in ("Strong-67k", "Weak-1.8M", "+Strong")]
    # The panels: d' above, lwlrap below; the weak eval left, the strong eval right.
    assert diamonds == [[float(values[i]) for values in shown] for i in (0, 2, 1, 3)]


def test_the_paper_s_orders_are_compared_with_those_of_the_runs(tmp_path):
    runs = tmp_path / "runs"
    for name, strong, weak in (
        ("weak_67k", 0.5, 0.7),
        ("diffuse_67k", 0.9, 0.8),  # better than Weak-67k on the weak eval, unlike in the paper
        ("strong_67k", 1.2, 0.9),  # better than Weak-1.8M on the strong eval, too
        ("weak_1_8m", 1.1, 1.0),
    ):
        scores = {"strong_eval/d_prime": strong, "weak_eval/d_prime": weak}
        write_run(runs, name, scores, selected=20)
    write_run(
        runs, "plus_strong", {"strong_eval/d_prime": 0.1}, selected=20, eval_set=measured_on(60)
    )
    report.write(str(runs), str(tmp_path / "report"))
    sentence = (
        "Of the paper's 12 orders of two rows, 10 hold here; not weak eval d': "
        "Weak-67k > Diffuse-67k; strong eval d': Weak-1.8M > Strong-67k."
    )
    assert sentence in (tmp_path / "report" / "table1.md").read_text()
    assert sentence in Page((tmp_path / "report" / "index.html").read_text()).text
    orders = pd.read_csv(tmp_path / "report" / "paper_orders.csv").set_index(["higher", "lower"])
    line = orders[orders["set"] == "strong_eval"].loc[("Weak-1.8M", "Strong-67k")]
    assert (line["paper"], line["here"]) == (pytest.approx(0.08), pytest.approx(-0.1))
    assert not line["agrees"]
    assert "+Strong" not in orders.index.get_level_values(0)  # measured on other clips


def test_equal_figures_of_the_paper_are_no_order(tmp_path):
    for name in ("weak_67k", "diffuse_67k"):
        write_run(
            tmp_path, name, {"strong_eval/lwlrap": 0.3, "strong_eval/d_prime": 1.0}, selected=20
        )
    orders = paper_table.orders(tables.table1(tables.read_runs(str(tmp_path))))
    assert orders[["metric", "agrees"]].to_numpy().tolist() == [["d_prime", False]]


def test_a_row_that_was_measured_otherwise_has_a_mark_and_is_compared_with_none(
    runs_dir, tmp_path, caplog
):
    scores = {"weak_eval/d_prime": 9.0, "strong_eval/d_prime": 9.0}
    shutil.rmtree(runs_dir / "plus_strong")
    write_run(runs_dir, "plus_strong", scores, selected=20, mu=0.8, eval_set=measured_on(60))
    written = report.write(str(runs_dir), str(tmp_path / "out"))
    words = "60 clips of eval instead of 500 clips of eval"
    note = f"[a] +Strong does not compare with the other rows: {words}."
    page = Page((tmp_path / "out" / "index.html").read_text())
    for text in ((tmp_path / "out" / "table1.md").read_text(), page.text, caplog.text):
        assert note in text
    assert "| +Strong [a] |" in (tmp_path / "out" / "table1.md").read_text()
    assert page.tables[0][-1][0] == "+Strong [a]"
    latex = (tmp_path / "out" / "table1.tex").read_text()
    assert r"+Strong\textsuperscript{a} &" in latex
    assert rf"\footnotesize \textsuperscript{{a}} Measured otherwise: {words}." in latex
    csv = pd.read_csv(tmp_path / "out" / "table1.csv").set_index("row")["not_comparable"]
    assert csv.dropna().to_dict() == {"plus_strong": words}
    assert not [path.name for path in written if path.name.startswith("per_class")]
    runs = tables.read_runs(str(runs_dir))
    labels = [label.get_text().strip() for label in figures.table1(runs).axes[0].get_yticklabels()]
    assert labels == ["Strong-67k", "Weak-1.8M", "+Strong [a]"]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"framing_rule": "paper"}, "framing rule 'paper' instead of 'released'"),
        ({"propagate_to_ancestors": True}, "label smearing True instead of False"),
        ({"negative_weighting": "equal"}, "weighting of negatives 'equal' instead of 'pooled'"),
        ({"vocabulary": "other"}, "another class list (3 classes instead of 3)"),
        ({"framed": "01"}, "framed labels instead of the datasets' own strong labels"),
        ({"fingerprint": "other"}, "another conversion of 500 clips of eval"),
    ],
)
def test_everything_that_changes_the_labels_is_a_difference(facts, words):
    one = measured_on()
    assert measured_on(**facts).difference(one) == words
    assert one.difference(measured_on()) is None
    assert MeasuredOn.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_a_row_of_another_front_end_has_a_mark(runs_dir):
    info = run_info.RunInfo.read(str(runs_dir / "strong_67k"))
    other = dataclasses.replace(info, front_end=features.FrontEnd(offset=0.5))
    other.write(str(runs_dir / "strong_67k"))
    table = tables.table1(tables.read_runs(str(runs_dir))).set_index("row")
    assert table["not_comparable"].loc[["strong_67k", "weak_1_8m", "plus_strong"]].tolist() == [
        "FrontEnd.offset = 0.5 instead of 0.01",
        "",
        "",
    ]


def test_results_of_an_older_version_are_refused_in_one_line(runs_dir, tmp_path):
    datasets = runs_dir / "strong_67k" / "eval" / "datasets.json"
    for spoil in (lambda: datasets.write_text('{"eval": "0123"}'), datasets.unlink):
        spoil()
        with pytest.raises(errors.InputError, match="strong_67k/eval: results of an older") as told:
            report.write(str(runs_dir), str(tmp_path / "out"))
        assert "\n" not in str(told.value)
        assert not (tmp_path / "out").exists()


def test_what_a_checkpoint_was_chosen_on_is_told_where_it_is_no_held_out_validation(tmp_path):
    for name, chosen in (
        ("weak_67k", {"set": "strong_eval", "metric": "d_prime", "held_out": False}),
        ("strong_67k", {"set": "strong_validation", "metric": "d_prime", "held_out": False}),
        ("plus_strong", {"set": "strong_validation", "metric": "d_prime"}),
        (
            "weak_1_8m",
            {"set": "strong_validation", "metric": "d_prime_complementary", "held_out": True},
        ),
    ):
        write_run(tmp_path, name, {"strong_eval/d_prime": 1.0}, selected=20, chosen=chosen)
    table = tables.table1(tables.read_runs(str(tmp_path)))
    assert table.set_index("row")["chosen_by"].to_dict() == {
        "weak_67k": "chosen on strong_eval",
        "diffuse_67k": "not run",
        "strong_67k": "chosen on strong_validation",
        "weak_1_8m": "validation",
        "plus_diffuse": "not run",
        "plus_strong": "chosen on strong_validation by an older version",
    }
    text = table_texts.to_markdown(table)
    flatters = "not on held-out validation data, which flatters the model."
    assert f"Weak-67k: chosen on strong_eval, {flatters}" in text
    assert f"Strong-67k: chosen on strong_validation, {flatters}" in text
    assert "by an older version, which did not check that it is held out." in text
    assert "The checkpoint has the highest d' (complementary negatives): Weak-1.8M." in text


def test_the_table_says_which_negatives_count_and_how_many_classes_they_reach(tmp_path):
    for name, offset in (("weak_67k", 0), ("strong_67k", 2)):
        counts = {"weak_eval/classes": 9.0, "strong_eval/classes": 12.0}
        counts |= {
            "strong_eval/classes_explicit": 9.0 + offset,
            "strong_eval/classes_complementary": 12.0,
        }
        d_prime = {"weak_eval/d_prime": 1.0, "strong_eval/d_prime": 1.0}
        write_run(tmp_path, name, d_prime | counts, selected=20)
    table = tables.table1(tables.read_runs(str(tmp_path)))
    text = table_texts.to_markdown(table)
    assert "d' on the weak eval counts explicit negatives: 9 classes." in text
    assert (
        "d' on the strong eval counts explicit negatives and complementary ones: 12 classes, "
        "9 to 11 of them with explicit, 12 with complementary ones."
    ) in text
    counted = table.set_index("row")["strong_eval_classes_explicit"]
    assert counted[["weak_67k", "strong_67k"]].tolist() == [9, 11]


def drawn_classes(runs_dir):
    """The figure of the strong eval's classes under +Strong and Weak-1.8M."""
    pair = ("plus_strong", "weak_1_8m")
    compared = comparisons.compare(str(runs_dir), tables.read_runs(str(runs_dir)))
    classes = compared.classes[pair, "strong_eval"]
    return comparison_figures.per_class(classes, pair, set_name="strong_eval")


def test_a_strong_eval_without_explicit_negatives_has_no_figure_in_the_paper_s_column(tmp_path):
    for name, value in (("weak_1_8m", 1.5), ("plus_strong", 2.5)):
        scores = {"strong_eval/d_prime_complementary": value, "strong_eval/d_prime_implicit": 3.0}
        write_run(tmp_path, name, scores, selected=20)
        classes = tmp_path / name / "eval" / "per_class" / "strong_eval-20.csv"
        classes.write_text(classes.read_text().replace("d_prime", "d_prime_complementary"))
    out = tmp_path / "report"
    report.write(str(tmp_path), str(out))
    note = (
        "No d' on the strong eval where it has no explicit negatives; d' on complementary ones, "
        "not comparable with the paper's: Weak-1.8M 1.500, +Strong 2.500."
    )
    page = Page((out / "index.html").read_text())
    assert note in page.text
    assert "3.000" not in page.text
    assert page.tables[0][-1][6] == "-"
    table = pd.read_csv(out / "table1.csv").set_index("row")
    assert table["strong_eval_d_prime"].isna().all()
    assert table["strong_eval_d_prime_complementary"]["plus_strong"] == 2.5
    drawn = drawn_classes(tmp_path)
    assert drawn.axes[0].get_xlabel() == "Strong eval d' (complementary negatives)"


def test_without_explicit_negatives_the_report_gives_d_prime_on_implicit_ones(tmp_path):
    runs = tmp_path / "runs"
    strong = {"strong_eval/d_prime": 1.1, "strong_eval/d_prime_implicit": 3.25}
    write_run(runs, "weak_1_8m", strong | {"weak_eval/d_prime_implicit": 2.125}, selected=20)
    out = tmp_path / "report"
    report.write(str(runs), str(out))
    note = (
        "No d' on the weak eval where it has no explicit negatives; d' on implicit ones, "
        "not comparable with the paper's: Weak-1.8M 2.125."
    )
    page = Page((out / "index.html").read_text()).text
    for text in ((out / "table1.md").read_text(), page):
        assert note in text
        assert "3.25" not in text  # the strong eval has its own d'
    assert pd.read_csv(out / "table1.csv")["weak_eval_d_prime_implicit"].dropna().item() == 2.125


def test_the_report_is_tables_pictures_and_a_page_with_all_of_it(of_rows):
    assert {path.name for path in of_rows.written} == {
        "table1.csv",
        "table1.md",
        "table1.tex",
        "table1.png",
        "index.html",
        "paper_orders.csv",
        "checkpoints.png",
        "comparisons.md",
        "per_class_weak_eval.png",
        "per_class_strong_eval.png",
    }
    markdown = (of_rows.out / "table1.md").read_text().splitlines()
    assert (
        "| +Strong | 0.8 | weak_1_8m | 20 | 1.000 [0.90, 1.20] | 0.400 [0.30, 0.60] | "
        "1.400 [1.30, 1.60] " in ("\n".join(markdown))
    )
    assert any(line.startswith("| Weak-67k |  |  | not run | - |") for line in markdown)
    assert any("the last checkpoint is shown for Strong-67k" in line for line in markdown)
    read_back = pd.read_csv(of_rows.out / "table1.csv")
    assert read_back["strong_eval_d_prime"].dropna().tolist() == pytest.approx([1.2, 0.6, 1.4])
    latex = (of_rows.out / "table1.tex").read_text()
    assert (
        r"+Strong & 1.00 {\scriptsize [0.90, 1.20]} (1.28) "
        r"& 0.40 {\scriptsize [0.30, 0.60]} (0.42) "
        r"& 1.40 {\scriptsize [1.30, 1.60]} (1.39) & -- (0.47) \\"
    ) in latex
    assert r"Weak-67k & -- (0.86) & -- (0.39) & -- (0.81) & -- (0.29) \\" in latex
    page = (of_rows.out / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert "src='http" not in page  # the page needs no other file
    assert "Never heard" in page
    assert "Without validation data, the last checkpoint is shown for Strong-67k." in page
    assert "weak_strong_mixture.mu = %MU" in page  # the configuration, for people to read
    for path in of_rows.written:
        if path.suffix == ".png":
            picture = matplotlib.image.imread(path)
            assert picture.shape[0] > 200
            assert picture[..., :3].std() > 0.02  # not blank


def test_a_directory_without_evaluated_runs_is_refused(tmp_path):
    with pytest.raises(errors.InputError, match=r"contains no evaluated run.*weak_67k"):
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


def test_names_are_escaped_in_latex_and_html(runs_dir, tmp_path):
    table = tables.table1(tables.read_runs(str(runs_dir)))
    table.loc[0, ["weak_eval_d_prime", "weak_eval_d_prime_low"]] = [0.05, -0.1]
    table.loc[0, "weak_eval_d_prime_high"] = 0.25
    table.loc[0, "training_set"] = r"50%_A & {B} #1 $2 ~^\x"
    latex = table_texts.to_latex(table)
    assert (
        r"50\%\_A \& \{B\} \#1 \$2 \textasciitilde{}\textasciicircum{}\textbackslash{}x & "
        r"0.05 {\scriptsize [$-$0.10, 0.25]} (0.86) & --" in latex
    )
    per_class = runs_dir / "weak_1_8m" / "eval" / "per_class" / "weak_eval-10.csv"
    per_class.write_text('mid,display_name,d_prime\n/m/a,"<b>Bark</b> & $x$",1\n/m/b,None,0.5\n')
    odd = write_sweep(tmp_path / "<i>&_$x$", ["weak_strong_mixture.mu = 0.1, 0.2"], lambda _: 1.0)
    report.write(str(runs_dir), str(tmp_path / "out"), sweep_dirs=[str(odd)])
    text = (tmp_path / "out" / "index.html").read_text()
    assert "<b>" not in text
    assert "<i>" not in text
    page = Page(text)
    assert "Sweep <i>&_$x$ over mu: the selected point" in page.headings
    assert [["class", "d'"], ["<b>Bark</b> & $x$", "1.000"], ["None", "0.500"]] in page.tables


def test_the_figure_of_classes_cuts_long_names_and_takes_a_dollar_for_one(runs_dir):
    names = ["A$B$", "Outside, urban or manmade, and still more words", "None"]
    for name, values in (("weak_1_8m", [1.0, 2.0, 0.5]), ("plus_strong", [2.0, 2.5, -0.5])):
        step = 10 if name == "weak_1_8m" else 20
        table = pd.DataFrame({"mid": list("abc"), "display_name": names, "d_prime": values})
        path = runs_dir / name / "eval" / "per_class" / f"strong_eval-{step}.csv"
        table.to_csv(path, index=False)
    drawn = drawn_classes(runs_dir)
    # In the order of the change: -1, +0.5, +1.
    labels = drawn.axes[0].get_yticklabels()
    names = ["None", "Outside, urban or manmade, and still ...", "A$B$"]
    assert [text.get_text() for text in labels] == names
    assert not any(text.get_parse_math() for text in labels)
    assert [line.get_xdata().tolist() for line in drawn.axes[0].lines] == [
        [-0.5, 2.5, 2.0],
        [0.5, 2.0, 1.0],
    ]


def test_the_separate_best_of_each_metric_stands_beside_the_selected_one(runs_dir, tmp_path):
    run = runs_dir / "plus_strong"
    results = pd.read_csv(run / "eval" / "results.csv")
    results.loc[(results["step"] == 10) & (results["metric"] == "lwlrap"), "value"] = 0.9
    validation = pd.DataFrame(
        {
            "step": [10, 20],
            "set": "strong_validation",
            "metric": "d_prime",
            "value": [1.0, 2.0],
        }
    )
    results = pd.concat([results, validation])
    results.to_csv(run / "eval" / "results.csv", index=False)
    selection.write(str(run), selection.select(results, [(10, "c/step-10"), (20, "c/step-20")]))
    report.write(str(runs_dir), str(tmp_path / "out"))
    # Picked is step 20 by its d'; by lwlrap alone step 10 is better.
    assert Page((tmp_path / "out" / "index.html").read_text()).tables[1] == [
        ["training set", "set", "metric", "best", "at step", "selected", "at step", "paper's best"],
        ["+Strong", "weak eval", "d'", "1.000", "20", "1.000", "20", "-"],
        ["+Strong", "weak eval", "lwlrap", "0.900", "10", "0.400", "20", "-"],
        ["+Strong", "strong eval", "d'", "1.400", "20", "1.400", "20", "1.400"],
    ]
    best = pd.read_csv(tmp_path / "out" / "best_checkpoints.csv").set_index(["set", "metric"])
    lwlrap = best.loc[("weak_eval", "lwlrap"), ["best", "best_step", "value"]]
    assert lwlrap.tolist() == [0.9, 10, 0.4]


def test_fig_3_shows_means_and_deviations_over_seeds_and_the_baselines(runs_dir, tmp_path):
    strong = write_sweep(tmp_path / "plus_strong", FRACTIONS, by_fraction)
    other = write_sweep(
        tmp_path / "other",
        [*FRACTIONS, "weak_strong_mixture.mu = 0.5, 0.8"],
        lambda point: by_fraction(point) - float(point["weak_strong_mixture.mu"]),
    )
    runs = tables.read_runs(str(runs_dir))
    baselines = [run for run in runs if run.row.name in sweep_figures.BASELINES]
    drawn = sweep_figures.draw(sweep_tables.read([str(strong), str(other)]), baselines)
    panels = {(axes.get_title(), axes.get_ylabel()): axes for axes in drawn.axes}
    assert list(panels) == [
        ("Weak eval", "d'"),
        ("Weak eval", "lwlrap"),
        ("Strong eval", "d'"),
        ("Strong eval", "lwlrap"),
    ]
    # Seeds 0 and 1 lie 0.2 apart: the deviation of two values is half of that by the root of 2.
    deviation = 0.1 * 2**0.5
    expected = [(0.1, 1.15), (0.5, 1.35), (1.0, 1.6)]
    curves = points_of(panels["Strong eval", "d'"])
    assert len(curves) == 3
    for curve, less in zip(curves, (0.0, 0.5, 0.8), strict=True):
        assert curve == [(x, pytest.approx(y - less), deviation) for x, y in expected]
    lwlrap = points_of(panels["Weak eval", "lwlrap"])[0]
    assert lwlrap == [(x, pytest.approx(y / 4), deviation / 4) for x, y in expected]
    # Weak-1.8M of step 10; +Diffuse is not among the runs, lwlrap on the strong eval not measured.
    assert levels_of(panels["Strong eval", "d'"]) == pytest.approx([0.6])
    assert levels_of(panels["Weak eval", "d'"]) == pytest.approx([0.5])
    assert "not measured" in [text.get_text() for text in panels["Strong eval", "lwlrap"].texts]
    last = panels["Strong eval", "d'"]
    assert last.get_xlabel() == "share of strongly labelled clips"
    assert last.xaxis.get_major_formatter()(0.1) == "10%"
    legend = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert legend == ["+Strong", "other, mu = 0.5", "other, mu = 0.8", "Weak-1.8M"]
    colours = [curve[0].get_color() for curve in last.containers]
    assert colours[0] == figures.COLOURS["plus_strong"]
    assert len({*colours, figures.COLOURS["weak_1_8m"]}) == 4


def test_a_sweep_of_mu_has_a_ring_at_the_selected_point_and_a_star_at_the_best(tmp_path):
    swept = write_sweep(
        tmp_path / "plus_strong",
        ["weak_strong_mixture.mu = 0.8, 0.0, 0.4", "single_source.policy = 'a', 'b'"],
        lambda point: (
            1.0 + float(point["weak_strong_mixture.mu"]) * ("b" in point["single_source.policy"])
        ),
    )
    (results,) = sweep_tables.read([str(swept)])
    drawn = sweep_figures.draw([results])
    panel = next(
        axes
        for axes in drawn.axes
        if (axes.get_title(), axes.get_ylabel()) == ("Strong eval", "d'")
    )
    assert [[point[:2] for point in curve] for curve in points_of(panel)] == [
        [(0.0, 1.0), (0.4, 1.0), (0.8, 1.0)],
        [(0.0, 1.0), (0.4, 1.4), (0.8, 1.8)],
    ]
    assert marks_of(panel, "best of its curve", drawn) == [[[0.0, 1.0]], [[0.8, 1.8]]]
    assert marks_of(panel, "selected by strong validation d'", drawn) == [[], [[0.8, 1.8]]]
    assert panel.get_xlim()[1] < 1.0
    assert drawn.axes[-1].get_xlabel() == "mu"


def test_sweeps_stand_on_the_report(of_sweeps):
    out, written = of_sweeps.out, of_sweeps.written
    assert set(written) == set(out.iterdir())
    assert {"fig3.png", "fig3.csv", "mu_sweep.png", "mu_sweep.csv"} < {p.name for p in written}
    page = Page((out / "index.html").read_text())
    assert "Fig. 3: how many strong labels are needed" in page.headings
    assert "Sweep +Strong over strong_video_fraction: the selected point" in page.headings
    text = " ".join(page.text.split())
    assert (
        "mu=0.8,seed=1, step 20: strong validation d' 1.900. Rule: highest "
        "strong_validation/d_prime, mean over seeds, among 2 points; of the best point the seed "
        "with the highest value." in text
    )
    assert "Means over seeds (2 at each point)" in text
    assert "Dashed: Weak-1.8M of Table 1." in text
    assert [
        ["mu", "mean strong validation d'", "seeds"],
        ["0.8", "1.850", "2"],
        ["0.2", "1.250", "2"],
    ] in page.tables
    points = pd.read_csv(out / "fig3.csv")
    row = points[
        (points["weak_strong_mixture.strong_video_fraction"] == 0.5)
        & (points["set"] == "strong_eval")
    ]
    assert row["mean"].tolist() == pytest.approx([1.35])
    assert row["std"].tolist() == pytest.approx([0.1 * 2**0.5])
    assert row["sweep"].tolist() == ["+Strong"]
    # Two rows of panels of 2.7 inches at 130 dots an inch, and an inch for the legend.
    assert matplotlib.image.imread(out / "fig3.png").shape[:2] == (832, 1235)
    # Three rows: the validation data that mu is picked on are shown too.
    assert matplotlib.image.imread(out / "mu_sweep.png").shape[:2] == (1183, 1235)


def write_mu_sweep(directory, values):
    """A sweep whose metrics are given: (mu, seed) -> {"<set>/<metric>": value}."""
    mus, seeds = (", ".join(map(str, dict.fromkeys(each))) for each in zip(*values, strict=True))
    vary = sweeps.parse_vary([f"weak_strong_mixture.mu = {mus}", f"train.seed = {seeds}"])
    grid = sweeps.Sweep(output_dir=str(directory), vary=vary, data_dir="data")
    for point in grid.points():
        key = float(point["weak_strong_mixture.mu"]), int(point["train.seed"])
        name = sweeps.point_name(point)
        write_run(directory / "runs", name, values[key], selected=20, mu=key[0])
    table = sweeps.collect(grid)
    table.to_csv(directory / "results.csv", index=False)
    selection.write(str(directory), sweeps.select(grid, table))
    return directory


@pytest.fixture(scope="module")
def of_optima(tmp_path_factory):
    """The report of `TestOptimaOfMu`."""
    directory, swept = tmp_path_factory.mktemp("optima"), []
    for row, less in (("plus_strong", 0.0), ("plus_diffuse", 0.25)):
        values = {
            (mu, seed): {
                "strong_eval/d_prime": d_prime - less,
                "strong_eval/lwlrap": lwlrap,
                "strong_validation/d_prime_complementary": 2.0 - abs(mu - 0.5),
            }
            for mu, of_seeds in TestOptimaOfMu.VALUES.items()
            for seed, (d_prime, lwlrap) in enumerate(of_seeds)
        }
        swept.append(write_mu_sweep(directory / "mu" / row, values))
    return write_report(directory, *swept)


class TestOptimaOfMu:
    """+Strong and +Diffuse over mu, with optima of d' and lwlrap that lie apart."""

    # d' and lwlrap on the strong eval of seeds 0 and 1; validation d' is best elsewhere, at 0.5.
    VALUES: typing.ClassVar = {
        0.2: ((1.0, 0.50), (1.2, 0.46)),  # lwlrap: mean 0.48, best for seed 0
        0.5: ((1.3, 0.40), (1.5, 0.48)),  # lwlrap: mean 0.44, best for seed 1
        0.8: ((1.6, 0.30), (1.4, 0.30)),  # d': mean 1.5; best for seed 0, while 0.5 is for seed 1
        1.0: ((1.1, 0.20), (1.1, 0.20)),
    }

    def test_they_are_told_with_what_seeds_differ_by(self, of_optima):
        best = pd.read_csv(of_optima.out / "mu_sweep_optima.csv").set_index(
            ["curve", "set", "metric"]
        )
        d_prime, lwlrap = (best.loc["+Strong", "strong_eval", m] for m in ("d_prime", "lwlrap"))
        assert d_prime[["best", "seeds", "seeds_from", "seeds_to"]].tolist() == [0.8, 2, 0.5, 0.8]
        assert d_prime[["mean", "std"]].tolist() == pytest.approx([1.5, 0.1 * 2**0.5])
        assert lwlrap[["best", "seeds", "seeds_from", "seeds_to"]].tolist() == [0.2, 2, 0.2, 0.5]
        other = best.loc["+Diffuse", "strong_eval", "d_prime"]
        assert other[["best", "mean"]].tolist() == pytest.approx([0.8, 1.25])

    def test_the_page_sets_both_beside_the_paper_s_and_says_what_they_were_chosen_on(
        self, of_optima
    ):
        page = Page((of_optima.out / "index.html").read_text())
        assert "The best mu for each metric" in page.headings
        (table,) = (t for t in page.tables if t[0][2:3] == ["best mu for d'"])
        assert table[1] == [
            *("+Strong", "strong eval", "0.8", "0.5 to 0.8", "1.500 ± 0.141"),
            *("0.2 (end)", "0.2 to 0.5", "0.480 ± 0.028", "0.6", "0.7 to 0.95", "0.2"),
        ]
        assert table[2] == [
            *("+Strong", "strong validation", "0.5", "0.5", "2.000 ± 0.000 (complementary)"),
            *("-", "-", "-", "-", "-", "-"),
        ]
        assert [line[0] for line in table[3:]] == ["+Diffuse"] * 2
        text = " ".join(page.text.split())
        told = (
            "a ring the point that was selected by strong validation d' (complementary negatives)"
        )
        assert told in text
        assert "each chosen on the set of its own line" in text
        assert "Dashed: Weak-1.8M of Table 1." in text  # and not +Diffuse, which is a curve

    def test_a_seed_without_all_points_has_no_optimum_of_its_own(self, tmp_path):
        values = {
            (mu, seed): {"strong_validation/d_prime": 1.0 + mu}
            for mu in (0.2, 0.8)
            for seed in (0,)
        }
        swept = write_mu_sweep(tmp_path / "plus_strong", values)
        table = pd.read_csv(swept / "results.csv")
        more = table[table["weak_strong_mixture.mu"] == 0.2].assign(
            **{"train.seed": 1, "run": "x", "value": 9.0}
        )
        pd.concat([table, more]).to_csv(swept / "results.csv", index=False)
        (results,) = sweep_tables.read([str(swept)])
        found = sweep_optima.optima(results).set_index(["set", "metric"])
        best = found.loc["strong_validation", "d_prime"]
        assert best[["best", "mean", "seeds"]].tolist() == [0.2, (1.2 + 9.0) / 2, 2]
        assert best[["seeds_from", "seeds_to"]].tolist() == [0.8, 0.8]

    def test_fig_3_has_none(self, of_sweeps):
        written = {path.name for path in of_sweeps.written if "optima" in path.name}
        assert written == {"mu_sweep_optima.csv"}
        page = Page((of_sweeps.out / "index.html").read_text())
        assert [text for text in page.headings if "best" in text] == ["The best mu for each metric"]
        drawn = sweep_figures.draw(sweep_tables.read([str(of_sweeps.sweeps[0])]))
        assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["+Strong"]


def test_a_sweep_s_validation_without_explicit_negatives_is_drawn_under_its_true_name(tmp_path):
    vary = ["weak_strong_mixture.mu = 0.2, 0.8"]
    grid = sweeps.Sweep(output_dir=str(tmp_path), vary=sweeps.parse_vary(vary), data_dir="data")
    for point, value in zip(grid.points(), (1.0, 1.5), strict=True):
        scores = {"strong_validation/d_prime_complementary": value}
        scores |= {"strong_eval/d_prime": value + 1, "strong_eval/d_prime_complementary": 9.0}
        write_run(tmp_path / "runs", sweeps.point_name(point), scores, selected=20)
    table = sweeps.collect(grid)
    picked = sweeps.select(grid, table)
    drawn = sweep_figures.draw([sweep_tables.sweep_results(str(tmp_path), table, selected=picked)])
    panels = {axes.get_title(): axes for axes in drawn.axes if axes.get_ylabel() != "lwlrap"}
    of_eval, of_validation = panels["Strong eval"], panels["Strong validation"]
    assert of_eval.get_ylabel() == "d'"
    assert [point[:2] for point in points_of(of_eval)[0]] == [(0.2, 2.0), (0.8, 2.5)]
    assert of_validation.get_ylabel() == "d' (complementary negatives)"
    assert [point[:2] for point in points_of(of_validation)[0]] == [(0.2, 1.0), (0.8, 1.5)]


MU = ["weak_strong_mixture.mu = 0.2, 0.8"]


def by_mu(point):
    return 2.0 + float(point["weak_strong_mixture.mu"])


def row_of(out, name):
    return pd.read_csv(out / "table1.csv").set_index("row").loc[name]


def test_the_point_that_a_sweep_selected_stands_in_the_row_of_its_name(of_rows, runs_dir, tmp_path):
    out = tmp_path / "out"
    assert row_of(of_rows.out, "plus_strong")["strong_eval_d_prime"] == pytest.approx(1.4)
    assert "selected." not in (of_rows.out / "table1.md").read_text()

    # Of a row that RUNS_DIR has, and of one that it has not.
    swept = [write_sweep(tmp_path / name, MU, by_mu) for name in ("plus_strong", "plus_diffuse")]
    report.write(str(runs_dir), str(out), sweep_dirs=[str(path) for path in swept])
    for path, name in zip(swept, ("plus_strong", "plus_diffuse"), strict=True):
        row = row_of(out, name)
        assert row["strong_eval_d_prime"] == pytest.approx(2.8)
        assert (row["step"], row["chosen_by"], row["sweep"]) == (20, "validation", str(path))
        told = f"{row['training_set']} is the point that the sweep {path} selected."
        assert told in (out / "table1.md").read_text()
        assert told in " ".join(Page((out / "index.html").read_text()).text.split())
    assert row_of(out, "weak_1_8m")["strong_eval_d_prime"] == pytest.approx(0.6)


def test_of_several_sweeps_of_a_row_the_one_among_the_runs_stands_in_it(runs_dir, tmp_path):
    out, flags = tmp_path / "out", {}
    for name in ("a", "b"):
        flags[name] = str(write_sweep(tmp_path / name / "plus_diffuse", MU, by_mu))
    with pytest.raises(errors.InputError, match=r"b/plus_diffuse: .*a/plus_diffuse is another swe"):
        report.write(str(runs_dir), str(out), sweep_dirs=[*flags.values()])
    assert not out.exists()
    inside = write_sweep(runs_dir / "plus_diffuse", MU, lambda point: by_mu(point) - 1)
    given = [flags["a"], f"{inside}/"]
    report.write(str(runs_dir), str(out), sweep_dirs=given)
    assert row_of(out, "plus_diffuse")["strong_eval_d_prime"] == pytest.approx(1.8)
    # Fig. 3 asks how many strong labels are needed: its best point is no row of Table 1.
    fraction = write_sweep(tmp_path / "fig3" / "plus_strong", FRACTIONS, lambda _: 3.0)
    report.write(str(runs_dir), str(out), sweep_dirs=[str(fraction)])
    assert row_of(out, "plus_strong")["strong_eval_d_prime"] == pytest.approx(1.4)


def test_a_sweep_without_its_runs_cannot_stand_in_a_row(runs_dir, tmp_path):
    swept = write_sweep(tmp_path / "plus_strong", MU, by_mu)
    shutil.rmtree(swept / "runs")
    with pytest.raises(errors.InputError, match="the workdir of its selected point has no results"):
        report.write(str(runs_dir), str(tmp_path / "out"), sweep_dirs=[str(swept)])


def test_equal_names_in_one_figure_are_told_apart_by_their_paths(tmp_path):
    one = write_sweep(tmp_path / "one" / "plus_strong", FRACTIONS, by_fraction)
    two = write_sweep(tmp_path / "two" / "plus_strong", FRACTIONS, by_fraction)
    assert [each.title for each in sweep_tables.read([str(one), str(two)])] == [str(one), str(two)]


def test_a_sweep_without_numbers_has_candidates_and_no_figure(runs_dir, tmp_path):
    words = write_sweep(
        tmp_path / "words", ["single_source.policy = 'a', 'b'"], lambda p: 1.0 + ("b" in str(p))
    )
    written = report.write(str(runs_dir), str(tmp_path / "out"), sweep_dirs=[str(words)])
    assert not [path for path in written if "sweep" in path.name]
    page = Page((tmp_path / "out" / "index.html").read_text())
    assert [
        ["policy", "mean strong validation d'", "seeds"],
        ["b", "2.000", "1"],
        ["a", "1.000", "1"],
    ] in page.tables


def _remove(name):
    return lambda directory: (directory / name).unlink()


def _write(name, text):
    return lambda directory: (directory / name).write_text(text)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            _remove("results.csv"),
            r"contains no results\.csv; give the --output_dir of a finished audioset_strong_sweep",
        ),
        (
            _write("results.csv", "step,set,metric,value\n"),
            "not the results of audioset_strong_sweep: no column 'run'",
        ),
        (_write("results.csv", ""), "not the results of audioset_strong_sweep"),
        (
            _write("results.csv", "run,step,set,metric,value\nmu=0,x,a,b,c\n"),
            "not the results of audioset_strong_sweep",
        ),
        (_remove("selection.json"), "no selection by audioset_strong_sweep .no 'workdir'"),
        (
            _write("selection.json", '{"step": 20}'),
            "no selection by audioset_strong_sweep .no 'workdir'",
        ),
        (
            _write("results.csv", "run,step,set,metric,value\nmu=0,1,a,b,2\n"),
            "lacks the run 'strong_video_fraction=1.0,seed=1' that selection.json names",
        ),
    ],
)
def test_a_damaged_sweep_is_refused_before_anything_is_written(runs_dir, tmp_path, spoil, message):
    spoil(write_sweep(tmp_path / "sweep", FRACTIONS, by_fraction))
    with pytest.raises(errors.InputError, match=message):
        report.write(str(runs_dir), str(tmp_path / "out"), sweep_dirs=[str(tmp_path / "sweep")])
    assert not (tmp_path / "out").exists()


def test_an_incomplete_workdir_is_refused_before_anything_is_written(runs_dir, tmp_path):
    (runs_dir / "strong_67k" / "eval" / "per_class" / "strong_eval-20.csv").unlink()
    with pytest.raises(errors.InputError, match=r"strong_eval-20\.csv: missing"):
        report.write(str(runs_dir), str(tmp_path / "out"))
    (runs_dir / "strong_67k" / "run.json").write_text('{"format": 99, "versions": {}}')
    with pytest.raises(errors.InputError, match=r"strong_67k/run\.json: format 99"):
        report.write(str(runs_dir), str(tmp_path / "out"))
    (runs_dir / "strong_67k" / "run.json").unlink()
    with pytest.raises(errors.InputError, match=r"strong_67k: no run\.json") as caught:
        report.write(str(runs_dir), str(tmp_path / "out"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_run_that_was_trained_without_gin_has_no_configuration_to_show(runs_dir, tmp_path):
    (runs_dir / "strong_67k" / "config.gin").unlink()
    report.write(str(runs_dir), str(tmp_path / "out"))
    text = (tmp_path / "out" / "index.html").read_text()
    configurations = text.partition("<h2>Configurations</h2>")[2]
    assert re.findall("<summary>(.*?)</summary>", configurations) == ["Weak-1.8M", "+Strong"]


def test_a_run_without_weak_labels_has_no_weak_classes(tmp_path):
    runs = tmp_path / "runs"
    for name in ("weak_1_8m", "plus_strong"):
        write_run(runs, name, {"strong_eval/d_prime": 1.1})
        for path in (runs / name / "eval" / "per_class").glob("weak_eval-*"):
            path.unlink()
    written = {path.name for path in report.write(str(runs), str(tmp_path / "out"))}
    assert "per_class_strong_eval.png" in written
    assert "per_class_weak_eval.png" not in written


def test_the_binary_takes_sweeps_and_refuses_directories_without_one(server, runs_dir, tmp_path):
    swept = write_sweep(tmp_path / "plus_strong", FRACTIONS, by_fraction)
    flags = [f"--runs_dir={runs_dir}", f"--output_dir={tmp_path / 'out'}"]
    failed = server.start("report", *flags, f"--sweep_dir={runs_dir / 'weak_1_8m'}")
    assert failed.wait() == 2
    assert failed.stderr.startswith(f"error: --sweep_dir={runs_dir / 'weak_1_8m'}: contains no")
    assert failed.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
    done = server.start("report", *flags, f"--sweep_dir={swept}")
    assert done.wait() == 0
    listed = [line for line in done.stdout.splitlines() if line.startswith(str(tmp_path))]
    assert {pathlib.Path(line) for line in listed} == set((tmp_path / "out").iterdir())


class TestBeyondThePaper:
    """Rows below the paper's six, where they were run."""

    @pytest.fixture
    def beyond_dir(self, runs_dir):
        scores = {"weak_eval/d_prime": 1.5, "strong_eval/d_prime": 1.75, "strong_eval/lwlrap": 0.5}
        write_run(runs_dir, "autopool", scores, selected=20, mu=0.8, init_from="runs/weak_1_8m")
        return runs_dir

    def test_only_rows_that_were_run_follow_the_paper_s(self, beyond_dir):
        table = tables.table1(tables.read_runs(str(beyond_dir)))
        assert table["row"].tolist() == [*(row.name for row in paper_table.ROWS), "autopool"]
        line = table.iloc[-1]
        assert (line["training_set"], line["strong_eval_d_prime"]) == (
            "+Strong with autopool",
            1.75,
        )
        assert np.isnan(line["paper_strong_eval_d_prime"])
        # The paper's orders are those of its rows.
        orders = paper_table.orders(table)
        assert "+Strong with autopool" not in {*orders["higher"], *orders["lower"]}

    def test_they_have_a_title_in_every_text(self, beyond_dir, tmp_path):
        out = tmp_path / "report"
        report.write(str(beyond_dir), str(out))
        lines = (out / "table1.md").read_text().splitlines()
        (title,) = [i for i, line in enumerate(lines) if line.startswith("| **Beyond the paper**")]
        assert lines[title].count("|") == lines[title - 1].count("|")
        assert lines[title - 1].startswith("| +Strong |")
        assert lines[title + 1].startswith("| +Strong with autopool | 0.8 | weak_1_8m | 20 |")
        assert "nan" not in lines[title + 1]
        latex = (out / "table1.tex").read_text().splitlines()
        (title,) = [i for i, line in enumerate(latex) if "Beyond the paper" in line]
        assert latex[title - 1] == r"\midrule"
        assert latex[title + 1].startswith("+Strong with autopool & 1.50")
        assert "nan" not in latex[title + 1]
        page = Page((out / "index.html").read_text())
        rows = page.tables[0]
        place = rows.index(["Beyond the paper"])
        assert rows[place - 1][0] == "+Strong"
        assert rows[place + 1][0] == "+Strong with autopool"
        assert rows[place + 1][-4:] == ["", "", "", ""]

    def test_every_row_has_a_gin_file_and_a_colour_of_its_own(self):
        names = {path.stem for path in (gin_files.gin_directory() / "beyond").glob("*.gin")}
        assert names == {row.name for row in paper_table.BEYOND_ROWS}
        assert set(figures.COLOURS) == set(paper_table.TITLES)
        assert len(set(figures.COLOURS.values())) == len(figures.COLOURS)
