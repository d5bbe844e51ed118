"""What a teacher says: files, missing labels and pseudo-strong labels, in cases worked by hand."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from audioset_strong.audio.features import DEFAULT_FRONT_END, FrontEnd
from audioset_strong.core import errors
from audioset_strong.inputs import datasets, joint_datasets, teacher_scores
from audioset_strong.inputs.training_sources import Source, weak_strong_mixture
from audioset_strong.records.dataset_info import DatasetInfo
from tests.datasets import VOCABULARY, make_clip, write_dataset
from tests.streams import clip_ids, same, source, take, take_samples

# Clips of 10 s have ten frames; the last clip of 4 s has four that lie inside.
WEAK = [(0,), (0, 1), (1,), (2,)]
SECONDS = [10.0, 10.0, 10.0, 4.0]
NEGATIVES = [(3,), (), (0,), ()]
# Logits of each clip's weak labels, in the order of the clips; frames that are not named are -9.
FRAMES = [{0: 1.0, 1: 2.0, 5: 0.5}, {9: 3.0}, {2: -5.0, 3: 1.5}, {0: 4.0, 1: 1.0}, {3: 0.0}]
# (clip, class, place), of the candidates: classes that a clip neither has nor is said not to have.
MISSING = [(0, 1, 2), (0, 2, 1), (1, 2, 3), (1, 3, 1), (2, 2, 2), (3, 0, 1), (3, 1, 1)]
CANDIDATES = (1, 2, 3, 3)


def clips():
    return [
        make_clip(i, seconds=SECONDS[i], weak=WEAK[i], negatives=NEGATIVES[i], segments=())
        for i in range(4)
    ]


def made(directory, **changes):
    """The scores that a teacher could have given the clips."""
    frames = np.full((5, 10), -9.0, np.float32)
    for row, values in enumerate(FRAMES):
        for frame, value in values.items():
            frames[row, frame] = value
    facts = {
        "model": "runs/teacher",
        "weights": "00ff",
        "front_end": DEFAULT_FRONT_END,
        "mids": VOCABULARY.mids,
        "dataset": joint_datasets.fingerprint([directory]),
        "max_missing_share": 0.9,
        "candidates": CANDIDATES,
    }
    clip, missing, place = (np.array(column, np.int32) for column in zip(*MISSING, strict=True))
    arrays = {
        "clip_ids": pa.array([c.clip_id for c in clips()], pa.string()),
        "num_frames": np.array([10, 10, 10, 4], np.int32),
        "missing": missing,
        "place": place,
        "missing_counts": np.bincount(clip).astype(np.int32),
        "labels": np.array([0, 0, 1, 1, 2], np.int32),
        "frame_scores": frames,
        "label_counts": np.array([1, 2, 1, 1], np.int32),
    }
    facts |= {name: changes.pop(name) for name in list(changes) if name in facts}
    return teacher_scores.TeacherScores(
        facts=teacher_scores.TeacherFacts(**facts), **(arrays | changes)
    )


@pytest.fixture
def data(tmp_path):
    return write_dataset(tmp_path / "data" / "weak", clips(), 1)


def teach(directory, **changes):
    with open(teacher_scores.path_of(directory, "first"), "wb") as file:
        teacher_scores.write(made(directory, **changes), file)


def test_what_is_written_is_read(data):
    teach(data)
    written, got = made(data), teacher_scores.read(data, DatasetInfo.load(data), "first")
    assert got.clip_ids.to_pylist() == written.clip_ids.to_pylist()
    for name in ("num_frames", "missing", "place", "missing_counts", "labels", "label_counts"):
        np.testing.assert_array_equal(getattr(got, name), getattr(written, name))
    np.testing.assert_array_equal(got.frame_scores, written.frame_scores)
    assert (got.facts.model, got.facts.front_end) == ("runs/teacher", DEFAULT_FRONT_END)
    # It is a plain Parquet file.
    table = parquet.read_table(f"{data}/teacher-first.parquet").to_pylist()
    assert table[1]["weak_labels"] == [0, 1]
    assert len(table[1]["frame_scores"]) == 20


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        # Of 1, 2, 3 and 3 candidates: none, one, one, one.
        (0.5, [(0, 2), (1, 3), (3, 1)]),
        (0.34, [(0, 2), (1, 3)]),
        (1 / 3, [(0, 2), (1, 3)]),
        (0.3, []),
        (0.7, [(0, 2), (1, 3), (2, 2), (3, 1)]),
    ],
)
def test_a_share_of_the_clips_without_each_class_is_missing(data, share, expected):
    labels, counts = teacher_scores.missing_labels(made(data), share)
    clip = np.repeat(np.arange(4), counts)
    assert list(zip(clip.tolist(), labels.tolist(), strict=True)) == expected


def test_more_than_the_teacher_lists_is_refused(data):
    with pytest.raises(errors.InputError, match=r"missing_share = 0.95: .*larger --max_missing"):
        teacher_scores.missing_labels(made(data), 0.95)


def _segments(scores, quantile, **arguments):
    found = teacher_scores.pseudo_strong(scores, quantile, **arguments)
    clip = np.repeat(np.arange(4), found.counts)
    columns = (clip, found.label, found.start_ms, found.end_ms)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_frames_above_the_quantile_of_their_class_are_segments(data):
    # The quantile 0.85 of 20 frames lies between the 17th and the 18th, 0.15 of the way. Of class 0
    # these are 0.5 and 1.0, of class 1 they are -5.0 and 1.0. Class 2 has four frames.
    assert _segments(made(data), 0.85) == [
        (0, 0, 0, 1920),
        (1, 0, 8640, 9600),
        (1, 1, 2880, 3840),
        (2, 1, 0, 1920),
        (3, 2, 2880, 3840),
    ]


def test_the_highest_frame_of_a_clip_has_its_label_in_any_case(data):
    assert _segments(made(data), 1.0) == [
        (0, 0, 960, 1920),
        (1, 0, 8640, 9600),
        (1, 1, 2880, 3840),
        (2, 1, 0, 960),
        (3, 2, 2880, 3840),
    ]


def test_with_quantile_0_labels_hold_everywhere_inside_their_clip(data):
    clip_ms = np.array([10_000, 10_000, 10_000, 4000])
    assert _segments(made(data), 0.0, clip_ms=clip_ms) == [
        (0, 0, 0, 10_000),
        (1, 0, 0, 10_000),
        (1, 1, 0, 10_000),
        (2, 1, 0, 10_000),
        (3, 2, 0, 4000),
    ]


class TestStream:
    def test_missing_labels_do_not_count_and_others_do(self, data):
        teach(data)
        weak = source(data, "weak", teacher="first", missing_share=0.7)
        (batch,) = take(1, weak, 4)
        found = dict(zip(clip_ids([batch]), batch["label_weights"].tolist(), strict=True))
        ids = [clip.clip_id for clip in clips()]
        assert found == {
            ids[0]: [1, 1, 0, 1],
            ids[1]: [1, 1, 1, 0],
            ids[2]: [1, 1, 0, 1],
            ids[3]: [1, 0, 1, 1],
        }
        (plain,) = take(1, source(data, "weak"), 4)
        for name in ("clip_id", "start", "labels", "log_mel"):
            np.testing.assert_array_equal(batch[name], plain[name])

    def test_only_the_source_with_a_teacher_is_masked(self, data):
        teach(data)
        taught = source(data, "weak", 0.5, teacher="first", missing_share=0.7)
        (batch,) = take_samples(1, [taught, source(data, "weak", 0.5)], 16)
        masked = (batch["label_weights"] == 0).any(axis=1)
        np.testing.assert_array_equal(masked, batch["source"] == 0)

    def test_windows_have_the_labels_that_the_teacher_hears_in_them(self, data):
        teach(data)
        pseudo = source(data, "pseudo_strong", teacher="first", frame_quantile=1.0)
        batches = take_samples(60, pseudo, 4, known_labels=True)
        segments = {
            (made(data).clip_ids[clip].as_py(), label): (start, end)
            for clip, label, start, end in _segments(
                made(data), 1.0, clip_ms=np.array(SECONDS) * 1000
            )
        }
        seen = 0
        for batch in batches:
            for i, clip_id in enumerate(clip_ids([batch])):
                start = batch["start"][i] / 16
                for label in range(4):
                    inside = 0.0
                    if (clip_id, label) in segments:
                        begin, end = segments[clip_id, label]
                        inside = min(end, start + 960) - max(begin, start)
                        assert batch["known_labels"][i, label]  # positive, or negative there
                    assert batch["labels"][i, label] == (inside >= 480), (clip_id, label, start)
                    seen += int(inside >= 480)
        assert seen > 20

    def test_the_one_line_stream_takes_a_teacher_too(self, data):
        teach(data)
        settings = {"teacher": "first", "frame_quantile": 1.0, "missing_share": 0.7}
        stream = datasets.training_stream(data, policy="pseudo_strong", batch_size=4, **settings)
        same(
            list(stream.take(2).as_numpy_iterator()),
            take(2, source(data, "pseudo_strong", **settings), 4),
        )

    def test_it_begins_at_any_step(self, data):
        teach(data)
        pseudo = source(data, "pseudo_strong", teacher="first", missing_share=0.7)
        whole = take_samples(6, pseudo, 4)
        same(take_samples(2, pseudo, 4, start_step=4), whole[4:])

    def test_datasets_of_a_source_each_have_their_own_scores(self, data, tmp_path):
        other = write_dataset(tmp_path / "data" / "other", clips()[::-1], 1)
        teach(data)
        reversed_ids = pa.array([clip.clip_id for clip in clips()[::-1]], pa.string())
        teach(
            other,
            clip_ids=reversed_ids,
            missing=np.zeros(0, np.int32),
            place=np.zeros(0, np.int32),
            missing_counts=np.zeros(4, np.int32),
            num_frames=np.array([4, 10, 10, 10], np.int32),
        )
        for order in ((data, other), (other, data)):
            both = Source(order, "weak", teacher="first", missing_share=0.7)
            (batch,) = take_samples(1, both, 8)
            masked = (batch["label_weights"] == 0).any(axis=1)
            assert masked.sum() == 4  # of the first dataset alone


_REFUSED = {
    "class list": (
        {"mids": VOCABULARY.mids[::-1]},
        r"knows 4 classes, and the dataset has 4 or",
    ),
    "dataset": ({"dataset": "0123"}, r"was made for another dataset, or before this one was conv"),
    "front end": (
        {"front_end": FrontEnd(num_bands=32)},
        r"the teacher runs/teacher has another front end .* FrontEnd.num_bands = 64",
    ),
    "clips": (
        {"clip_ids": pa.array(["a_0", "b_0", "c_0", "d_0"], pa.string())},
        r"teacher 'first' has scored other clips than those of the index",
    ),
    "share": ({"max_missing_share": 0.1}, r"missing_share = 0.5: .* list 0.1 of each class"),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_scores_of_another_thing_are_refused_in_one_line(data, name):
    changes, message = _REFUSED[name]
    teach(data, **changes)
    with pytest.raises(errors.InputError, match=message) as caught:
        take(1, source(data, "weak", teacher="first", missing_share=0.5), 4)
    assert "\n" not in str(caught.value)


def test_a_teacher_that_has_not_scored_the_dataset_is_refused(data):
    with pytest.raises(errors.InputError, match=r"no teacher 'first' has scored this dataset; let"):
        take(1, source(data, "weak", teacher="first", missing_share=0.5), 4)
    with pytest.raises(errors.InputError, match=r"teacher '../x': must be a name"):
        take(1, source(data, "weak", teacher="../x", missing_share=0.5), 4)


@pytest.mark.parametrize("damage", ["text", "other", "cut", "changed"])
def test_damaged_files_are_refused_in_one_line(data, damage):
    teach(data)
    path = f"{data}/teacher-first.parquet"
    if damage == "text":
        with open(path, "w") as file:
            file.write("clip_id\n")
    elif damage == "other":
        parquet.write_table(pa.table({"clip_id": ["a"]}), path)
    elif damage == "cut":
        with open(path, "rb+") as file:
            file.truncate(300)
    else:  # another value, by a tool that knows nothing of the checksum
        table = parquet.read_table(path)
        column = pa.array([9, 10, 10, 4], pa.int32())
        parquet.write_table(table.set_column(1, "num_frames", column), path)
    with pytest.raises(errors.InputError, match=r"teacher-first.parquet: (is damaged|not the sco)"):
        take(1, source(data, "weak", teacher="first", missing_share=0.5), 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "pseudo_strong"}, r"policy = 'pseudo_strong': needs a teacher; let a model"),
        ({"missing_share": 0.1}, r"missing_share = 0.1: needs a teacher"),
        ({"teacher": "a"}, r"teacher = 'a': has no effect on weak labels without a missing_share"),
        ({"teacher": "a", "policy": "strong"}, r"teacher = 'a': has no effect on strong labels"),
        ({"teacher": "a", "missing_share": 1.0}, r"missing_share = 1.0: must lie in \[0, 1\)"),
        ({"teacher": "a", "missing_share": -0.1}, r"missing_share = -0.1: must lie in \[0, 1\)"),
        (
            {"teacher": "a", "policy": "pseudo_strong", "frame_quantile": 1.5},
            r"frame_quantile = 1.5: must lie in \[0, 1\]",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(errors.InputError, match=message):
        Source(**{"datasets": ("d",), "policy": "weak"} | settings)


def test_the_weak_part_of_a_mixture_takes_the_teacher():
    weak, strong = weak_strong_mixture(
        "d",
        ["a"],
        strong_datasets=["b"],
        policy="strong",
        mu=0.5,
        weak_policy="pseudo_strong",
        teacher="first",
        missing_share=0.1,
        frame_quantile=0.7,
    )
    assert (weak.policy, weak.teacher, weak.missing_share) == ("pseudo_strong", "first", 0.1)
    assert (strong.policy, strong.teacher, strong.missing_share) == ("strong", None, 0.0)
    with pytest.raises(errors.InputError, match=r"weak_policy = 'strong': must be one of weak, ps"):
        weak_strong_mixture(
            "d", ["a"], strong_datasets=["b"], policy="strong", mu=0.5, weak_policy="strong"
        )
