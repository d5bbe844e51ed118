"""The one exception for mistakes that a user can correct."""


class InputError(ValueError):
    """Bad input: a file, flag, gin binding, label or argument that the user must change.

    The message is one line that names what is wrong (file, line, value) and what would be right.
    `cli.run` prints it without a traceback and exits with a non-zero code.
    """
