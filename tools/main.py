"""One command for all: `audioset_strong train` is `audioset_strong_train`.

audioset_strong                     lists the commands
audioset_strong COMMAND --help      tells what one does, and its flags
audioset_strong completion bash     writes a script for the shell, to be sourced:
                                    source <(audioset_strong completion bash)

"""

import importlib
import sys

from audioset_strong.core import cli, commands


def main(argv: list[str]) -> None:
    """Runs the command that the first argument names.

    Args:
      argv: as `sys.argv`.
    """
    name, *rest = argv[1:] or ["--help"]
    if name in ("--help", "-help", "-h", "help"):
        cli.write(f"{__doc__}{commands.overview()}")
    elif name == "--version":
        from audioset_strong.core.version import VERSION

        cli.write(VERSION)
    elif name == "completion":
        shell = rest[0] if len(rest) == 1 else ""
        if shell not in commands.SHELLS:
            cli.fail(f"completion: give one of {', '.join(commands.SHELLS)}")
        flags_of_all = {each: commands.flags_of(each) for each in commands.names()}
        cli.write(commands.completion(shell, flags_of_all))
    elif name in commands.names():
        sys.argv = [f"{commands.PREFIX} {name}", *rest]
        importlib.import_module(f"{commands.PACKAGE}.{name}").run()
    else:
        cli.fail(f"{name!r} is no command; `{commands.PREFIX}` lists them")


def run() -> None:
    """Entry point of the console script."""
    main(sys.argv)


if __name__ == "__main__":
    run()
