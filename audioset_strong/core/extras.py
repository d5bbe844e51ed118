"""How to install what an extra of `setup.py` installs, from wherever the project came.

The project is on no package index, so `pip install 'audioset_strong[events]'` fails; the packages
that an extra stands for can be named in a clone and beside a wheel alike.
"""

import re
from importlib import metadata


def advice(extra: str) -> str:
    """The command that installs the packages of an extra.

    >>> advice("tflite")
    "pip install 'ai-edge-litert>=2.0'"

    Args:
      extra: its name in `setup.py`.
    """
    try:
        requirements = metadata.requires("audioset_strong") or []
    except metadata.PackageNotFoundError:  # a source tree that was not installed
        requirements = []
    # As "ai-edge-litert>=2.0; extra == 'tflite'", with either kind of quotes.
    marked = [text.partition(";") for text in requirements]
    wanted = re.compile(rf"""extra\s*==\s*["']{re.escape(extra)}["']""")
    packages = [f"'{name.strip()}'" for name, _, marker in marked if wanted.search(marker)]
    if not packages:
        return f"install the extra {extra!r}, as docs/install.md says"
    return f"pip install {' '.join(packages)}"
