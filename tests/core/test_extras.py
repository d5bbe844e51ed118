"""What to install for an extra, as a line that works without the project's folder."""

import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from audioset_strong.core import extras

_SETUP = pathlib.Path(__file__).resolve().parents[2] / "setup.py"


@pytest.mark.parametrize("extra", ["beam", "events", "tflite"])
def test_the_line_names_the_packages_of_the_extra(extra):
    command = shlex.split(extras.advice(extra))
    assert command[:2] == ["pip", "install"]
    listed = re.search(rf'"{extra}": \[(.*?)\],\n', _SETUP.read_text(), re.DOTALL).group(1)
    assert sorted(re.findall(r'"(.*?)"', listed)) == sorted(command[2:])


def test_a_source_tree_that_is_not_installed_names_the_extra(tmp_path):
    # Not the clone itself, where an editable installation leaves its metadata.
    (tmp_path / "audioset_strong").symlink_to(_SETUP.parent / "audioset_strong")
    root = str(tmp_path)
    program = (
        f"import sys; sys.path = [{root!r}, *(p for p in sys.path if 'site-packages' not in p)]; "
    )
    program += "from audioset_strong.core import extras; print(extras.advice('beam'))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "install the extra 'beam', as docs/install.md says\n"
