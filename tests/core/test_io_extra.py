"""What needs tensorflow-io says so in one line where there is none."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from audioset_strong.audio import decoding
from audioset_strong.core import errors, files, io_extra
from tests.optional import hide_tensorflow_io, needs_tensorflow_io

_ABSENT = "sys.modules['tensorflow_io'] = None"
_INSTALL = (
    "; pip install 'tensorflow==2.17.*' 'tensorflow-io==0.37.1' (Python 3.10 to 3.12; it takes "
    "TensorFlow 2.17 "
)
_CONVERSION = ("--weak_csv=weak.csv", "--class_labels=classes.csv", "--output_dir=data", "--name=x")
_TRAINING = ("--workdir=run", "--gin_file=table1/strong_67k.gin")


@pytest.fixture
def directory(tmp_path):
    """A directory with the metadata of a clip, and its audio."""
    (tmp_path / "classes.csv").write_text("index,mid,display_name\n0,/m/00,class 0\n")
    (tmp_path / "weak.csv").write_text('a_bcdefghij, 0.000, 10.000, "/m/00"\n')
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    soundfile.write(tmp_path / "a_bcdefghij.wav", noise, 16_000)
    return tmp_path


def _run(server, directory, tool, *arguments, prelude=_ABSENT):
    """Runs a tool in a process of its own, as file systems stay once they are registered."""
    prelude = f"import os, sys; os.chdir({str(directory)!r}); {prelude}"
    process = server.start(tool, *arguments, prelude=prelude)
    return process.wait(), process.stderr


def _check_line(code, stderr, named):
    (line,) = stderr.splitlines()
    assert line.startswith("error: ")
    assert f"{named} needs tensorflow-io, which is not installed{_INSTALL}" in line
    assert code == 2


@pytest.mark.parametrize(
    ("tool", "arguments", "named"),
    [
        ("convert", ("--audio_dir=s3://bucket/audio", *_CONVERSION), "s3://bucket/audio: s3://"),
        ("train", ("--data_dir=az://account/data", *_TRAINING), ": az://"),
        (
            "convert",
            ("--audio_dir=.", "--decoder=tensorflow_io", *_CONVERSION),
            "decoder 'tensorflow_io'",
        ),
    ],
)
def test_a_command_names_the_path_or_flag_and_the_extra(server, directory, tool, arguments, named):
    _check_line(*_run(server, directory, tool, *arguments), named)
    assert not (directory / "data").exists()


def test_the_line_is_all_there_is_where_tensorflow_is_imported_for_it(directory):
    tool = "inspect_records"
    program = f"import sys; {_ABSENT}; from audioset_strong.tools import {tool}; {tool}.run()"
    command = [sys.executable, "-c", program, "--dataset=hdfs://host/data"]
    # Set, this would switch off what keeps TensorFlow quiet.
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=directory, env=environment
    )
    _check_line(done.returncode, done.stderr, "error: hdfs://host/data: hdfs://")


def test_everything_else_works_without_it(server, directory):
    arguments = ("--audio_dir=.", *_CONVERSION, "--encoding=flac")
    code, stderr = _run(server, directory, "convert", *arguments)
    assert code == 0, stderr
    code, stderr = _run(server, directory, "inspect_records", "--dataset=data/x", "--verify")
    assert code == 0, stderr


def test_one_that_does_not_fit_tensorflow_is_named_with_both_versions(server, directory):
    # As 0.37.1 behaves under TensorFlow 2.18 and newer: it warns, and registers no file system.
    package = directory / "packages" / "tensorflow_io"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import warnings\n__version__ = '0.37.1'\nwarnings.warn('unable to load plugins')\n"
    )
    _, stderr = _run(
        server,
        directory,
        "inspect_records",
        "--dataset=s3://bucket/data",
        prelude=f"sys.path.insert(0, {str(package.parent)!r})",
    )
    (line,) = stderr.splitlines()
    assert "whose version 0.37.1 does not work with TensorFlow 2." in line
    assert _INSTALL in line


def test_a_decoder_that_is_missing_is_no_damaged_file(directory, monkeypatch):
    path = str(directory / "a_bcdefghij.wav")
    assert len(decoding.load(path)) == 16_000
    hide_tensorflow_io(monkeypatch)
    assert not io_extra.available()
    with pytest.raises(errors.InputError, match=r"^decoder 'tensorflow_io' needs tensorflow-io, "):
        decoding.load(path, decoder=decoding.TENSORFLOW_IO)


@needs_tensorflow_io
def test_with_it_its_file_systems_are_there():
    schemes = files.gfile("s3://bucket/data").get_registered_schemes()
    assert set(io_extra.SCHEMES) <= set(schemes)
