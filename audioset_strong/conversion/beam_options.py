"""The runner of Apache Beam and its options, checked before any work (extra `beam`)."""

import contextlib
import copy
import dataclasses
import io
import os
import re
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from audioset_strong.core import errors, extras

_REACHED_S = 20.0  # within which a server must answer
_NO_LIMIT_S = 10**7
_DASK = "apache_beam.runners.dask."
_HOST_AND_PORT = re.compile(r"(?:[a-z]+://)?(\[[0-9a-fA-F:]+\]|[^\[\]/:,]+):(\d+)/?")
# The options that say where a server is, as Beam names their values.
_ADDRESSES = {
    "job_endpoint": "job_endpoint",
    "artifact_endpoint": "artifact_endpoint",
    "flink_master": "flink_master",
    "spark_master_url": "spark_master_url",
    "address": "dask_client_address",
}


@dataclasses.dataclass(frozen=True)
class OpenedRunner:
    """A runner that can be given a pipeline.

    Attributes:
      runner: of Beam.
      options: Beam's `PipelineOptions`.
      is_portable: whether it hands the pipeline to a job server.
      is_dask: whether it is the runner of dask.
    """

    runner: Any
    options: Any
    is_portable: bool
    is_dask: bool


def check(runner: str, options: Sequence[str]) -> None:
    """Checks that a pipeline could be given to a runner, and that its servers answer.

    Args:
      runner: a name that Beam knows, such as "DirectRunner", or the path of a class.
      options: flags of that runner.

    Raises:
      errors.InputError: Beam is not installed, the runner or an option is unknown, a value is
        wrong, or a server does not answer within half a minute.
    """
    opened = open_runner(runner, options)
    with told(runner):
        _check_servers(opened)


def open_runner(runner: str, options: Sequence[str]) -> OpenedRunner:
    """Makes a runner and parses its options.

    Args:
      runner: see `check`.
      options: see `check`.

    Raises:
      errors.InputError: as of `check`, but for the servers. An option that only a job server can
        know, because the runner has yet to start it, is refused when the pipeline is handed over.
    """
    with told(runner):
        try:
            import apache_beam  # noqa: F401
            from apache_beam.options import pipeline_options
            from apache_beam.runners import runner as runners
        except ImportError as error:
            raise errors.InputError(f"Apache Beam is missing; {extras.advice('beam')}") from error
        for option in options:
            if not re.match(r"--\w", option):
                raise errors.InputError(
                    f"option {option!r}: must be a flag, such as --direct_num_workers=4"
                )
        made = runners.create_runner(runner)  # imports its module, which declares its options
        parsed, unknown = _parse(pipeline_options.PipelineOptions, options)
        opened = OpenedRunner(made, parsed, _is_portable(made), _is_dask(made))
        if unknown and not opened.is_portable:
            raise _unknown(unknown)
        if opened.is_portable:
            _ask_for_options(made, unknown)
            portable = parsed.view_as(pipeline_options.PortableOptions)
            if "job_server_timeout" not in _names(options):
                portable.job_server_timeout = _NO_LIMIT_S  # of the whole job, for some servers
        if opened.is_dask:
            _take_one_by_one(parsed)
        return opened


@contextlib.contextmanager
def told(runner: str) -> Iterator[None]:
    """Turns what Beam raises into one line that names the runner.

    Args:
      runner: its name.

    Raises:
      errors.InputError: anything is raised within the block.
    """
    try:
        yield
    except Exception as error:  # each runner has its own
        raise errors.InputError(f"runner {runner!r}: {_last_line(error)}") from error


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip()


def _parse(parser: Any, options: Sequence[str]) -> tuple[Any, list[str]]:
    """(parsed options, names of those that Beam does not know)."""
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):  # argparse would print all options there are
            parsed = parser(list(options))
            given = parsed.get_all_options(retain_unknown_options=True)
    except SystemExit as error:
        raise errors.InputError(stderr.getvalue().strip().rpartition("\n")[2]) from error
    return parsed, sorted(given.keys() - parser([]).get_all_options().keys())


def _names(options: Sequence[str]) -> set[str]:
    return {option.lstrip("-").partition("=")[0] for option in options}


def _unknown(names: Sequence[str]) -> errors.InputError:
    return errors.InputError(f"no such option: {', '.join(f'--{name}' for name in names)}")


def _is_portable(runner: Any) -> bool:
    from apache_beam.runners.portability import portable_runner

    return isinstance(runner, portable_runner.PortableRunner)


def _is_dask(runner: Any) -> bool:
    return any(base.__module__.startswith(_DASK) for base in type(runner).__mro__)


def _ask_for_options(runner: Any, unknown: Sequence[str]) -> None:
    """Has a portable runner refuse the options that its job server does not know either.

    Beam would drop them with a warning.
    """
    make_handle = runner.create_job_service_handle

    def make_strict_handle(*arguments: Any) -> Any:
        handle = make_handle(*arguments)
        get_options = handle.get_pipeline_options

        def get_checked_options() -> Any:
            taken = get_options()
            refused = [name for name in unknown if f"beam:option:{name}:v1" not in taken]
            if refused:
                raise _unknown(refused)
            return taken

        handle.get_pipeline_options = get_checked_options
        return handle

    runner.create_job_service_handle = make_strict_handle


def _take_one_by_one(options: Any) -> None:
    """Makes each element a task of dask; by default 128 are one."""
    from apache_beam.runners.dask import dask_runner

    dask = options.view_as(dask_runner.DaskOptions)
    if not (dask.npartitions or dask.partition_size):
        dask.partition_size = 1


def _check_servers(opened: OpenedRunner) -> None:
    """Raises if a server that the options name cannot be reached, or is of another kind."""
    given = opened.options.get_all_options(retain_unknown_options=True)
    for key, option in _ADDRESSES.items():
        match = _HOST_AND_PORT.match(given.get(key) or "")
        if match:
            _connect(f"--{option}={given[key]}", match[1].strip("[]"), int(match[2]))
    if opened.is_portable:
        _check_job_server(opened, given)
    if opened.is_dask:
        _check_scheduler(given)


def _connect(option: str, host: str, port: int) -> None:
    try:
        socket.create_connection((host, port), _REACHED_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise errors.InputError(f"{option} cannot be reached ({reason})") from error


def _check_job_server(opened: OpenedRunner, given: Mapping[str, Any]) -> None:
    """Asks a job server that runs already for its options."""
    from apache_beam.options import pipeline_options
    from apache_beam.runners.portability import portable_runner

    endpoint = given["job_endpoint"]
    if not endpoint and type(opened.runner) is portable_runner.PortableRunner:
        raise errors.InputError("give the job server, --beam_option=--job_endpoint=HOST:PORT")
    if not endpoint or endpoint == "embed":
        return
    options = copy.deepcopy(opened.options)
    options.view_as(pipeline_options.PortableOptions).job_server_timeout = _REACHED_S
    try:
        handle = opened.runner.create_job_service(options)
    except Exception as error:
        raise errors.InputError(
            f"--job_endpoint={endpoint} does not answer as a job server does"
        ) from error
    handle.get_pipeline_options()


def _check_scheduler(given: Mapping[str, Any]) -> None:
    """Connects to a scheduler of dask that runs already."""
    import distributed

    path = given["scheduler_file"]
    if path and not os.path.exists(path):
        raise errors.InputError(f"--dask_scheduler_file={path}: no such file")
    if not given["address"]:
        return
    ended, answered = threading.Event(), threading.Event()

    def connect() -> None:
        with contextlib.suppress(Exception):  # whatever dask makes of the address
            distributed.Client(given["address"], timeout=_REACHED_S, set_as_default=False).close()
            answered.set()
        ended.set()

    # In a thread, for a server that says nothing is waited for in spite of the timeout.
    threading.Thread(target=connect, daemon=True).start()
    ended.wait(_REACHED_S)
    if not answered.is_set():
        raise errors.InputError(
            f"--dask_client_address={given['address']} does not answer as a scheduler of dask does"
        )
