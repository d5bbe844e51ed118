"""The demo's stages as command lines; `.ci/run` runs the whole demo at its small size."""

import json
import re
import subprocess
import sys

import pytest

from audioset_strong.configuration import gin_files, training_bindings
from audioset_strong.core import errors, jobs
from audioset_strong.experiments import demo


@pytest.fixture
def stages(tmp_path, monkeypatch):
    captured = []
    monkeypatch.setattr(jobs, "run", lambda listed, *_, **__: captured.extend(listed))
    demo.run(str(tmp_path / "demo"), seed=3)
    return captured


def test_every_stage_is_a_command_that_its_binary_understands(stages):
    help_of = {
        module: subprocess.run(
            [sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True
        ).stdout
        for module in {job.command[2] for job in stages}
    }
    for job in stages:
        python, _, module, *arguments = job.command
        assert python == sys.executable
        for argument in arguments:
            name = argument.removeprefix("--").partition("=")[0]
            assert re.search(rf"^  --(\[no\])?{name}:", help_of[module], re.MULTILINE), argument


def test_the_stages_train_and_evaluate_the_six_rows(stages):
    names = [job.name for job in stages]
    rows = {"weak_67k", "diffuse_67k", "strong_67k", "weak_1_8m", "plus_diffuse", "plus_strong"}
    assert {name.removeprefix("train_") for name in names if name.startswith("train_")} == rows
    assert {n.removeprefix("evaluate_") for n in names if n.startswith("evaluate_")} == rows
    by_name = {job.name: job for job in stages}
    for row in ("plus_diffuse", "plus_strong"):
        # Fine-tuning needs the selection that evaluating the pre-trained row makes.
        assert "evaluate_weak_1_8m" in by_name[f"train_{row}"].needs
        assert any("--init_from=" in argument for argument in by_name[f"train_{row}"].command)


def test_the_full_size_has_three_seeds_of_each_row_and_the_sweeps(tmp_path, monkeypatch):
    captured = []
    monkeypatch.setattr(jobs, "run", lambda listed, *_, **__: captured.extend(listed))
    demo.run(str(tmp_path / "demo"), "full", seed=1)
    by_name = {job.name: job for job in captured}
    for row in ("weak_67k", "diffuse_67k", "strong_67k", "weak_1_8m"):
        for name, seed in ((row, 1), (f"{row}-seed=2", 2), (f"{row}-seed=3", 3)):
            command = by_name[f"train_{name}"].command
            assert f"--workdir={tmp_path}/demo/runs/{name}" in command
            assert f"--gin_param=train.seed = {seed}" in command
            assert f"--workdir={tmp_path}/demo/runs/{name}" in by_name[f"evaluate_{name}"].command
    for row in ("plus_diffuse", "plus_strong"):
        mu = by_name[f"mu_{row}"].command
        assert f"--output_dir={tmp_path}/demo/runs/{row}" in mu
        assert "--vary=weak_strong_mixture.mu = 0.2, 0.4, 0.6, 0.8, 1.0" in mu
        assert "--vary=train.seed = 1, 2, 3" in mu
        assert f"--output_dir={tmp_path}/demo/fig3/{row}" in by_name[f"fig3_{row}"].command
    assert sum("--sweep_dir=" in argument for argument in by_name["report"].command) == 4
    # Each needs only what comes before it, or the demo would never end.
    for position, job in enumerate(captured):
        assert set(job.needs) <= {before.name for before in captured[:position]}


@pytest.mark.parametrize("size", ["small", "standard"])
def test_the_last_lines_say_what_the_numbers_show(tmp_path, size):
    titles = {"diffuse_67k": "Diffuse-67k", "strong_67k": "Strong-67k", "weak_1_8m": "Weak-1.8M"}
    titles["plus_strong"] = "+Strong"
    values = {"diffuse_67k": 0.9, "strong_67k": 1.5, "weak_1_8m": 1.6, "plus_strong": 1.55}
    rows = [f"{row},{title},{values[row]}" for row, title in titles.items()]
    (tmp_path / "table1.csv").write_text(
        "\n".join(["row,training_set,strong_eval_d_prime", *rows, ""])
    )
    told = demo.in_words(tmp_path, size)
    if size == "small":
        assert told.endswith("At this size nothing is learnt: leave --size out for that.")
        return
    assert "d' 1.50 (Strong-67k) against 0.90 (Diffuse-67k), as in the paper." in told
    assert "d' 1.55 (+Strong) against 1.60 (Weak-1.8M), unlike in the paper." in told


def test_the_bindings_of_every_training_stage_are_complete(stages):
    for job in stages:
        if job.name.startswith("train_"):
            values = [argument.partition("=")[2] for argument in job.command]
            files = [v for a, v in zip(job.command, values, strict=True) if "--gin_file" in a]
            params = [v for a, v in zip(job.command, values, strict=True) if "--gin_param" in a]
            gin_files.parse(files, params)
            assert training_bindings.training_run("data").settings.seed == 3


def test_a_directory_of_another_demo_or_of_something_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "run", lambda *_, **__: None)
    demo.run(str(tmp_path / "demo"), seed=3)
    demo.run(str(tmp_path / "demo"), seed=3)
    with pytest.raises(
        errors.InputError, match=r"other settings \(seed = 3 there, 4 here\); choose"
    ):
        demo.run(str(tmp_path / "demo"), seed=4)
    assert json.loads((tmp_path / "demo" / "demo.json").read_text())["seed"] == 3
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    with pytest.raises(errors.InputError, match="holds something other than a demo"):
        demo.run(str(tmp_path / "photos"))


def test_a_damaged_settings_file_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "run", lambda *_, **__: None)
    for text, message in (("{", "not JSON"), ("[]", "not the settings of an experiment")):
        (tmp_path / "demo.json").write_text(text)
        with pytest.raises(errors.InputError, match=rf"demo\.json: {message}") as caught:
            demo.run(str(tmp_path))
        assert "\n" not in str(caught.value)
