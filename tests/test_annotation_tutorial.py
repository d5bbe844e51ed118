"""docs/annotation_tutorial.md: its blocks run after a small demo, and do what the text says."""

import csv
import pathlib

import pandas as pd
import pytest

from tests import processes, tutorials

_PAGE = "annotation_tutorial.md"
# As demo.sh calls them, at a size at which nothing is learnt.
_CLASSES = (
    "--class_labels=demo_output/corpus/metadata/class_labels_indices.csv "
    "--class_labels=demo_output/corpus/metadata/mid_to_display_name.tsv"
)
_CONVERT = f"convert --output_dir=demo_output/data --num_shards=2 {_CLASSES}"
_TRAIN = (
    "--audio=demo_output/corpus/audio/train --weak_csv=demo_output/corpus/metadata/weak_train.csv"
)
_DEMO = (
    "make_corpus --output_dir=demo_output/corpus --train_weak_clips=32 --train_strong_clips=16 "
    "--eval_clips=12",
    f"{_CONVERT} --name=train_weak {_TRAIN} --validation_share=0.2",
    f"{_CONVERT} --name=train_strong {_TRAIN} --select=strong --validation_share=0.2 "
    "--strong_tsv=demo_output/corpus/metadata/strong_train.tsv "
    "--negatives=demo_output/corpus/metadata/train_negatives.tsv",
    f"{_CONVERT} --name=eval --audio=demo_output/corpus/audio/eval "
    "--weak_csv=demo_output/corpus/metadata/eval_weak.csv "
    "--strong_tsv=demo_output/corpus/metadata/eval_strong.tsv "
    "--negatives=demo_output/corpus/metadata/eval_negatives.tsv",
    "train --workdir=demo_output/runs/weak_1_8m --data_dir=demo_output/data "
    "--gin_file=table1/weak_1_8m.gin --gin_file=demo/pretrain.gin --gin_file=demo/small.gin "
    "--gin_param=train.total_steps=2 --gin_param=train.checkpoint_every=2",
    "evaluate --workdir=demo_output/runs/weak_1_8m --eval_data=demo_output/data/eval "
    "--validation_data=demo_output/data/train_strong_validation --run_once",
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A directory in which the tutorial was followed after a demo, and what it printed."""
    directory = tmp_path_factory.mktemp("round")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        with processes.Server() as server:
            for line in _DEMO:
                tool, *arguments = line.split()
                process = server.start(tool, *arguments)
                assert process.wait() == 0, f"{line}\n{process.stderr}"
            printed, _ = tutorials.follow(
                _PAGE,
                server,
                replaced={
                    "--num_clips=200": "--num_clips=12",
                    "train.total_steps = 300": "train.total_steps = 4",
                    "train.checkpoint_every = 100": "train.checkpoint_every = 2",
                },
            )
    return directory, printed


def test_every_command_is_one_of_the_projects_tools():
    assert tutorials.tools(_PAGE) == {
        *("select_clips", "import_answers", "convert", "train", "evaluate", "report")
    }


def _column(path: pathlib.Path, name: str) -> set[str]:
    with open(path, newline="") as file:
        return {row[name] for row in csv.DictReader(file, delimiter="\t")}


@pytest.mark.slow
def test_what_was_chosen_is_marked_imported_and_converted(done):
    directory, printed = done
    chosen = set(pd.read_csv(directory / "round/ask/questions.csv")["clip_id"])
    assert len(chosen) == 12
    assert printed["python"] == "Anna has marked the sounds of 12 clips\n"
    assert "12 clips with strong labels" in printed["import_answers"]
    assert _column(directory / "round/metadata/strong.tsv", "segment_id") == chosen
    manifest = pd.read_csv(directory / "round/data/train_strong/manifest.csv")
    assert set(manifest.loc[manifest["status"] == "written", "clip_id"]) == chosen
    held_out = pd.read_csv(directory / "demo_output/data/train_strong_validation/manifest.csv")
    assert not chosen & set(held_out["clip_id"])


@pytest.mark.slow
def test_the_labels_are_those_that_the_corpus_has_of_these_clips(done):
    directory, _ = done
    columns = ["segment_id", "start_time_seconds", "end_time_seconds", "label"]
    ours, corpus = (
        pd.read_csv(directory / path, sep="\t").set_index("segment_id")
        for path in ("round/metadata/strong.tsv", "demo_output/corpus/metadata/strong_train.tsv")
    )
    both = corpus.index.intersection(ours.index).unique()
    assert len(both) > 0
    for clip_id in both:
        found, expected = (
            each.loc[[clip_id]].reset_index()[columns].sort_values(columns, ignore_index=True)
            for each in (ours, corpus)
        )
        pd.testing.assert_frame_equal(found, expected)


@pytest.mark.slow
def test_the_report_has_the_model_before_and_after(done):
    directory, printed = done
    table = pd.read_csv(directory / "round/report/table1.csv").set_index("row")
    rows = table.loc[["weak_1_8m", "plus_strong"]]
    assert rows["strong_eval_lwlrap"].notna().all()
    assert rows["chosen_by"].tolist() == ["validation"] * 2
    assert rows["not_comparable"].isna().all()
    assert "| Weak-1.8M |" in printed["bash"]
    assert "+Strong over Weak-1.8M" in printed["bash"]
