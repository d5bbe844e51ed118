"""docs/paper_to_code.md and CHANGELOG.md: all functions, files and tests that they name exist."""

import ast
import importlib
import pathlib
import re

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_PAGE = (_ROOT / "docs" / "paper_to_code.md").read_text()
_QUOTED = sorted(set(re.findall(r"`([^`]+)`", _PAGE)))
_PACKAGE = _ROOT / "audioset_strong"
_ROOMS = {path.name for path in _PACKAGE.iterdir() if path.is_dir()}

_NAMES = [text for text in _QUOTED if text.partition(".")[0] in _ROOMS]
_CHANGES = (_ROOT / "CHANGELOG.md").read_text()
# The second column of the tables of renamed modules, functions and classes.
_NEW_NAMES = sorted(
    name
    for cell in re.findall(r"^\|[^|]+\| ([^|]+) \|$", _CHANGES, re.MULTILINE)
    for name in re.findall(r"`([a-z_]+\.[\w.]+)`", cell)
    if name.partition(".")[0] in _ROOMS
)
_TESTS = [text for text in _QUOTED if "::" in text]
_GIN_FILES = [text for text in _QUOTED if text.endswith(".gin")]


def _resolve(dotted):
    """The object of a dotted name below the package: a module, or something in it."""
    parts = ["audioset_strong", *dotted.split(".")]
    for end in range(len(parts), 1, -1):
        if _PACKAGE.joinpath(*parts[1:end]).with_suffix(".py").is_file():
            value = importlib.import_module(".".join(parts[:end]))
            for attribute in parts[end:]:
                value = getattr(value, attribute)
            return value
    raise AttributeError(f"no module of {dotted}")


def test_the_page_covers_the_sections_that_are_implemented():
    rows = re.findall(r"^\| ([^|]+?) \|", _PAGE, re.MULTILINE)
    sections = {section for row in rows for section in row.split(", ")}
    assert {"3.1", "3.2", "3.3", "4", "4.1", "Fig. 1", "Fig. 2", "Fig. 3", "Table 1"} <= sections
    assert len(_NAMES) > 40
    assert len(_TESTS) > 25


@pytest.mark.parametrize("name", _NAMES)
def test_every_name_can_be_imported_and_is_documented(name):
    value = _resolve(name)
    assert value.__doc__


@pytest.mark.parametrize("name", _TESTS)
def test_every_test_exists(name):
    path, _, function = name.partition("::")
    tree = ast.parse((_ROOT / "tests" / path).read_text())
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", _GIN_FILES)
def test_every_gin_file_exists(name):
    assert (_ROOT / name).is_file()


def test_every_row_names_code_and_a_test():
    for row in re.findall(r"^\| (?!section|---).*\|$", _PAGE, re.MULTILINE):
        _, _, code, test = (cell.strip() for cell in row.strip("|").split(" | "))
        assert re.search(r"`\w+\.[\w.]+`", code), row
        assert "::test_" in test, row


@pytest.mark.parametrize("name", _NEW_NAMES)
def test_the_changelog_gives_new_names_that_exist(name):
    assert _resolve(name)
