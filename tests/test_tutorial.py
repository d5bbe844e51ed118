"""docs/tutorial.md: its commands run as they are, with the results that the text promises."""

import pytest

from tests import processes, tutorials

_PAGE = "tutorial.md"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A directory in which the tutorial was followed, what it printed, and its variables."""
    directory = tmp_path_factory.mktemp("tutorial")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        with processes.Server() as server:
            return directory, *tutorials.follow(_PAGE, server)


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
    assert tutorials.tools(_PAGE) == {
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
