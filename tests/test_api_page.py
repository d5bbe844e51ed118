"""docs/api.md: its blocks run as they stand and print what their comments say."""

import contextlib
import io
import pathlib
import re

import pytest

from tests import datasets, trained

_PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "api.md"
_BLOCKS = re.findall(r"^```python\n(.*?)^```$", _PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """The lines that the blocks print, run in a directory with what the page asks for."""
    directory = tmp_path_factory.mktemp("api")
    clips = datasets.toy_clips(24)
    datasets.write_dataset(directory / "data" / "train_strong", clips[:16])
    datasets.write_dataset(directory / "data" / "eval", clips[16:])
    trained.write_workdir(directory / "runs" / "plus_strong")
    output, namespace = io.StringIO(), {}
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.chdir(directory)
        for block in _BLOCKS:
            exec(compile(block, str(_PAGE), "exec"), namespace)
    return output.getvalue().splitlines()


def test_the_blocks_print_what_their_comments_say(printed):
    expected = re.findall(r"^ *print\(.*\)  # (.*)$", "".join(_BLOCKS), re.MULTILINE)
    assert len(expected) == "".join(_BLOCKS).count("print(")
    assert printed == expected


def test_the_page_shows_every_public_name():
    import audioset_strong as ast

    shown = set(re.findall(r"\bast\.(\w+)", _PAGE.read_text()))
    assert set(ast.__all__) - {"__version__"} <= shown
