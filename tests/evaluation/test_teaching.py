"""A teacher scores a dataset: what it writes, against its own scores; and students that use it."""

import json
import os
import shutil

import numpy as np
import pytest
from scipy import special

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import errors
from audioset_strong.evaluation import scoring, teaching
from audioset_strong.inputs import evaluation_grid, teacher_scores
from audioset_strong.inputs.training_sources import Source
from audioset_strong.labels.vocabularies import Vocabulary
from audioset_strong.records.dataset_info import DatasetInfo
from audioset_strong.training import checkpoints
from tests import toy_training, trained
from tests.datasets import CLASSES, VOCABULARY, make_clip, toy_clips, write_dataset


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return trained.write_workdir(tmp_path_factory.mktemp("runs") / "teacher")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Clips of all kinds: with several labels or none, without weak labels, of all lengths."""
    weak = [(0,), (1, 3), (), None, (2,), (0, 1, 2)]
    clips = [
        make_clip(
            i,
            seconds=(10.0, 4.0, 0.3)[i % 3],
            weak=weak[i % 6],
            segments=(),
            negatives=(3,) if i % 2 else None,
        )
        for i in range(30)
    ]
    return write_dataset(tmp_path_factory.mktemp("data") / "weak", clips, 3)


def _reference(teacher, data):
    """Frame logits by clip id, from the checkpoint itself; and the labels."""
    model = checkpoints.load_model(*checkpoints.resolve(teacher)).model
    found = {}
    for batch in evaluation_grid.grid_patches([data], batch_size=4).as_numpy_iterator():
        predict = scoring.batch_scorer(lambda log_mel: model(log_mel, training=False))
        logits = np.asarray(predict(batch), np.float64)
        for i, clip_id in enumerate(scoring.clip_ids(batch)):
            labels = {name: batch[name][i] for name in scoring.LABELS}
            found[clip_id] = (logits[i], labels)
    return found


def test_a_teacher_writes_what_its_model_says(teacher, data):
    [path] = teaching.teach(teacher, [data], name="first", max_missing_share=0.3)
    assert path == os.path.join(data, "teacher-first.parquet")
    got = teacher_scores.read(data, DatasetInfo.load(data), "first")
    reference = _reference(teacher, data)
    assert sorted(got.clip_ids.to_pylist()) == sorted(reference)
    clip_scores, candidates = {}, {}
    row = 0
    for i, clip_id in enumerate(got.clip_ids.to_pylist()):
        logits, labels = reference[clip_id]
        valid = labels["frame_valid"].copy()
        valid[0] = True
        assert got.num_frames[i] == valid.sum()
        weak = np.flatnonzero(labels["weak_labels"]) if labels["weak_known"] else []
        mine = slice(row, row + got.label_counts[i])
        assert got.labels[mine].tolist() == list(weak)
        np.testing.assert_allclose(got.frame_scores[mine], logits[:, weak].T, atol=1e-4)
        row += got.label_counts[i]
        clip_scores[i] = special.expit(logits[valid]).mean(axis=0)
        absent = labels["negative_labels"] & labels["negatives_known"]
        candidates[i] = labels["weak_known"] & ~labels["weak_labels"] & ~absent
    listed = np.repeat(np.arange(30), got.missing_counts)
    for k in range(CLASSES):
        clips = [i for i in candidates if candidates[i][k]]
        assert got.facts.candidates[k] == len(clips) > 3
        highest = sorted(clips, key=lambda i: -clip_scores[i][k])[: int(0.3 * len(clips))]
        mine = got.missing == k
        by_place = [clip for _, clip in sorted(zip(got.place[mine], listed[mine], strict=True))]
        assert by_place == highest


def test_it_is_written_again_in_the_same_way(teacher, data):
    contents = [
        teacher_scores.read_facts(data, name).content
        for name in ("one", "two")
        if teaching.teach(teacher, [data], name=name, batch_size=4 if name == "one" else 16)
    ]
    assert contents[0] == contents[1]


class TestRefusals:
    def test_another_class_list(self, teacher, tmp_path):
        other = Vocabulary(VOCABULARY.mids[::-1], VOCABULARY.names[::-1])
        data = write_dataset(tmp_path / "d", [make_clip(0)], 1, vocabulary=other)
        with pytest.raises(errors.InputError, match=r"trained with 4 classes, but .* has 4 or ano"):
            teaching.teach(teacher, [data], name="a")
        assert not os.path.exists(f"{data}/teacher-a.parquet")

    def test_another_front_end(self, tmp_path):
        rate = FrontEnd.at_sample_rate(8000)
        teacher = trained.write_workdir(tmp_path / "run", front_end=rate)
        data = write_dataset(tmp_path / "d", [make_clip(0)], 1)
        with pytest.raises(errors.InputError, match=r"run cannot score this dataset: .* 16000 Hz"):
            teaching.teach(teacher, [data], name="a")

    def test_no_weak_labels(self, teacher, tmp_path):
        data = write_dataset(tmp_path / "d", [make_clip(0, weak=None)], 1)
        with pytest.raises(errors.InputError, match=r"none of its 1 clips has weak labels"):
            teaching.teach(teacher, [data], name="a")

    def test_a_dataset_given_twice(self, teacher, data):
        with pytest.raises(errors.InputError, match=r"--dataset=.*/: given twice \(also as "):
            teaching.teach(teacher, [data, f"{data}/"], name="a")

    def test_the_second_dataset_is_looked_at_before_the_first_is_scored(
        self, teacher, data, tmp_path
    ):
        other = write_dataset(tmp_path / "d", [make_clip(0, weak=None)], 1)
        with pytest.raises(errors.InputError, match=r"none of its 1 clips has weak labels"):
            teaching.teach(teacher, [data, other], name="both")
        assert not os.path.exists(f"{data}/teacher-both.parquet")

    def test_a_damaged_shard(self, teacher, tmp_path):
        data = write_dataset(tmp_path / "d", [make_clip(i) for i in range(4)], 1)
        (shard,) = (tmp_path / "d").glob("*.tfrecord")
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
        with pytest.raises(errors.InputError, match=r"d-00000-of-00001.tfrecord: .*convert"):
            teaching.teach(teacher, [data], name="a")
        assert not list((tmp_path / "d").glob("teacher*"))

    @pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
    def test_an_impossible_share(self, teacher, data, share):
        with pytest.raises(errors.InputError, match=r"--max_missing_share=.*must lie in \[0, 1\)"):
            teaching.teach(teacher, [data], name="a", max_missing_share=share)

    def test_an_impossible_name(self, teacher, data):
        with pytest.raises(errors.InputError, match=r"teacher 'a/b': must be a name of letters"):
            teaching.teach(teacher, [data], name="a/b")


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """Toy clips that a trained model has scored, which knows what sounds when.

    The run of the model has a moving average of the weights too.
    """
    directory = tmp_path_factory.mktemp("toys")
    write_dataset(directory / "train", toy_clips(48), 2)
    workdir = directory / "teacher"
    toy_training.train(workdir, directory, total_steps=100, checkpoint_every=100, ema_decay=0.999)
    (workdir / "selection.json").write_text(json.dumps({"step": 100}))
    teaching.teach(str(workdir), [str(directory / "train")], name="first")
    return directory


def train_student(workdir, data, steps):
    """Trains a student, or goes on with one."""
    taught = Source(
        (str(data / "train"),),
        "pseudo_strong",
        weight=0.5,
        teacher="first",
        missing_share=0.05,
    )
    sources = [taught, Source((str(data / "train"),), "strong", 0.5)]
    toy_training.train(workdir, data, sources=sources, total_steps=steps, extend=True)


@pytest.fixture(scope="module")
def begun(toys, tmp_path_factory):
    """Ten steps of a student, and the directory of its data."""
    directory = tmp_path_factory.mktemp("student")
    shutil.copytree(toys / "train", directory / "train")
    train_student(directory / "run", directory, 10)
    return directory / "run", directory


class TestStudents:
    def test_a_good_teacher_finds_when_weak_labels_hold(self, toys):
        # Half of the frames of a clip have its sound, on average.
        info = DatasetInfo.load(str(toys / "train"))
        scores = teacher_scores.read(str(toys / "train"), info, "first")
        segments = teacher_scores.pseudo_strong(scores, 0.5)
        clip = np.repeat(np.arange(48), segments.counts)
        by_id = {c.clip_id: c.segments[0] for c in toy_clips(48)}
        overlap = total = 0
        for i, begin, end in zip(clip, segments.start_ms, segments.end_ms, strict=True):
            start, stop, _ = by_id[scores.clip_ids[i].as_py()]
            overlap += max(min(end, stop) - max(begin, start), 0)
            total += end - begin
        assert overlap / total > 0.75

    def test_a_student_trains_and_resumes_exactly(self, begun, tmp_path):
        run, data = begun
        shutil.copytree(run, tmp_path / "part")
        for name in ("whole", "part"):
            train_student(tmp_path / name, data, 20)
        whole, part = (
            checkpoints.load_model(str(tmp_path / name)).model.get_weights()
            for name in ("whole", "part")
        )
        for left, right in zip(whole, part, strict=True):
            np.testing.assert_array_equal(left, right)

    def test_a_run_does_not_go_on_with_another_teacher(self, begun, tmp_path):
        run, data = begun
        shutil.copytree(run, tmp_path / "run")
        shutil.copytree(data / "train", tmp_path / "kept")
        other = trained.write_workdir(tmp_path / "other")
        try:
            teaching.teach(other, [str(data / "train")], name="first")
            with pytest.raises(errors.InputError, match=r"began with other data .* a teacher says"):
                train_student(tmp_path / "run", data, 20)
        finally:
            shutil.copytree(tmp_path / "kept", data / "train", dirs_exist_ok=True)

    def test_a_student_of_another_front_end_is_refused_before_work(self, toys, tmp_path):
        with pytest.raises(errors.InputError, match=r"another front end than this run, which has"):
            toy_training.train(
                tmp_path / "run",
                toys,
                sources=[Source((str(toys / "train"),), "pseudo_strong", teacher="first")],
                front_end=FrontEnd(num_bands=32),
            )
        assert not (tmp_path / "run").exists()


class TestCommand:
    """audioset_strong_teach as a user calls it."""

    @staticmethod
    def teach(server, model, *datasets, name="first", flags=()):
        given = [f"--dataset={dataset}" for dataset in datasets]
        process = server.start("teach", f"--model={model}", *given, f"--name={name}", *flags)
        return process, process.wait()

    @pytest.fixture
    def weak(self, tmp_path):
        return write_dataset(tmp_path / "weak", [make_clip(i, negatives=None) for i in range(8)], 1)

    def test_it_scores_every_dataset_and_says_where(self, server, teacher, weak, tmp_path):
        other = write_dataset(tmp_path / "other", [make_clip(i) for i in range(3)], 1)
        process, code = self.teach(server, teacher, weak, other)
        assert (code, process.stdout.splitlines()) == (
            0,
            [f"{weak}/teacher-first.parquet", f"{other}/teacher-first.parquet"],
        )
        facts = teacher_scores.read(other, DatasetInfo.load(other), "first").facts
        assert (facts.model, facts.max_missing_share) == (teacher, 0.1)

    def test_a_checkpoint_that_is_named_needs_no_selection(self, server, tmp_path, weak):
        workdir = trained.write_workdir(tmp_path / "run", selected=None)
        process, code = self.teach(server, workdir, weak)
        assert code == 2
        assert process.stderr.startswith(f"error: {workdir}: no checkpoint is selected yet")
        assert process.stderr.count("\n") == 1
        assert self.teach(server, f"{workdir}/checkpoints/step-10", weak)[1] == 0

    def test_ema_takes_the_moving_average(self, server, toys, tmp_path):
        data = shutil.copytree(toys / "train", tmp_path / "train")
        checkpoint, data = f"{toys}/teacher/checkpoints/step-100", str(data)
        assert self.teach(server, checkpoint, data, name="average", flags=["--ema"])[1] == 0
        info, found = DatasetInfo.load(data), {}
        for name, ema in (("first", False), ("average", True)):
            model = checkpoints.load_model(f"{toys}/teacher", checkpoint, ema=ema).model
            scores = teacher_scores.read(data, info, name)
            row = {clip_id: i for i, clip_id in enumerate(scores.clip_ids.to_pylist())}
            batch = next(evaluation_grid.grid_patches([data], batch_size=1).as_numpy_iterator())
            (clip_id,) = scoring.clip_ids(batch)
            predict = scoring.batch_scorer(lambda x, model=model: model(x, training=False))
            (label,) = np.flatnonzero(batch["weak_labels"][0])
            wanted = np.asarray(predict(batch))[0, :, label]
            found[name] = scores.frame_scores[row[clip_id]]
            np.testing.assert_allclose(found[name], wanted, atol=1e-4)
        assert np.abs(found["first"] - found["average"]).max() > 0.01

    def test_the_share_is_what_students_can_ask_for(self, server, teacher, weak):
        assert self.teach(server, teacher, weak, flags=["--max_missing_share=0.5"])[1] == 0
        scores = teacher_scores.read(weak, DatasetInfo.load(weak), "first")
        # Three classes that no clip has, of 8 clips each; half of them are listed.
        assert np.bincount(scores.missing, minlength=CLASSES).tolist() == [0, 4, 4, 4]
        with pytest.raises(errors.InputError, match=r"list 0.5 of each class; score the dataset"):
            teacher_scores.missing_labels(scores, 0.6)

    def test_a_teacher_of_the_same_name_is_replaced(self, server, teacher, weak, tmp_path):
        path, facts = f"{weak}/teacher-first.parquet", []
        other = trained.write_workdir(tmp_path / "other", steps=(30,), selected=30)
        for model in (teacher, teacher, other):
            if model == other:
                assert self.teach(server, model, weak)[1] == 0
            else:  # as `test_it_scores_every_dataset_and_says_where` does with the command
                teaching.teach(model, [weak], name="first")
            facts.append(teacher_scores.read_facts(weak, "first"))
        assert facts[0] == facts[1]
        assert (facts[2].model, facts[2].content != facts[0].content) == (other, True)
        assert os.listdir(weak).count(os.path.basename(path)) == 1

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--name=a/b"], "teacher 'a/b': must be a name of letters, digits, '_', '.' and '-'"),
            (["--max_missing_share=1"], "--max_missing_share=1.0: must lie in [0, 1), like 0.1"),
            (["--max_missing_share=-0.1"], "--max_missing_share=-0.1: must lie in [0, 1)"),
            (["--max_missing_share=x"], "flag --max_missing_share=x: could not convert string"),
            (["--model=nowhere"], "nowhere: neither a checkpoint nor a workdir (no model.json)"),
            (["--dataset=nowhere"], "nowhere: no converted dataset (no dataset_info.json)"),
            (["--ema"], "holds no moving average, because it was trained without train.ema_decay"),
        ],
    )
    def test_a_mistake_is_one_line(self, server, teacher, weak, flags, message):
        process, code = self.teach(server, teacher, weak, flags=flags)
        assert code == 2
        assert message in process.stderr
        assert process.stderr.count("\n") == 1
        assert not [name for name in os.listdir(weak) if name.startswith("teacher")]

    def test_a_teacher_that_does_not_fit_is_one_line(self, server, teacher, weak, tmp_path):
        classes = Vocabulary(VOCABULARY.mids[::-1], VOCABULARY.names[::-1])
        clips = [make_clip(0)]
        slow = trained.write_workdir(tmp_path / "slow", front_end=FrontEnd.at_sample_rate(8000))
        for model, data, message in (
            (slow, weak, "cannot score this dataset: "),
            (
                teacher,
                write_dataset(tmp_path / "classes", clips, 1, vocabulary=classes),
                "was trained with 4 classes, but ",
            ),
            (
                teacher,
                write_dataset(tmp_path / "unlabelled", [make_clip(0, weak=None)], 1),
                "none of its 1 clips has weak labels",
            ),
        ):
            process, code = self.teach(server, model, *dict.fromkeys((weak, data)))
            assert code == 2
            assert message in process.stderr
            assert process.stderr.count("\n") == 1
            assert not os.path.exists(f"{weak}/teacher-first.parquet")
