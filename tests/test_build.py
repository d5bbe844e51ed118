"""Bazel: rooms.bzl against the sources and their imports, and tests that fail when they should."""

import ast
import collections
import dataclasses
import graphlib
import pathlib
import re
import runpy
import shutil
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[1]
# What an import is called on PyPI, where the two names differ.
_PACKAGES = {
    "PIL": "pillow",
    "absl": "absl-py",
    "ai_edge_litert": "ai-edge-litert",
    "apache_beam": "apache-beam",
    "gin": "gin-config",
    "google": "protobuf",
    "sklearn": "scikit-learn",
    "tensorflow_io": "tensorflow-io",
}
# Functions that import the module which a string names.
_IMPORTERS = {"import_module", "importorskip", "_package"}


_SCRIPT = pathlib.Path("tools", "bazel", "run.py")
_RUN = runpy.run_path(str(_ROOT / _SCRIPT))
_FACTS = _RUN["facts"]()
_ROOMS = list(_FACTS["ROOMS"])


def _files(*patterns):
    found = {path.relative_to(_ROOT).as_posix() for p in patterns for path in _ROOT.glob(p)}
    return sorted(path for path in found if "__pycache__" not in path)


@dataclasses.dataclass
class _Target:
    """A target of BUILD, or the tests of a folder, whose deps are the same."""

    sources: list[str]
    deps: tuple[list[str], list[str]]  # targets of ours, packages of PyPI


def _targets():
    targets = {}
    for room, deps in _FACTS["ROOMS"].items():
        base = f"audioset_strong/{room}"
        targets[room] = _Target(_files(f"{base}.py", f"{base}/**/*.py"), deps)
    targets["api"].sources = ["audioset_strong/__init__.py"]
    targets["tools"] = _Target(_files("tools/*.py"), _FACTS["TOOLS"])
    targets["benchmarks"] = _Target(_files("tools/benchmarks/*.py"), _FACTS["BENCHMARKS"])
    helpers = set(_files("tests/*.py", "tests/**/conftest.py")) - set(_files("tests/test_*.py"))
    targets["test_helpers"] = _Target(sorted(helpers), _FACTS["TEST_HELPERS"])
    for folder, deps in _FACTS["TESTS"].items():
        targets[folder] = _Target(_files(f"{folder}/test_*.py"), deps)
    return targets


_TARGETS = _targets()


def _target_of(module):
    """The target that a dotted name of ours belongs to."""
    top, _, rest = module.partition(".")
    if top == "tests":
        return "test_helpers"
    name = rest.partition(".")[0]
    return name if name in _TARGETS else "api"


def _imported(source, strings):
    """The dotted names that a source imports, wherever in it.

    Args:
      source: path from the root.
      strings: whether a string counts that names a room or the tools, as tests start processes.
    """
    for node in ast.walk(ast.parse((_ROOT / source).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            function = getattr(node.func, "attr", getattr(node.func, "id", None))
            if function in _IMPORTERS and isinstance(node.args[0], ast.Constant):
                yield node.args[0].value
        elif strings and isinstance(node, ast.Constant) and isinstance(node.value, str):
            for name in re.findall(r"\baudioset_strong\.\w+", node.value):
                if _target_of(name) != "api":
                    yield name


def test_every_source_file_belongs_to_exactly_one_target():
    owned = collections.Counter(s for target in _TARGETS.values() for s in target.sources)
    assert [source for source, count in owned.items() if count > 1] == []
    # tools/bazel/ is what runs the targets.
    sources = {*_files("audioset_strong/**/*.py", "tools/**/*.py", "tests/**/*.py")}
    assert set(owned) == sources - {*_files("tools/bazel/*.py")}
    assert [name for name, target in _TARGETS.items() if not target.sources] == []


@pytest.mark.parametrize("name", _TARGETS)
def test_deps_are_exactly_what_the_sources_import(name):
    of_tests = name == "test_helpers" or name in _FACTS["TESTS"]
    ours, packages = set(), {"pytest"} if of_tests else set()
    for source in _TARGETS[name].sources:
        for module in _imported(source, strings=of_tests):
            top = module.partition(".")[0]
            if top in ("audioset_strong", "tests"):
                ours.add(_target_of(module))
            elif module.startswith("tools.benchmarks"):
                ours.add("benchmarks")
            elif top not in sys.stdlib_module_names:
                packages.add(_PACKAGES.get(top, top))
    if name in _FACTS["TESTS"] and _files("tests/conftest.py", f"{name}/conftest.py"):
        ours.add("test_helpers")
    assert _TARGETS[name].deps == (sorted(ours - {name}), sorted(packages))


def test_no_target_depends_on_itself_over_others():
    graph = {name: target.deps[0] for name, target in _TARGETS.items()}
    assert {dep for deps in graph.values() for dep in deps} <= set(graph)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("room", _ROOMS)
def test_a_room_imports_only_rooms_above_it(room):
    assert set(_TARGETS[room].deps[0]) <= set(_ROOMS[: _ROOMS.index(room)])


def test_every_test_file_is_a_test():
    tests = [source for folder in _FACTS["TESTS"] for source in _TARGETS[folder].sources]
    assert sorted(tests) == _files("tests/**/test_*.py")
    assert set(_FACTS["MANUAL_TESTS"]) <= set(tests)
    assert {test.removeprefix("//:") + ".py" for test in _RUN["TESTS"]} <= set(tests)


def test_the_data_of_targets_exist():
    tests = _files("tests/**/test_*.py")
    for owner, patterns in _FACTS["DATA"].items():
        assert owner in _ROOMS or owner in tests
        for pattern in patterns:
            assert _files(pattern), pattern


def _requirements(*extras):
    """Names of the packages that setup.py asks for, with these extras."""
    (call,) = (
        node
        for node in ast.walk(ast.parse((_ROOT / "setup.py").read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "setup"
    )
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    listed = ast.literal_eval(keywords["install_requires"])
    for extra in extras:
        listed += ast.literal_eval(keywords["extras_require"])[extra]
    return {re.match(r"[\w-]+", requirement).group() for requirement in listed}


@pytest.mark.parametrize("name", _TARGETS)
def test_setup_asks_for_every_package(name):
    extras = ["beam", "events", "hdf5", "io", "tflite"]
    if name == "benchmarks":
        extras.append("benchmarks")
    elif name not in (*_ROOMS, "tools"):
        extras.append("test")
    assert set(_TARGETS[name].deps[1]) <= _requirements(*extras)


def _bazel(root, *arguments):
    command = [sys.executable, str(root / _SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_without_bazel_4_the_script_says_so_and_succeeds(tmp_path):
    newer = tmp_path / "bazel"
    newer.write_text("#!/bin/sh\necho bazel 8.4.2\n")
    newer.chmod(0o755)
    for bazel, reason in (("no_such_bazel", "there is none"), (newer, "'bazel 8.4.2'")):
        done = _bazel(_ROOT, f"--bazel={bazel}")
        assert (done.returncode, done.stderr) == (0, "")
        (line,) = done.stdout.splitlines()
        assert line.startswith("Bazel: skipped")
        assert reason in line


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bazel") is None, reason="needs Bazel")
def test_under_bazel_a_broken_test_fails_and_so_does_a_file_without_tests(tmp_path):
    root = tmp_path / "checkout"
    unwanted = (_ROOT / ".bazelignore").read_text().split()
    unwanted += [".git", ".hypothesis", "*cache", "__pycache__"]
    shutil.copytree(_ROOT, root, ignore=shutil.ignore_patterns(*unwanted))
    with open(root / "tests" / "core" / "test_jobs.py", "a") as file:
        file.write("\n\ndef test_broken():\n    assert jobs.Job('a', ()).cost == 2.0\n")
    (root / "tests" / "labels" / "test_empty.py").write_text('"""No test."""\n')
    tests = ["tests/core/test_progress", "tests/core/test_jobs", "tests/labels/test_empty"]
    before = _files_below(root)
    done = _bazel(root, f"--python={sys.executable}", *(f"//:{test}" for test in tests))
    outcomes = dict(re.findall(r"^//:(\S+)\s+(PASSED|FAILED)", done.stdout, re.MULTILINE))
    assert outcomes == dict(zip(tests, ["PASSED", "FAILED", "FAILED"], strict=True)), done.stderr
    assert "assert 1.0 == 2.0" in done.stdout
    assert "no tests ran" in done.stdout
    assert done.returncode
    assert _files_below(root) == before


def _files_below(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))
