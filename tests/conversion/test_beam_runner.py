"""Apache Beam instead of local processes: the same records. Needs the extra `beam`."""

import pathlib
import sys
import types

import pytest

from audioset_strong.conversion import converter
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


def test_options_reach_the_runner_also_those_that_only_the_runner_knows(
    request_, tmp_path, monkeypatch
):
    beam = pytest.importorskip("apache_beam", reason="needs the extra beam")
    from apache_beam.options import pipeline_options as pipeline_options

    seen = []

    class Recording(beam.runners.DirectRunner):
        def run_pipeline(self, pipeline, options):
            flink = options.view_as(pipeline_options.FlinkRunnerOptions)
            seen.append((flink.flink_master, options.get_all_options(retain_unknown_options=True)))
            return super().run_pipeline(pipeline, options)

    module = types.ModuleType("recording_runner")
    module.Recording = Recording
    monkeypatch.setitem(sys.modules, "recording_runner", module)
    request = changed(
        request_,
        output_dir=str(tmp_path),
        runner="recording_runner.Recording",
        beam_options=("--flink_master=cluster:8081", "--only_the_job_server_knows=7"),
    )
    converter.convert(request)
    ((master, options),) = seen
    assert master == "cluster:8081"
    assert str(options["only_the_job_server_knows"]) == "7"
    assert (tmp_path / "d" / "dataset_info.json").exists()


def test_a_runner_that_cannot_run_is_the_users_to_mend(request_, tmp_path):
    pytest.importorskip("apache_beam", reason="needs the extra beam")
    for change in ({"runner": "NoSuchRunner"}, {"beam_options": ("--direct_num_workers=x",)}):
        request = changed(request_, output_dir=str(tmp_path), runner="DirectRunner")
        with pytest.raises(errors.InputError, match=r"runner '\w+': \S") as raised:
            converter.convert(changed(request, **change))
        assert "\n" not in str(raised.value)


def test_without_beam_the_extra_is_named(request_, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    request = changed(request_, output_dir=str(tmp_path), runner="DirectRunner")
    with pytest.raises(errors.InputError, match=r"pip install 'apache-beam"):
        converter.convert(request)
