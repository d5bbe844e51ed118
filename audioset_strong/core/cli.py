"""What every binary shares: its entry point, its help, and how it reports a user's mistake."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags

from audioset_strong.core import errors

USER_ERROR_EXIT_CODE = 2


def run(main: Callable[[list[str]], object], positional: bool = False) -> None:
    """Runs `main(argv)` under absl; a user's mistake becomes one line on stderr and exit code 2.

    Args:
      main: a function of the binary's module, whose docstring and flags `--help` shows.
      positional: whether the command takes arguments besides flags; `main` gets them behind
        argv[0].
    """
    # TensorFlow, imported by `main`, speaks of devices and plugins at length. Its errors reach
    # Python as exceptions, so nothing is lost.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arguments = sys.argv[1:]
    if any(argument in ("--help", "-help", "-h") for argument in arguments):
        try:
            print(_help(main), flush=True)
        except BrokenPipeError:  # piped to `head` or `less`: what they want to see, they have
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return

    def guarded(argv: Sequence[str]) -> None:
        if len(argv) > 1 and not positional:
            _fail(f"unexpected argument {argv[1]!r}: this command takes flags only (--help)")
        # An exception rather than an end at once, so that child processes are ended too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            main(list(argv))
        except errors.InputError as error:
            _fail(str(error))
        except RuntimeError as error:
            # What gin raises where a function is called whose required parameters are not bound.
            if not str(error).startswith("Required bindings for"):
                raise
            _fail(str(error))
        except KeyboardInterrupt:
            print("interrupted; what was finished is kept", file=sys.stderr)
            sys.exit(128 + signal.SIGINT)

    app.run(guarded, flags_parser=_parse_flags)


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _fail(f"{' '.join(str(error).split())} (--help)")


def _help(main: Callable[[list[str]], object]) -> str:
    # absl's own help shows the flags of the script that was started, and a console script has none.
    module = sys.modules[main.__module__]
    name = os.path.basename(sys.argv[0])
    shown = flags.FLAGS.module_help(module)
    described = "\n".join(shown.strip().splitlines()[1:])
    return f"{(module.__doc__ or '').strip()}\n\nFlags of {name}:\n{described}"


def _fail(message: str) -> NoReturn:
    # gin appends which configurables it was calling: of no use to whoever mends a flag or a file.
    message = message.partition("\n  In call to configurable")[0]
    print(f"error: {message}", file=sys.stderr)
    sys.exit(USER_ERROR_EXIT_CODE)
