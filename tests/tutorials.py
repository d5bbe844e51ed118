"""Follows a page of docs/: its code blocks run as they are, one after the other."""

import contextlib
import io
import itertools
import pathlib
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping

from tests import processes

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"
_PREFIX = "audioset_strong_"


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of each fenced block of a page."""
    text = (DOCS / page).read_text()
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(block: str) -> Iterator[tuple[str | None, str | list[str]]]:
    """The commands of a bash block: the project's own one by one, others as they are."""
    lines = block.replace("\\\n", " ").splitlines()
    for is_own, group in itertools.groupby(lines, lambda line: line.startswith(_PREFIX)):
        if not is_own:
            yield None, "\n".join(group)
            continue
        for line in group:
            tool, *arguments = shlex.split(line)
            yield tool.removeprefix(_PREFIX), arguments


def tools(page: str) -> set[str]:
    """The project's tools that a page runs."""
    shell = (text for language, text in blocks(page) if language == "bash")
    return {tool for text in shell for tool, _ in commands(text) if tool}


def follow(
    page: str, server: processes.Server, *, replaced: Mapping[str, str] | None = None
) -> tuple[dict[str, str], dict[str, object]]:
    """Follows a page in the working directory.

    Args:
      page: its name in docs/.
      server: starts the project's tools.
      replaced: text of the blocks -> what runs in its place; each has to be there.

    Returns:
      What each tool printed, by its name ("python" and "bash" for the rest); and the variables that
      the Python blocks left.
    """
    printed: dict[str, str] = {}
    namespace: dict[str, object] = {}
    waiting = dict(replaced or {})
    for language, original in blocks(page):
        text = original
        for old, new in (replaced or {}).items():
            if old in text:
                text = text.replace(old, new)
                waiting.pop(old, None)
        if language == "python":
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(text, page, "exec"), namespace)
            printed["python"] = printed.get("python", "") + output.getvalue()
            continue
        assert language == "bash"
        for tool, command in commands(text):
            if tool is None:
                done = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", command],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                printed["bash"] = printed.get("bash", "") + done.stdout
                continue
            process = server.start(tool, *command)
            assert process.wait() == 0, f"{tool} {command}\n{process.stderr}"
            printed[tool] = printed.get(tool, "") + process.stdout
    assert not waiting, f"{page} no longer says {list(waiting)}"
    return printed, namespace
