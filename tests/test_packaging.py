"""The wheel: what a user gets who has no clone."""

import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the sources, so that nothing is left behind in the clone."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(_ROOT / name, source)
    for name in ("audioset_strong", "tools", "gin"):
        shutil.copytree(_ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_every_module_tool_and_gin_file(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("audioset_strong", "tools", "gin"):
        inside = folder if folder == "audioset_strong" else f"audioset_strong/{folder}"
        for path in (_ROOT / folder).rglob("*.*"):
            name = path.relative_to(_ROOT / folder)
            if path.suffix in (".py", ".gin") and name.parts[0] not in ("bazel", "benchmarks"):
                assert f"{inside}/{name.as_posix()}" in names
    # A package gin/ with an __init__.py would shadow gin-config.
    assert not any(name.startswith("gin/") or name.endswith("gin/__init__.py") for name in names)
    assert not any(name.startswith("tests") for name in names)


def test_every_tool_is_a_console_script(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (listed,) = (n for n in archive.namelist() if n.endswith("entry_points.txt"))
        scripts = archive.read(listed).decode()
    assert "audioset_strong = audioset_strong.tools.main:run\n" in scripts
    for tool in {path.stem for path in (_ROOT / "tools").glob("[a-z]*.py")} - {"main"}:
        assert f"audioset_strong_{tool} = audioset_strong.tools.{tool}:run" in scripts


def test_the_installed_package_finds_its_gin_files_from_any_directory(wheel, tmp_path):
    installed = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(installed)
    code = (
        "from audioset_strong.configuration import gin_files, training_bindings\n"
        "text = gin_files.parse(['table1/plus_strong.gin', 'demo/fine_tune.gin'], [])\n"
        "print(gin_files.gin_directory())\n"
        "print(training_bindings.training_run('data').sources[1].weight)\n"
    )
    # -I: neither the working directory nor the clone may serve what the wheel should hold.
    code = f"import sys; sys.path.insert(0, {str(installed)!r})\n" + code
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    where, found = done.stdout.splitlines()
    assert pathlib.Path(where) == installed / "audioset_strong" / "gin"
    assert found == "0.8"
