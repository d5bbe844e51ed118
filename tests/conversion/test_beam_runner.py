"""Apache Beam instead of local processes: the same records. Needs the extra `beam`."""

import pathlib
import pickle
import socket
import sys

import pytest

from audioset_strong.conversion import beam_options, converter, shard_writing, work_directory
from audioset_strong.core import errors
from tests.audio_files import melody, write
from tests.datasets import changed, conversion_request

RATE = 16_000


@pytest.fixture(scope="module")
def request_(tmp_path_factory):
    root = tmp_path_factory.mktemp("beam")
    for i in range(12):
        write(root / "audio" / f"clip{i}_0.wav", melody(0.5, RATE, i), RATE)
    (root / "audio" / "clip12_0.wav").write_text("<html>")
    (root / "classes.csv").write_text('index,mid,display_name\n0,/m/0a,"A"\n')
    rows = "".join(f'clip{i}, 0.000, 10.000, "/m/0a"\n' for i in range(14))
    (root / "weak.csv").write_text("# YTID, ...\n" + rows)
    (root / "strong.tsv").write_text("clip1_0\t0.25\t0.5\t/m/0a\n")
    return conversion_request(
        audio_dirs=(f"{root}/audio",),
        class_labels=(f"{root}/classes.csv",),
        output_dir=f"{root}/local",
        name="d",
        weak_csvs=(f"{root}/weak.csv",),
        strong_tsvs=(f"{root}/strong.tsv",),
        num_shards=3,
        num_workers=1,
    )


def contents(directory):
    return {path.name: path.read_bytes() for path in pathlib.Path(directory, "d").iterdir()}


@pytest.mark.parametrize(
    "options",
    [
        (),
        pytest.param(
            ("--direct_num_workers=2", "--direct_running_mode=multi_processing"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["one process", "two processes"],
)
def test_beam_writes_the_same_bytes_as_local_processes(request_, tmp_path, options):
    pytest.importorskip("apache_beam", reason="needs the extra beam")
    converter.convert(request_)
    with_beam = changed(
        request_, output_dir=str(tmp_path), runner="DirectRunner", beam_options=options
    )
    converter.convert(with_beam)
    assert contents(tmp_path) == contents(request_.output_dir)


def test_beam_writes_through_any_file_system_and_in_any_encoding(request_, tmp_path):
    pytest.importorskip("apache_beam", reason="needs the extra beam")
    local = changed(request_, output_dir=str(tmp_path / "local"), encoding="log_mel")
    converter.convert(local)
    with_beam = changed(local, output_dir=f"file://{tmp_path}/beam", runner="DirectRunner")
    converter.convert(with_beam)
    assert contents(tmp_path / "beam") == contents(tmp_path / "local")


def test_paths_are_relative_to_where_the_conversion_was_started(request_, tmp_path, monkeypatch):
    """Workers of a cluster are started somewhere else, as the second runner is."""
    pytest.importorskip("apache_beam", reason="needs the extra beam")
    from audioset_strong.conversion import beam_runner

    relative = changed(request_, audio_dirs=("audio",), output_dir=str(tmp_path / "local"))
    monkeypatch.chdir(pathlib.Path(request_.audio_dirs[0]).parent)
    converter.convert(relative)
    run, other = beam_runner.run, tmp_path / "other"
    other.mkdir()

    def elsewhere(shards, *arguments, **settings):
        shards = list(shards)
        monkeypatch.chdir(other)
        run(shards, *arguments, **settings)

    monkeypatch.setattr(beam_runner, "run", elsewhere)
    with_beam = changed(relative, output_dir=str(tmp_path / "beam"), runner="DirectRunner")
    converter.convert(with_beam)
    assert contents(tmp_path / "beam") == contents(tmp_path / "local")


def test_workers_that_do_not_see_the_audio_are_told_of(request_, tmp_path, monkeypatch):
    """Otherwise all clips of their shards would be missing from the dataset."""
    pytest.importorskip("apache_beam", reason="needs the extra beam")
    from audioset_strong.conversion import beam_runner

    run, audio = beam_runner.run, pathlib.Path(request_.audio_dirs[0])

    def unmounted(*arguments, **settings):
        audio.rename(tmp_path / "unmounted")
        try:
            run(*arguments, **settings)
        finally:
            (tmp_path / "unmounted").rename(audio)

    monkeypatch.setattr(beam_runner, "run", unmounted)
    with_beam = changed(request_, output_dir=str(tmp_path / "out"), runner="DirectRunner")
    with pytest.raises(errors.InputError, match=r"clip\d+_0.wav: a worker on \S+ sees neither it"):
        converter.convert(with_beam)


def test_a_worker_that_outlived_its_run_writes_nothing_into_another_conversion(
    request_, tmp_path, monkeypatch
):
    pytest.importorskip("apache_beam", reason="needs the extra beam")
    from audioset_strong.conversion import beam_runner

    orphaned = []
    with monkeypatch.context() as patched:
        patched.setattr(beam_runner, "run", lambda shards, *_, **__: orphaned.extend(shards))
        with pytest.raises(errors.InputError, match="cannot be written"):  # for no shard was
            converter.convert(changed(request_, output_dir=str(tmp_path), runner="DirectRunner"))
    other = changed(request_, output_dir=str(tmp_path), overwrite=True, sample_rate=8000)
    write_shard, refused = shard_writing.write_shard, []

    def beside_orphans(path, pieces, **settings):
        """The first shard is converted once more behind the pieces and before they are joined."""
        pieces = list(pieces)
        for shard in orphaned[:1] if not refused else ():
            job = tmp_path / "job"
            job.write_bytes(pickle.dumps(shard))
            monkeypatch.setattr(shard_writing, "write_shard", write_shard)
            try:
                beam_runner._write(str(job))
            except errors.InputError as error:
                refused.append(str(error))
            monkeypatch.setattr(shard_writing, "write_shard", beside_orphans)
        write_shard(path, pieces, **settings)

    # As if the orphan had been decoding when the other conversion was begun.
    check, calls = work_directory.check_begun, []

    def check_later(directory, fingerprint):
        calls.append(fingerprint)
        if len(calls) > 1:
            check(directory, fingerprint)

    monkeypatch.setattr(work_directory, "check_begun", check_later)
    monkeypatch.setattr(shard_writing, "write_shard", beside_orphans)
    converter.convert(other)
    assert len(refused) == 1
    assert "another conversion has been begun" in refused[0]
    monkeypatch.undo()
    converter.convert(changed(other, output_dir=str(tmp_path / "alone"), overwrite=False))
    assert contents(tmp_path) == contents(tmp_path / "alone")


OWN_RUNNER = """
import pathlib
import apache_beam as beam
from apache_beam.options import pipeline_options

class OwnOptions(pipeline_options.PipelineOptions):
    @classmethod
    def _add_argparse_args(cls, parser):
        parser.add_argument("--seen_in")

class Recording(beam.runners.DirectRunner):
    def run_pipeline(self, pipeline, options):
        master = options.view_as(pipeline_options.FlinkRunnerOptions).flink_master
        pathlib.Path(options.view_as(OwnOptions).seen_in).write_text(master)
        return super().run_pipeline(pipeline, options)
"""


def test_options_reach_the_runner_also_those_that_its_module_declares(
    request_, tmp_path, monkeypatch
):
    pytest.importorskip("apache_beam", reason="needs the extra beam")
    (tmp_path / "own_runner.py").write_text(OWN_RUNNER)
    monkeypatch.syspath_prepend(tmp_path)
    request = changed(
        request_,
        output_dir=str(tmp_path),
        runner="own_runner.Recording",
        beam_options=("--flink_master=[auto]", f"--seen_in={tmp_path}/seen"),
    )
    converter.convert(request)
    assert (tmp_path / "seen").read_text() == "[auto]"
    assert (tmp_path / "d" / "dataset_info.json").exists()


def test_a_job_server_is_asked_for_the_options_that_it_knows():
    pytest.importorskip("apache_beam", reason="needs the extra beam")
    from apache_beam.portability.api import beam_job_api_pb2
    from apache_beam.runners.portability import local_job_service

    class Server(local_job_service.LocalJobServicer):
        def DescribePipelineOptions(self, *_):  # noqa: N802
            known = beam_job_api_pb2.PipelineOptionDescriptor(name="parallelism")
            return beam_job_api_pb2.DescribePipelineOptionsResponse(options=[known])

    server = Server()
    endpoint = f"--job_endpoint=localhost:{server.start_grpc_server()}"
    try:
        beam_options.check("PortableRunner", (endpoint, "--parallelism=4"))
        with pytest.raises(errors.InputError, match=r"no such option: --paralle$"):
            beam_options.check("PortableRunner", (endpoint, "--parallelism=4", "--paralle=4"))
    finally:
        server.stop()


def test_a_server_that_does_not_answer_is_named_before_any_work(request_, tmp_path, monkeypatch):
    pytest.importorskip("apache_beam", reason="needs the extra beam")
    pytest.importorskip("distributed", reason="needs the extra beam")
    monkeypatch.setattr(beam_options, "_REACHED_S", 1.0)
    dask = "apache_beam.runners.dask.dask_runner.DaskRunner"
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        silent_port, closed_port = silent.getsockname()[1], closed.getsockname()[1]
        for runner, option, message in [
            ("PortableRunner", f"job_endpoint=127.0.0.1:{closed_port}", "cannot be reached"),
            ("PortableRunner", f"job_endpoint=127.0.0.1:{silent_port}", "as a job server does"),
            ("PortableRunner", "environment_type=LOOPBACK", "give the job server"),
            ("FlinkRunner", f"flink_master=127.0.0.1:{closed_port}", "cannot be reached"),
            ("SparkRunner", f"spark_master_url=spark://127.0.0.1:{closed_port}", "cannot be rea"),
            (dask, f"dask_client_address=tcp://127.0.0.1:{closed_port}", "cannot be reached"),
            (dask, f"dask_client_address=tcp://127.0.0.1:{silent_port}", "as a scheduler of dask"),
            (dask, "dask_client_address=no address", "as a scheduler of dask"),
            (dask, f"dask_scheduler_file={tmp_path}/nowhere.json", "nowhere.json: no such file"),
        ]:
            request = changed(
                request_,
                output_dir=str(tmp_path / "out"),
                runner=runner,
                beam_options=(f"--{option}",),
            )
            with pytest.raises(errors.InputError, match=message) as raised:
                converter.convert(request)
            assert "\n" not in str(raised.value)
            assert str(raised.value).startswith(f"runner '{runner}': ")
    assert not (tmp_path / "out").exists()


def test_a_runner_that_cannot_run_is_the_users_to_mend(request_, tmp_path):
    pytest.importorskip("apache_beam", reason="needs the extra beam")
    for change in (
        {"runner": "NoSuchRunner"},
        {"runner": "no.such.Runner"},
        {"beam_options": ("--direct_num_workers=x",)},
        {"beam_options": ("--direct_num_worker=2",)},
        {"beam_options": ("direct_num_workers=2",)},
    ):
        request = changed(request_, output_dir=str(tmp_path), runner="DirectRunner")
        with pytest.raises(errors.InputError, match=r"runner '[\w.]+': \S") as raised:
            converter.convert(changed(request, **change))
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "d").exists()


def test_without_beam_the_extra_is_named(request_, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    request = changed(request_, output_dir=str(tmp_path), runner="DirectRunner")
    with pytest.raises(errors.InputError, match=r"pip install 'apache-beam"):
        converter.convert(request)
