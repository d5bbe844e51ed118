#!/usr/bin/env python3
"""Builds every Bazel target, then runs tests with Bazel, without a network.

    tools/bazel/run.py                               # a few fast tests
    tools/bazel/run.py //:tests/models/test_resnet   # the tests named, or any other targets

Where there is no Bazel 4 it says so and succeeds. It was tried with 4.2.3 (Debian's package
bazel-bootstrap) and with no other version; MODULE.bazel is for newer ones.

Bazel works in a temporary folder of links to the checkout, so it leaves nothing behind. The
WORKSPACE there names stand-ins for what Bazel would download: rules_python passes on Bazel's own
rules, and the packages of the pip hub are empty, because the Python in use has them installed.
"""

import argparse
import ast
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TESTS = [
    "//:tests/labels/test_vocabularies",
    "//:tests/experiments/test_demo",  # starts tools as processes
    "//:tests/inference/test_event_detection",  # has a conftest.py
    "//:tests/configuration/test_gin_files",  # reads the gin files
]

# The rules that each stand-in passes on; of rules_cc and rules_java, what Bazel's own files load.
_RULES = {
    "rules_cc/cc": "cc_binary cc_library cc_test cc_toolchain cc_toolchain_suite",
    "rules_java/java": "java_import java_runtime java_toolchain",
    "rules_python/python": "py_binary py_library py_test",
}
_PUBLIC = 'package(default_visibility = ["//visibility:public"])\n'
_REQUIREMENTS = 'def requirement(package):\n    return "@pip//:" + package\n'
_COVERAGE = """
filegroup(name = "coverage_output_generator")
filegroup(name = "coverage_report_generator")
"""
_TOOLCHAIN = """
load("@bazel_tools//tools/python:toolchain.bzl", "py_runtime_pair")
py_runtime(
    name = "runtime",
    interpreter_path = "{python}",
    python_version = "PY3",
    stub_shebang = "#!/usr/bin/env python3",
)
py_runtime_pair(name = "pair", py3_runtime = ":runtime")
toolchain(
    name = "toolchain",
    toolchain = ":pair",
    toolchain_type = "@bazel_tools//tools/python:toolchain_type",
)
"""


def facts() -> dict[str, object]:
    """The values of rooms.bzl by name."""
    tree = ast.parse((ROOT / "tools" / "bazel" / "rooms.bzl").read_text(encoding="utf-8"))
    return {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body}


def packages() -> set[str]:
    """Every package of PyPI that a target needs."""
    found = facts()
    entries = [*found["ROOMS"].values(), *found["TESTS"].values()]
    entries += [found["TOOLS"], found["BENCHMARKS"], found["TEST_HELPERS"]]
    return {package for _, names in entries for package in names}


def write_workspace(
    workspace: pathlib.Path, repositories: pathlib.Path, python: pathlib.Path
) -> None:
    """Writes the links, the WORKSPACE and the stand-in repositories that it names."""
    libraries = "".join(f'py_library(name = "{name}")\n' for name in sorted(packages()))
    files = {
        "pip/BUILD": _PUBLIC + libraries,
        "pip/requirements.bzl": _REQUIREMENTS,
        "python_in_use/BUILD": _PUBLIC + _TOOLCHAIN.format(python=python),
        "remote_coverage_tools/BUILD": _PUBLIC + _COVERAGE,
    }
    for folder, rules in _RULES.items():
        files[f"{folder}/BUILD"] = ""
        files[f"{folder}/defs.bzl"] = "".join(f"{r} = native.{r}\n" for r in rules.split())
    for name, text in files.items():
        path = repositories / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    lines = ['register_toolchains("@python_in_use//:toolchain")']
    for path in sorted(repositories.iterdir()):
        (path / "WORKSPACE").touch()
        lines.append(f'local_repository(name = "{path.name}", path = "{path}")')
    workspace.mkdir()
    (workspace / "WORKSPACE").write_text("\n".join(lines) + "\n", encoding="utf-8")
    ignored = {"MODULE.bazel", *(ROOT / ".bazelignore").read_text(encoding="utf-8").split()}
    for path in ROOT.iterdir():
        if not path.name.startswith((".", "bazel-")) and path.name not in ignored:
            (workspace / path.name).symlink_to(path)


def main() -> int:
    """Builds every target and runs tests; returns Bazel's exit code, 0 where it is skipped."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tests", nargs="*", default=TESTS, help=f"default: {' '.join(TESTS)}")
    parser.add_argument("--bazel", default="bazel", help="Bazel's name or path")
    parser.add_argument(
        "--python",
        default=str(ROOT / ".venv" / "bin" / "python"),
        help="Python that has all packages; default: .venv's, which ./test.sh sets up",
    )
    arguments = parser.parse_args()
    bazel = shutil.which(arguments.bazel)
    if bazel is None:
        print("Bazel: skipped, there is none (on Debian: apt-get install bazel-bootstrap)")
        return 0
    version = subprocess.run([bazel, "--version"], capture_output=True, text=True, check=False)
    # Debian's says "bazel no_version".
    if version.returncode or re.match(r"bazel (?!4\.)\d", version.stdout):
        said = (version.stdout + version.stderr).strip().partition("\n")[0]
        print(f"Bazel: skipped, this script is for Bazel 4 and {bazel} says {said!r}")
        return 0
    python = shutil.which(arguments.python)
    if python is None:
        parser.error(f"--python: there is no {arguments.python}")
    python = pathlib.Path(python).absolute()
    with tempfile.TemporaryDirectory(prefix="bazel-") as temporary:
        workspace = pathlib.Path(temporary, "workspace")
        write_workspace(workspace, pathlib.Path(temporary, "repositories"), python)
        # --batch: no server, which would outlive the folder.
        start = [bazel, "--batch", "--nohome_rc", f"--output_user_root={temporary}/out"]
        # No links to the results, and a log for a file; Debian's bazelrc sets --sandbox_debug.
        options = ["--symlink_prefix=/", "--nosandbox_debug"]
        options += ["--color=no", "--curses=no", "--noshow_progress"]
        for command in (
            ["build", *options, "//..."],
            ["test", *options, "--keep_going", "--test_output=errors", *arguments.tests],
        ):
            print("$ bazel", *command, flush=True)
            done = subprocess.run([*start, *command], cwd=workspace, check=False)
            if done.returncode:
                return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
