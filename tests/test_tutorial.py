"""docs/tutorial.md: its commands run as they are, with the results that the text promises."""

import contextlib
import io
import pathlib
import re
import shlex
import subprocess

import pytest

from tests import processes

_TUTORIAL = pathlib.Path(__file__).resolve().parents[1] / "docs" / "tutorial.md"
_PREFIX = "audioset_strong_"


def _blocks():
    """(language, text) of each fenced block."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", _TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)


def _commands(block):
    """The commands of a bash block: the project's own one by one, others as they are."""
    for command in re.split(r"\n(?=audioset_strong_)", block.replace("\\\n", " ")):
        own = re.match(rf"{_PREFIX}(\w+)(.*)\n?$", command)
        yield (own[1], shlex.split(own[2])) if own else (None, command)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A directory in which the tutorial was followed, and what it printed."""
    directory = tmp_path_factory.mktemp("tutorial")
    printed: dict[str, str] = {}
    namespace: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.chdir(directory)
        server = stack.enter_context(processes.Server())
        for language, text in _blocks():
            if language == "python":
                output = io.StringIO()
                with contextlib.redirect_stdout(output):
                    exec(compile(text, str(_TUTORIAL), "exec"), namespace)
                printed["python"] = printed.get("python", "") + output.getvalue()
                continue
            assert language == "bash"
            for tool, command in _commands(text):
                if tool is None:
                    subprocess.run(["bash", "-euo", "pipefail", "-c", command], check=True)
                    continue
                process = server.start(tool, *command)
                assert process.wait() == 0, f"{tool} {command}\n{process.stderr}"
                printed[tool] = printed.get(tool, "") + process.stdout
    return directory, printed, namespace


def _events(path, separator="\t"):
    rows = [line.split(separator) for line in path.read_text().splitlines()]
    return [(float(start), float(end), name) for start, end, name in rows]


def _covered(events, others):
    """Seconds of events that others of the same name cover."""
    return sum(
        max(0.0, min(end, other_end) - max(start, other_start))
        for start, end, name in events
        for other_start, other_end, other in others
        if other == name
    )


def test_every_command_is_one_of_the_projects_tools():
    tools = {
        tool
        for language, text in _blocks()
        if language == "bash"
        for tool, _ in _commands(text)
        if tool
    }
    assert tools == {
        "make_corpus",
        "convert",
        "train",
        "import_labels",
        "evaluate",
        "predict",
        "export",
    }


@pytest.mark.slow
def test_the_label_track_names_the_sounds_of_the_new_recording(done):
    directory, printed, _ = done
    truth = _events(directory / "new" / "hall.truth")
    found = _events(directory / "timeline" / "hall.flac.labels.txt")
    assert len(truth) > 5
    true_s, found_s = (sum(end - start for start, end, _ in events) for events in (truth, found))
    assert _covered(truth, found) > 0.7 * true_s
    assert _covered(found, truth) > 0.5 * found_s
    assert "8 of 8 recordings have labels" in printed["import_labels"]
    assert "Steady tone" in printed["predict"]


@pytest.mark.slow
def test_the_files_that_the_text_names_exist(done):
    directory, *_ = done
    for name in (
        "runs/own/eval/results.csv",
        "runs/own/eval/per_class_strong_validation.csv",
        "runs/own/run.json",
        "runs/own/selection.json",
        "timeline/hall.flac.scores.csv",
        "timeline/hall.flac.events.csv",
        "timeline/hall.flac.png",
        "exported/assets/class_map.csv",
        "exported/model_card.md",
    ):
        assert (directory / name).exists(), name


@pytest.mark.slow
def test_the_python_interface_says_the_same(done):
    _, printed, namespace = done
    names = [line.split("  ")[1] for line in printed["python"].splitlines()[:2]]
    assert set(names) == {"Steady tone", "Hiss"}
    assert namespace["prediction"].scores.shape[0] == namespace["prediction"].times.shape[0] == 32
    ((heard, _),) = namespace["model"].predict(namespace["heard"], 16_000).top(1)
    assert printed["python"].splitlines()[-1] == heard
