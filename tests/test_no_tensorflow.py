"""The commands that do their work, or find a mistake, without importing TensorFlow."""

import json
import subprocess
import sys

import pytest

from tests import audio_files, datasets, workdirs

# Runs each command in a fork of one process, so that what all of them import is imported once.
_PROGRAM = """
import importlib, json, os, sys
import pandas, pyarrow.parquet, scipy.special
assert "tensorflow" not in sys.modules
for name, *arguments in json.load(sys.stdin):
    sys.stdout.flush()
    if child := os.fork():
        os.waitpid(child, 0)
        continue
    os.dup2(1, 2)
    sys.argv = [name, *arguments]
    try:
        importlib.import_module(f"audioset_strong.tools.{name}").run()
    except SystemExit:
        pass
    found = {"tensorflow", "keras", "tensorboard"} & {*sys.modules}
    print(f"{name} imported {sorted(found)}\\nEND", flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Evaluated runs, a dataset with its index, recordings, labels, and an empty folder."""
    place = tmp_path_factory.mktemp("place")
    (place / "empty").mkdir()
    workdirs.write_run(place / "runs", "weak_67k", {"strong_eval/d_prime": 1.5})
    clips = [datasets.make_clip(i, 2.0, (i % 3,), None, None) for i in range(6)]
    datasets.write_dataset(place / "data", clips)
    (place / "audio").mkdir()
    audio_files.write(place / "audio" / "a.wav", audio_files.melody(2.0, 16_000), 16_000)
    (place / "labels").mkdir()
    (place / "labels" / "a.txt").write_text("0.5\t1.5\tBark\n")
    (place / "strong.tsv").write_text(
        "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\nabcdefghijk_0\t0.5\t1.5\t/m/a\n"
    )
    (place / "classes.tsv").write_text("/m/a\tBark\n")
    return place


def _commands(place):
    dataset = f"--dataset={place / 'data'}"
    empty = place / "empty"
    return {
        # What is to be seen in the output: the arguments.
        "contains no evaluated run": [
            "report",
            "--runs_dir",
            place / "empty",
            "--output_dir",
            "no",
        ],
        "table1.tex": ["report", "--runs_dir", place / "runs", "--output_dir", place / "report"],
        "0: 2.000 s at 16000 Hz, peak ": ["inspect_records", dataset, "--first=2"],
        f"-> {place / 'wavs'}": [
            "inspect_records",
            dataset,
            "--clip=video000000_0",
            f"--export_dir={place / 'wavs'}",
        ],
        "mid\tdisplay_name\t": ["inspect_records", dataset, "--counts"],
        "no converted dataset": ["inspect_records", f"--dataset={empty}"],
        "classes.csv": [
            "label_stats",
            f"--strong_tsv={place / 'strong.tsv'}",
            f"--class_labels={place / 'classes.tsv'}",
            f"--output_dir={place / 'stats'}",
        ],
        "1 of 1 recordings have labels": [
            "import_labels",
            f"--audio_dir={place / 'audio'}",
            f"--labels_dir={place / 'labels'}",
            f"--output_dir={place / 'metadata'}",
        ],
        "empty: no converted": [
            "select_clips",
            f"--dataset={empty}",
            "--policy=strong",
            "--output_dir=no",
        ],
        f"{place / 'ask' / 'questions.csv'}": [
            "select_clips",
            dataset,
            "--policy=strong",
            "--num_clips=3",
            f"--output_dir={place / 'ask'}",
        ],
        "none/questions.csv: cannot": [
            "import_answers",
            "--selection=none",
            "--answers=a",
            "--output_dir=no",
        ],
        "no audio file in": ["predict", "--model=none", empty],
        "none.npz: no such file": ["measure_scores", "--scores=none.npz", "--output_dir=no"],
        "none.tsv: cannot be read": ["frame_labels", "--strong_tsv=none.tsv", "--output=no"],
    }


def test_commands_that_need_no_tensorflow_do_not_import_it(place):
    commands = _commands(place)
    arguments = json.dumps([[str(word) for word in words] for words in commands.values()])
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=arguments,
        capture_output=True,
        text=True,
        check=True,
    )
    printed = done.stdout.split("\nEND\n")
    assert printed.pop() == ""
    for text, (seen, words) in zip(printed, commands.items(), strict=True):
        assert seen in text, text
        assert f"{words[0]} imported []" in text, text
