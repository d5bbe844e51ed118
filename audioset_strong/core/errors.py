"""The one exception for mistakes that a user can correct, and checks that raise it."""


class InputError(ValueError):
    """Bad input: a file, flag, gin binding, label or argument that the user must change.

    The message is one line that names what is wrong (file, line, value) and what would be right.
    `cli.run` prints it without a traceback and exits with a non-zero code.

    Example:
      >>> from audioset_strong.labels import metadata
      >>> try:
      ...     metadata.split_clip_id("abc")
      ... except InputError as error:
      ...     print(error)
      clip id 'abc': must be YTID_STARTMS
    """


def check_whole_number(name: str, value: object, *, least: int = 1) -> None:
    """Checks a setting that must be a whole number.

    Args:
      name: of the setting, as users know it.
      value: to check; True and False are not numbers.
      least: the smallest number allowed.

    Raises:
      InputError: it is not a whole number, or too small.

    Example:
      >>> check_whole_number("top_k", 0)
      Traceback (most recent call last):
      audioset_strong.core.errors.InputError: top_k = 0: must be a whole number, at least 1
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} = {value!r}: must be a whole number, at least {least}")


def first_line(error: Exception) -> str:
    """The first line of an exception's message; TensorFlow's messages have many lines.

    Example:
      >>> first_line(ValueError("no such op [Op:X]\\n  in a graph"))
      'no such op [Op:X]'
    """
    return str(error).strip().partition("\n")[0]
