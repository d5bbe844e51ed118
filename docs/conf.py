"""The documentation site, by Sphinx: python -m sphinx -W --keep-going docs build/site.

The pages are the Markdown files of this folder. `generated_pages.py` adds those that are made of
code, and README, CONTRIBUTING and CHANGELOG, which stay where they are.
"""

import pathlib
import re
import sys

from sphinx.application import Sphinx

_DOCS = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(_DOCS), str(_DOCS.parent)]

import generated_pages  # noqa: E402

import audioset_strong  # noqa: E402

project = "audioset_strong"
author = "The audioset_strong authors"
copyright = f"{author}; Apache-2.0"
version = release = audioset_strong.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_static", "images"]

myst_heading_anchors = 4
highlight_language = "none"
# The prompts of examples are not copied.
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

add_module_names = False
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = f"audioset_strong {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#8f3a00", "color-brand-content": "#0062a3"},
    "dark_css_variables": {"color-brand-primary": "#f0a35e", "color-brand-content": "#7fc4ff"},
}


def _to_markup(app, what, name, obj, options, lines: list[str]) -> None:
    """Turns a docstring, in which only backticks are markup, to reStructuredText."""
    text = "\n".join(lines)
    # Indented lines below a paragraph are code or a formula.
    text = re.sub(r"^(\S.*\n)\n(?= {2})", r"\1\n::\n\n", text, flags=re.MULTILINE)
    # To napoleon, what stands before a colon is a type; the code has annotations instead.
    text = re.sub(r"^( *)(Returns|Yields):\n( +)", r"\1\2:\n\3: ", text, flags=re.MULTILINE)
    if what in ("attribute", "property"):
        text = f": {text}"
    text = re.sub(r"^Example:\n(?! *>>>)", "Example::\n\n", text, flags=re.MULTILINE)
    literal = False
    lines[:] = text.split("\n")
    for i, line in enumerate(lines):
        if line.strip():
            begins = line.lstrip().startswith(">>>") or lines[max(i - 2, 0)].endswith("::")
            literal = begins or (literal and (bool(lines[i - 1].strip()) or line[0] == " "))
        if not literal:
            lines[i] = _escaped(line)


def _escaped(line: str) -> str:
    parts = re.split(r"(`[^`]+`)", line)
    parts[1::2] = [f"`{part}`" for part in parts[1::2]]
    parts[::2] = [re.sub(r"([*|]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def _with_links(app: Sphinx, docname: str, source: list[str]) -> None:
    """Turns links; and puts README on the front page, before the contents in index.md."""
    page = f"{docname}.md"
    if docname == "index":
        app.env.note_dependency(str(_DOCS.parent / "README.md"))
        source[0] = f"{generated_pages.of_root('README.md', at=page)}\n{source[0]}"
    elif not docname.startswith(("project/", "reference/")):
        source[0] = generated_pages.with_links(source[0], written_in=f"docs/{page}", at=page)


def setup(app: Sphinx) -> None:
    """Is called by Sphinx before it reads the pages."""
    generated_pages.write(_DOCS)
    app.connect("source-read", _with_links)
    # Before napoleon, whose own markup must stay.
    app.connect("autodoc-process-docstring", _to_markup, priority=400)
