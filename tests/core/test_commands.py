"""The one command `audioset_strong`, and completion in a real shell."""

import ast
import contextlib
import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import sys

import pytest

from audioset_strong.core import commands

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_MAIN = [sys.executable, "-m", "audioset_strong.tools.main"]


def _run(*arguments, **options):
    return subprocess.run(
        [*_MAIN, *arguments], capture_output=True, text=True, check=False, **options
    )


def test_every_tool_is_in_one_group():
    tools = [path.stem for path in (_ROOT / "tools").glob("[a-z]*.py")]
    assert sorted([*commands.names(), "main"]) == sorted(tools)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("help",)])
def test_the_overview_lists_every_command_with_what_it_does(arguments):
    done = _run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    for name in commands.names():
        first = (_ROOT / "tools" / f"{name}.py").read_text().splitlines()[0].lstrip('"')
        first = re.sub(r"(\w+)\.py", r"audioset_strong_\1", first)
        assert re.search(rf"^  {name} +{re.escape(first)}$", done.stdout, re.MULTILINE)


def test_a_command_has_its_own_help_flags_and_exit_code(tmp_path):
    done = _run("report", "--help")
    assert "Flags of audioset_strong report:" in done.stdout
    assert "--runs_dir" in done.stdout
    done = _run("frame_labels", f"--strong_tsv={tmp_path}/none.tsv", f"--output={tmp_path}/o.tsv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {tmp_path}/none.tsv: cannot be read")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trian",), "'trian' is no command; `audioset_strong` lists them"),
        (("main",), "'main' is no command; `audioset_strong` lists them"),
        (("completion",), "completion: give one of bash, zsh"),
        (("completion", "fish"), "completion: give one of bash, zsh"),
    ],
)
def test_what_is_no_command_is_one_line(arguments, message):
    done = _run(*arguments)
    assert (done.returncode, done.stderr) == (2, f"error: {message}\n")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """The completion of each shell, in a file."""
    directory = tmp_path_factory.mktemp("completion")
    for shell in commands.SHELLS:
        done = _run("completion", shell)
        assert (done.returncode, done.stderr) == (0, "")
        (directory / shell).write_text(done.stdout)
    return directory


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["audioset_strong", "ev"], ["evaluate", "evaluate_events"]),
        (["audioset_strong", "train", "--st"], ["--strategy="]),
        (["audioset_strong", "train", "--strategy", "=", "m"], ["mirrored", "multi_worker"]),
        (
            ["audioset_strong", "train", "--strategy", "="],
            ["one_device", "mirrored", "multi_worker", "tpu"],
        ),
        (["audioset_strong_train", "--strategy=t"], ["--strategy=tpu"]),
        (["/bin/audioset_strong_convert", "--en"], ["--encoding="]),
        (["audioset_strong", "train", "--ex"], ["--extend"]),
        (["audioset_strong", "train", "--workdir", "=", "ru"], ["runs"]),
        (["audioset_strong", "predict", "ru"], ["runs"]),
        (["audioset_strong", "completion", ""], ["bash", "zsh"]),
    ],
)
def test_bash_completes_commands_flags_values_and_paths(scripts, tmp_path, words, expected):
    (tmp_path / "runs").mkdir()
    quoted = " ".join(f"'{word}'" for word in words)
    asked = (
        f"source {scripts / 'bash'}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; "
        '_audioset_strong; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == expected


_HANGS_S = 60  # a shell that says nothing for so long says nothing any more
_ZSHRC = """
autoload -Uz compinit && compinit -u -D
source "$SCRIPT"
finish() { print -r -- "$BUFFER" >> "$FOUND"; BUFFER= }
zle -N finish
bindkey '^I' complete-word
bindkey '^T' finish
"""


def _zsh_completes(script, directory, typed):
    """What a line becomes by the tabulator key, in a zsh at a terminal; for each line typed."""
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("zsh is not installed")
    (directory / ".zshrc").write_text(_ZSHRC)
    found = directory / "found"
    places = {"ZDOTDIR": str(directory), "SCRIPT": str(script), "FOUND": str(found)}
    terminal, end = pty.openpty()
    with subprocess.Popen(
        [zsh, "-i"],
        stdin=end,
        stdout=end,
        stderr=end,
        cwd=directory,
        env={**os.environ, **places, "TERM": "dumb"},
        start_new_session=True,
    ) as shell:
        os.close(end)
        os.write(terminal, "".join(f"{line}\t\x14" for line in typed).encode() + b"exit\n")
        shown = b""
        with contextlib.suppress(OSError):  # Linux says so where the shell has closed its end
            while select.select([terminal], [], [], _HANGS_S)[0] and (
                part := os.read(terminal, 65536)
            ):
                shown += part
        shell.kill()
    os.close(terminal)
    assert found.exists(), shown.decode(errors="replace")
    return found.read_text().splitlines()


def test_zsh_completes_commands_flags_values_and_paths(scripts, tmp_path):
    (tmp_path / "runs").mkdir()
    expected = {
        "audioset_strong eval": "audioset_strong evaluate",  # or evaluate_events
        "audioset_strong inspect": "audioset_strong inspect_records ",
        "audioset_strong train --st": "audioset_strong train --strategy=",
        "audioset_strong train --strategy=mu": "audioset_strong train --strategy=multi_worker ",
        "audioset_strong_train --strategy=t": "audioset_strong_train --strategy=tpu ",
        "/bin/audioset_strong_convert --en": "/bin/audioset_strong_convert --encoding=",
        "audioset_strong train --ex": "audioset_strong train --extend ",
        "audioset_strong train --workdir=ru": "audioset_strong train --workdir=runs/",
        "audioset_strong predict ru": "audioset_strong predict runs/",
        "audioset_strong completion z": "audioset_strong completion zsh ",
    }
    found = _zsh_completes(scripts / "zsh", tmp_path, expected)
    assert dict(zip(expected, found, strict=True)) == expected


def test_a_command_whose_reader_has_all_it_wants_ends_quietly(tmp_path):
    strong = tmp_path / "strong.tsv"
    strong.write_text(
        "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\nYTID0000001_0\t0.0\t1.0\t/m/09x0r\n"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*_MAIN, "frame_labels", f"--strong_tsv={strong}", f"--output={tmp_path / 'framed.tsv'}"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert done.returncode in (0, 141), done.stderr


def test_messages_name_commands_as_they_are_typed():
    by_file = re.compile(rf"(?<!tools/)\b({'|'.join(commands.names())})\.py\b")
    package = pathlib.Path(commands.__file__).parents[1]
    wrong = []
    for path in set(package.rglob("*.py")) - {package / "core" / "cli.py"}:  # --help is translated
        tree = ast.parse(path.read_text())
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        wrong += [
            f"{path.name}, line {node.lineno}: {node.value}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            if id(node) not in prose and by_file.search(node.value)
        ]
    assert not wrong
