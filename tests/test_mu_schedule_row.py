"""A run with mu as a schedule, by commands: what the report says of its mu."""

import json

import pandas as pd
import pytest

from tests.datasets import make_clip, write_dataset


def _run(server, tool, *flags):
    process = server.start(tool, *flags)
    assert process.wait() == 0, process.stderr
    return process.stdout


@pytest.mark.slow
def test_the_report_has_the_mean_of_mu(server, tmp_path):
    for name, segments in (("train_weak", None), ("train_strong", ((1000, 3000, 1),))):
        clips = [make_clip(i, weak=(i % 4,), segments=segments) for i in range(8)]
        write_dataset(tmp_path / "data" / name, clips, 1)
    clips = [make_clip(i + 50, weak=(i,), segments=((0, 3000, i),)) for i in range(3)]
    validation = write_dataset(tmp_path / "data" / "validation", clips, 1, split="validation")
    workdir = tmp_path / "runs" / "mu_schedule"
    _run(
        server,
        "train",
        f"--workdir={workdir}",
        f"--data_dir={tmp_path / 'data'}",
        "--gin_file=beyond/mu_schedule.gin",
        "--gin_file=demo/fine_tune.gin",
        "--gin_param=train.fine_tune = False",
        "--gin_param=train.total_steps = 4",
        "--gin_param=train.checkpoint_every = 4",
        "--gin_param=train.batch_size = 8",
    )
    # 0.2 to 0.9 in a straight line: 0.55 on average.
    assert json.loads((workdir / "run.json").read_text())["mu"] == pytest.approx(0.55)
    _run(
        server, "evaluate", f"--workdir={workdir}", f"--validation_data={validation}", "--run_once"
    )
    out = tmp_path / "report"
    _run(server, "report", f"--runs_dir={tmp_path / 'runs'}", f"--output_dir={out}")
    table = pd.read_csv(out / "table1.csv").set_index("row")
    assert table.loc["mu_schedule", "mu"] == pytest.approx(0.55)
    assert "+Strong with mu as a schedule | 0.55 |" in (out / "table1.md").read_text()
    assert "<td>0.55</td>" in (out / "index.html").read_text()
