"""The pages of the site that are made of code, and those of files outside docs/.

Commands, flags, gin bindings and the names of the public API are read from the code at each build,
so the reference cannot fall behind it.
"""

import html
import inspect
import pathlib
import posixpath
import re
import sys
import types
from collections.abc import Iterable, Sequence

import audioset_strong as ast
from audioset_strong.configuration import described
from audioset_strong.core import commands

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_OF_ROOT = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "README.md": "index.md",
    "SECURITY.md": "project/security.md",
}
# Links that lead neither to other sites nor within the page.
_LINK = re.compile(r"(\]\()([^)\s#:]+)(?=[)#])")


def write(docs: pathlib.Path) -> None:
    """Writes the pages, as far as they changed.

    Args:
      docs: the folder of the site's sources.
    """
    pages = {
        "reference/commands.md": command_page(),
        "reference/bindings.md": binding_page(),
        **{f"reference/{n}.md": api_page(n) for n in ast.__all__ if n != "__version__"},
        **{
            address: of_root(name, at=address)
            for name, address in _OF_ROOT.items()
            if address != "index.md"
        },
    }
    for address, text in pages.items():
        path = docs / address
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def of_root(name: str, *, at: str) -> str:
    """A Markdown file of the project's root, with links that are right elsewhere.

    Args:
      name: of the file.
      at: where its text will stand, from docs/.
    """
    return with_links((_ROOT / name).read_text(encoding="utf-8"), written_in=name, at=at)


def with_links(text: str, *, written_in: str, at: str) -> str:
    """A Markdown text, with links that are right on the site.

    Args:
      text: with links that are right where it was written.
      written_in: the file that it was written in, from the root.
      at: the page that it will be on, from docs/.
    """

    def turned(link: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(written_in), link[2]))
        if target in _OF_ROOT:
            target = f"docs/{_OF_ROOT[target]}"
        return link[1] + posixpath.relpath(target, posixpath.dirname(f"docs/{at}"))

    return _LINK.sub(turned, text)


def command_page() -> str:
    """All commands with their flags. It can be made once in a process, see `commands.flags_of`."""
    parts = [
        "# Commands",
        "`audioset_strong NAME` and `audioset_strong_NAME` are the same, and `--help` shows what "
        "this page says. Flags are written `--flag=value`, or `--flag` and `--noflag` where their "
        "default is true or false.",
    ]
    for title, group in commands.GROUPS.items():
        parts.append(f"**{title}:** " + ", ".join(f"[{name}](#{name})" for name in group))
    for name in commands.names():
        parts += [f"({name})=\n## {name}", *_paragraphs(commands.description(name))]
        rows = [
            (
                f"`--{flag.name}`",
                "**required**" if flag.required else _code(flag.default),
                _escaped(flag.help) + _one_of(flag.values),
            )
            for flag in commands.flags_of(name)
        ]
        parts.append(_table(("flag", "default", "what it is"), rows))
    return "\n\n".join(parts) + "\n"


def binding_page() -> str:
    """All that can be bound in gin files and by --gin_param."""
    parts = [
        "# Settings",
        "All that a gin file or `--gin_param='train.batch_size = 64'` can set. `train` and `sweep` "
        "take all of it, `evaluate` takes `evaluate_workdirs` and `select`, `convert` takes "
        "`FrontEnd`, `plot_augmentation` takes `FrontEnd` and `Augmentation`. What is required "
        "must be bound where its function is used, as the files in `gin/table1/` do. An @ names a "
        "function: `train.sources = @single_source`.",
    ]
    for bindable in described.bindables():
        parts += [f"## {bindable.name}", _escaped(bindable.summary)]
        rows = [
            (
                _code(parameter.name),
                _code(parameter.default) or "**required**",
                _escaped(parameter.wanted),
                _escaped(_capital(parameter.description)),
            )
            for parameter in bindable.parameters
        ]
        if rows:
            header = (f"`{bindable.name}.` ...", "default", "value", "what it is")
            parts.append(_table(header, rows))
    return "\n\n".join(parts) + "\n"


def api_page(name: str) -> str:
    """One name of the public API, to be filled by autodoc.

    Args:
      name: as in `audioset_strong.__all__`.
    """
    value = getattr(ast, name)
    if isinstance(value, types.ModuleType):
        modules = [getattr(value, each) for each in getattr(value, "__all__", ())]
        named = {each.__name__: each for each in modules if isinstance(each, types.ModuleType)}
        parts = [
            f"## {path.rpartition('.')[2]}\n\n{_directive('automodule', path)}" for path in named
        ] or [_directive("automodule", value.__name__)]
    else:
        # An exception, or a function with the classes that it leads to.
        kind = "autoexception" if isinstance(value, type) else "autofunction"
        parts = [_directive(kind, f"{value.__module__}.{value.__qualname__}")]
        if kind == "autofunction":
            found = inspect.signature(value).return_annotation
            parts += [_directive("autoclass", path) for path in _classes(found.__module__)]
    return "\n\n".join([f"# ast.{name}", *parts]) + "\n"


def _directive(name: str, argument: str) -> str:
    return f"```{{eval-rst}}\n.. {name}:: {argument}\n```"


def _classes(module: str) -> list[str]:
    """The public classes that a module defines."""
    members = vars(sys.modules[module]).items()
    return [
        f"{module}.{name}"
        for name, value in members
        if isinstance(value, type) and value.__module__ == module and not name.startswith("_")
    ]


def _paragraphs(text: str) -> Iterable[str]:
    """The paragraphs of a command's description; indented lines become blocks of code."""
    for indented, plain in re.findall(r"((?:^ .*\n?)+)|((?:^\S.*\n?)+)", text, re.MULTILINE):
        yield f"```text\n{indented.rstrip()}\n```" if indented else _escaped(plain)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows))


def _code(text: str | None) -> str:
    return f"`{text}`" if text is not None else ""


def _one_of(values: Sequence[str]) -> str:
    return f" One of {', '.join(map(_code, values))}." if values else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _escaped(text: str) -> str:
    """A text whose characters mean themselves in Markdown, apart from backticks and addresses."""
    parts = re.split(r"(`[^`]+`|https?://[^\s)]+[^\s).,;])", " ".join(text.split()))
    parts[::2] = [re.sub(r"([*_\[\]])", r"\\\1", html.escape(p, quote=False)) for p in parts[::2]]
    parts[1::2] = [part if part[0] == "`" else f"<{part}>" for part in parts[1::2]]
    return "".join(parts).replace("|", "\\|")
