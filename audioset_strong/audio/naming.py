"""The names of audio files: which files are audio, which names are alike, and of which clip one is.

`finding` looks up the file of a clip; `clip_of` goes the other way.
"""

import os
import re
import unicodedata

_SOUND = (".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav")
_VIDEO = (".mka", ".mkv", ".mov", ".mp4", ".webm")
EXTENSIONS = frozenset((*_SOUND, *_VIDEO))

_VIDEO_ID = re.compile(r"Y?([A-Za-z0-9_-]{11})")  # YouTube's
_TIMES = re.compile(r"(.+?)_(\d+(?:\.\d+)?)(?:_(\d+(?:\.\d+)?))?")
_MAX_SECONDS = 1000  # a whole number in a name is in seconds below this, and in ms from it on


def one_form(name: str) -> str:
    """A file name as the ids of clips write it.

    Accents are in Unicode's form NFC: file systems keep names as they were typed, or in form NFD.
    Blanks, which clip ids cannot hold, are underscores.

    >>> one_form("my dog")
    'my_dog'
    """
    name = name.replace(" ", "_")
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def split_extension(path: str) -> tuple[str, str]:
    """(path without the extension of an audio file, that extension in lower case or "").

    >>> split_extension("a.b/c.WAV"), split_extension("a.b/c.d")
    (('a.b/c', '.wav'), ('a.b/c.d', ''))
    """
    stem, extension = os.path.splitext(path)
    extension = extension.lower()
    return (stem, extension) if extension in EXTENSIONS else (path, "")


def is_audio(path: str) -> bool:
    """Whether a name ends as audio files do.

    >>> is_audio("a.b/c.WAV"), is_audio("a.wav/b")
    (True, False)
    """
    return bool(split_extension(path)[1])


def is_hidden(path: str) -> bool:
    """Whether a name or a folder in a path begins with a dot.

    >>> is_hidden("a/._b.wav"), is_hidden("./a.wav")
    (True, False)
    """
    return any(part.startswith(".") and part != "." for part in path.split("/"))


def clip_of(stem: str) -> tuple[str, int | None, int | None]:
    """The clip that a name stands for: (video id, start in ms, end in ms).

    Eleven letters, as YouTube's ids have, are a video id, whatever they are. Whole numbers below
    1000 are seconds, others milliseconds.

    >>> clip_of("Y--4gqARaEJE"), clip_of("dog_30000_40000"), clip_of("my_dog")
    (('--4gqARaEJE', None, None), ('dog', 30000, 40000), ('my_dog', None, None))

    Args:
      stem: the name without its extension.

    Returns:
      Start and end are None where the name does not state them.
    """
    stem = one_form(stem)
    if match := _VIDEO_ID.fullmatch(stem):
        return match[1], None, None
    match = _TIMES.fullmatch(stem)
    if not match:
        return stem, None, None
    ytid, start, end = match.groups()
    if video := _VIDEO_ID.fullmatch(ytid):
        ytid = video[1]
    return ytid, _milliseconds(start), None if end is None else _milliseconds(end)


def _milliseconds(text: str) -> int:
    if "." in text or int(text) < _MAX_SECONDS:
        return round(float(text) * 1000)
    return int(text)
