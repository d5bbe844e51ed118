"""What every binary shares: its entry point, its help, how it reports a mistake, and flag groups.

Flags that several tools have are declared here once. A tool calls for the groups that it needs at
module level, and reads their values in `main`:

    _METADATA = cli.metadata_flags("weak_csv", "strong_tsv")
    _GIN = cli.gin_flags()

    def main(argv):
        files = metadata_files.MetadataFiles(**_METADATA())
        text = gin_files.parse(*_GIN())

The flags belong to the module that calls, so `--help` shows them among its own.
"""

import atexit
import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NoReturn

from absl import app, flags

from audioset_strong.core import choices, commands, errors, quiet_import

USER_ERROR_EXIT_CODE = 2
# Flags that had other names before, in the commands that have the new one.
_NEW_FLAGS = {"clips": "clip_list", "data_dir": "dataset"}

flags.disclaim_key_flags()  # flags declared here are those of the module that calls

# The metadata flags: the field of `MetadataFiles` that each fills, and its help.
_SEVERAL = {
    "weak_csv": ("weak_csvs", "Weak label CSV"),
    "strong_tsv": ("strong_tsvs", "Strong label TSV"),
    "framed_tsv": ("framed_tsvs", "Framed label TSV"),
    "negatives": ("negatives", "TSV or CSV of clip ids and the labels absent from them"),
    "class_labels": (
        "class_labels",
        "List of classes, such as class_labels_indices.csv or mid_to_display_name.tsv",
    ),
}
_SINGLE = {
    "ontology": "The file ontology.json.",
    "clip_list": "File of clip ids, one a line; all other clips are left out.",
}
_COMBINE_CLASS_LABELS, _SKIP_BAD_ROWS = "combine_class_labels", "skip_bad_rows"
METADATA_FLAGS = (*_SEVERAL, *_SINGLE, _COMBINE_CLASS_LABELS, _SKIP_BAD_ROWS)


def metadata_flags(
    *names: str,
    required: Collection[str] = (),
    descriptions: Mapping[str, str] | None = None,
) -> Callable[[], dict[str, Any]]:
    """Declares flags that name metadata files.

    Args:
      names: of the flags, among `METADATA_FLAGS`.
      required: those that must be given.
      descriptions: name of a flag -> its help, where the usual one does not say enough.

    Returns:
      A function that gives, once the command line is parsed, the arguments of
      `labels.metadata_files.MetadataFiles`.
    """
    descriptions = descriptions or {}
    holders: dict[str, flags.FlagHolder] = {}
    for name in names:
        if name in _SEVERAL:
            field, text = _SEVERAL[name]
            text = f"{descriptions.get(name, text).rstrip('.')}; may be repeated."
            needed = name in required
            holders[field] = flags.DEFINE_multi_string(
                name, None if needed else [], text, required=needed
            )
        elif name == _COMBINE_CLASS_LABELS:
            text = (
                "The classes: those of any of the lists, or of all. Labels of other classes are "
                "left out and counted."
            )
            holders[name] = flags.DEFINE_enum(
                name, choices.UNION, choices.COMBINATIONS, descriptions.get(name, text)
            )
        elif name == _SKIP_BAD_ROWS:
            text = "Leave malformed metadata rows out, and list them."
            holders[name] = flags.DEFINE_bool(name, False, descriptions.get(name, text))
        else:
            text = descriptions.get(name, _SINGLE[name])
            holders[name] = flags.DEFINE_string(name, None, text, required=name in required)

    def arguments() -> dict[str, Any]:
        values = {field: holder.value for field, holder in holders.items()}
        return {
            field: tuple(value) if isinstance(value, list) else value
            for field, value in values.items()
        }

    return arguments


def gin_flags(
    example: str = "weak_strong_mixture.mu = 0.5",
) -> Callable[[], tuple[list[str], list[str]]]:
    """Declares --gin_file and --gin_param.

    Args:
      example: a binding, for the help.

    Returns:
      A function that gives (gin files, bindings) once the command line is parsed.
    """
    files = flags.DEFINE_multi_string(
        "gin_file",
        [],
        "Gin file, looked up from the working directory and in the project's gin folder; may be "
        "repeated.",
    )
    bindings = flags.DEFINE_multi_string(
        "gin_param", [], f"Gin binding, such as {example!r}; may be repeated."
    )
    return lambda: (files.value, bindings.value)


def model_flags(*, exported: bool = True) -> Callable[[], tuple[str, bool]]:
    """Declares --model and --ema.

    Args:
      exported: whether the model may be one that export.py wrote.

    Returns:
      A function that gives (path of the model, whether to take the moving average of its weights)
      once the command line is parsed.
    """
    text = "Checkpoint, workdir or sweep with a selected one, or exported model."
    if not exported:
        text = "Checkpoint, or workdir or sweep with a selected one."
    model = flags.DEFINE_string("model", None, text, required=True)
    ema = flags.DEFINE_bool("ema", False, "Take the moving average of a checkpoint's weights.")
    return lambda: (model.value, ema.value)


def workdir_flag(*, multiple: bool = False) -> flags.FlagHolder:
    """Declares --workdir, the directory of a training run; or of several, where `multiple`."""
    if multiple:
        return flags.DEFINE_multi_string(
            "workdir", None, "Workdir of a train.py run; may be repeated.", required=True
        )
    return flags.DEFINE_string("workdir", None, "Directory of this run.", required=True)


def data_dir_flag() -> flags.FlagHolder:
    """Declares --data_dir, the parent of the datasets that gin files name."""
    return flags.DEFINE_string(
        "data_dir", None, "Parent directory of the datasets that the gin files name.", required=True
    )


def dataset_flag(*, required: bool = True) -> flags.FlagHolder:
    """Declares --dataset, the directory of one converted dataset."""
    text = "Directory of a converted dataset."
    return flags.DEFINE_string("dataset", None, text, required=required)


def run(main: Callable[[list[str]], object], *, positional: bool = False) -> None:
    """Runs `main(argv)` under absl; a user's mistake becomes one line on stderr and exit code 2.

    Args:
      main: a function of the binary's module, whose docstring and flags `--help` shows.
      positional: whether the command takes arguments besides flags; `main` gets them behind
        argv[0].
    """
    # TensorFlow, imported by `main`, logs devices and plugins at length. Its errors reach Python as
    # exceptions, so nothing is lost. Whoever sets the level sees all that it lets through.
    if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        quiet_import.install()
        quiet_import.drop_notes()
    arguments = sys.argv[1:]
    # Several processes that train together take leave of each other in the teardown.
    if _is_program() and "TF_CONFIG" not in os.environ:
        # Registered first, so that it comes last of all that is done at exit.
        atexit.register(_leave_quickly)
    if any(argument in ("--help", "-help", "-h") for argument in arguments):
        write(_help(main))
        return

    def guarded(argv: Sequence[str]) -> None:
        if len(argv) > 1 and not positional:
            fail(f"unexpected argument {argv[1]!r}: this command takes flags only (--help)")
        # An exception rather than an immediate exit, so that child processes are ended too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            main(list(argv))
            sys.stdout.flush()
        except BrokenPipeError:
            if not _reader_is_gone():
                raise
            sys.exit(128 + signal.SIGPIPE)
        except errors.InputError as error:
            fail(str(error))
        except RuntimeError as error:
            # gin raises it where a function is called whose required parameters are not bound.
            if not str(error).startswith("Required bindings for"):
                raise
            fail(str(error))
        except KeyboardInterrupt:
            print("interrupted; finished work is kept", file=sys.stderr)
            sys.exit(128 + signal.SIGINT)

    global _exit_code
    try:
        app.run(guarded, flags_parser=_parse_flags)
    except SystemExit as end:
        _exit_code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise


def write(text: str) -> None:
    """Prints a text on stdout, as far as whoever reads there wants it."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _reader_is_gone()


def _reader_is_gone() -> bool:
    """Whether stdout is piped to a program that has ended, as `head` does; drops what is left."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False  # the broken pipe was another
    # Python would try once more at exit, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _is_program() -> bool:
    """Whether the process was started to run one of the project's tools, and nothing else."""
    main_module = sys.modules["__main__"]
    spec = getattr(main_module, "__spec__", None)  # of `python -m audioset_strong.tools.train`
    name = os.path.basename(getattr(main_module, "__file__", None) or "")
    return (
        name == commands.PREFIX
        or name.startswith(f"{commands.PREFIX}_")
        or (spec is not None and spec.name.startswith(f"{commands.PACKAGE}."))
    )


def _leave_quickly() -> None:
    """Ends the process without tearing TensorFlow down, which takes a second and saves nothing."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if "tensorflow" in sys.modules:
        os._exit(_exit_code)


_exit_code = 1  # of an error that nothing catches


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        for argument in argv[1:]:
            if argument.startswith("-") and os.path.lexists(argument):
                fail(f"{argument!r} is taken for a flag; write './{argument}', or -- before it")
        new = _NEW_FLAGS.get(error.flagname)
        if new is None or new not in flags.FLAGS:
            fail(f"{error} (--help)")
        fail(f"--{error.flagname} is now --{new} (--help)")
    except flags.Error as error:
        fail(f"{' '.join(str(error).split())} (--help)")


def _help(main: Callable[[list[str]], object]) -> str:
    # absl's own help shows the flags of the script that was started; a console script has none.
    module = sys.modules[main.__module__]
    name = os.path.basename(sys.argv[0])
    shown = flags.FLAGS.module_help(module)
    described = "\n".join(shown.strip().splitlines()[1:])
    text = f"{(module.__doc__ or '').strip()}\n\nFlags of {name}:\n{described}"
    return commands.as_typed(text)


def fail(message: str) -> NoReturn:
    """Ends the command with a line on stderr that tells the user what to correct."""
    # gin appends which configurables it was calling, which does not help to correct the mistake.
    message = message.partition("\n  In call to configurable")[0]
    print(f"error: {message}", file=sys.stderr)
    sys.exit(USER_ERROR_EXIT_CODE)
