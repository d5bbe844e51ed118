"""What every binary shares: its entry point and the way it reports a user's mistake."""

import sys
from collections.abc import Callable, Sequence

from absl import app

from audioset_strong import errors

USER_ERROR_EXIT_CODE = 2


def run(main: Callable[[Sequence[str]], object]) -> None:
    """Runs `main(argv)` under absl; an `InputError` becomes one line on stderr and exit code 2."""

    def guarded(argv: Sequence[str]) -> None:
        if len(argv) > 1:
            message = f"unexpected argument {argv[1]!r}: this command takes flags only (--help)"
            sys.exit(_report(errors.InputError(message)))
        try:
            main(argv)
        except errors.InputError as error:
            sys.exit(_report(error))

    app.run(guarded)


def _report(error: errors.InputError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return USER_ERROR_EXIT_CODE
