"""What the training stream can be asked for besides the paper's sampling."""

import collections
import functools
import itertools
import logging

import numpy as np
import pytest
import tensorflow as tf
from absl import logging as absl_logging

from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.inputs import augmentation, sampling, training_sources
from tests.datasets import make_clip, write_dataset


def _source(directory, policy="strong", weight=1.0, **settings):
    return training_sources.Source((directory,), policy, weight, **settings)


def _take(count, *arguments, **settings):
    return list(sampling.train_patches(*arguments, **settings).take(count).as_numpy_iterator())


def _ids(batches):
    return [clip_id.decode() for batch in batches for clip_id in batch["clip_id"]]


def _windows(batches):
    """The log-mel patches, by clip and start."""
    return {
        (name.decode(), int(start)): log_mel
        for batch in batches
        for name, start, log_mel in zip(
            batch["clip_id"], batch["start"], batch["log_mel"], strict=True
        )
    }


def _same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert set(one) == set(other)
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    clips = [make_clip(i) for i in range(60)]
    return write_dataset(tmp_path_factory.mktemp("data") / "many", clips, 4)


class TestPatchesPerClip:
    def test_each_clip_gives_so_many_different_windows_and_none_share_a_batch(self, many):
        batches = _take(36, [_source(many)], 10, shuffle_buffer=40, patches_per_clip=3)
        windows = collections.defaultdict(list)
        for number, batch in enumerate(batches):
            assert len(set(batch["clip_id"])) == 10
            for clip_id, start in zip(batch["clip_id"], batch["start"], strict=True):
                windows[clip_id].append((number, int(start)))
        # 360 patches: two epochs of 60 clips, three windows each.
        assert sorted(len(w) for w in windows.values())[0] >= 3
        assert sum(len(w) for w in windows.values()) == 360
        assert len(windows) == 60
        assert all(len({start for _, start in w}) == len(w) for w in windows.values())

    def test_at_the_default_buffer_patches_of_a_clip_are_far_apart(self, tmp_path):
        clips = [make_clip(i, seconds=1.0) for i in range(700)]
        data = write_dataset(tmp_path / "short", clips, 4)
        batches = _take(20, [_source(data)], 128, patches_per_clip=8)
        for batch in batches:
            assert len(set(batch["clip_id"])) == 128

    @pytest.mark.parametrize("step", [1, 3, 7, 20])
    def test_a_resumed_stream_goes_on_where_it_was(self, many, step):
        settings = {"shuffle_buffer": 40, "patches_per_clip": 3, "seed": 4}
        whole = _take(step + 2, [_source(many)], 10, **settings)
        _same(_take(2, [_source(many)], 10, start_step=step, **settings), whole[step:])

    def test_a_buffer_that_cannot_keep_them_apart_is_refused(self, many):
        with pytest.raises(errors.InputError, match=r"patches_per_clip \* batch_size = 30"):
            _take(1, [_source(many)], 10, shuffle_buffer=29, patches_per_clip=3)


class TestExactShares:
    def test_every_batch_has_its_shares(self, many):
        sources = [_source(many, "weak", 0.3), _source(many, "strong", 0.7)]
        batches = _take(20, sources, 10, exact_shares=True)
        assert [np.bincount(batch["source"]).tolist() for batch in batches] == [[3, 7]] * 20
        _same(_take(3, sources, 10, exact_shares=True, start_step=17), batches[17:])


class TestFraction:
    def test_smaller_fractions_lie_within_larger_ones_and_videos_stay_whole(self, tmp_path):
        # Two clips a video.
        clips = [make_clip(i) for i in range(100)]
        second = [
            type(clip)(f"{clip.clip_id.partition('_')[0]}_5", *list(vars(clip).values())[1:])
            for clip in clips
        ]
        data = write_dataset(tmp_path / "videos", clips + second, 4)
        kept = {}
        for fraction in (0.2, 0.5, 1.0):
            source = _source(data, fraction=fraction)
            examples = training_sources.open_source(source).examples
            first, *others = _take(3, [source], examples)  # a batch an epoch
            ids = _ids([first])
            assert len(set(ids)) == len(ids)
            kept[fraction] = set(ids)
            assert set(_ids(others)) == set(ids)
            videos = collections.Counter(clip_id.partition("_")[0] for clip_id in ids)
            assert set(videos.values()) == {2}
        assert kept[0.2] < kept[0.5] < kept[1.0]
        assert len(kept[1.0]) == 200
        for fraction in (0.2, 0.5):  # binomial
            sigma = np.sqrt(100 * fraction * (1 - fraction))
            assert abs(len(kept[fraction]) / 2 - 100 * fraction) < 3 * sigma

    def test_a_resumed_stream_goes_on_where_it_was(self, many):
        source = _source(many, fraction=0.5)
        whole = _take(12, [source], 8)
        _same(_take(3, [source], 8, start_step=9), whole[9:])

    def test_mixture_and_single_bind_it(self):
        weak, strong = training_sources.weak_strong_mixture(
            "d", ("a",), ("b",), "strong", 0.5, strong_fraction=0.1
        )
        assert (weak.fraction, strong.fraction) == (1.0, 0.1)
        assert (
            training_sources.single_source("d", ("a",), "strong", fraction=0.3)[0].fraction == 0.3
        )

    @pytest.mark.parametrize("fraction", [0.0, 1.5, -1.0])
    def test_a_fraction_outside_0_to_1_is_refused(self, many, fraction):
        with pytest.raises(errors.InputError, match=r"must lie in \(0, 1\]"):
            _take(1, [_source(many, fraction=fraction)], 4)

    def test_a_fraction_that_leaves_nothing_is_refused(self, many):
        with pytest.raises(errors.InputError, match="many: no clip is left"):
            _take(1, [_source(many, fraction=1e-9)], 4)


class TestBalanced:
    def test_clips_come_as_often_as_their_classes_are_rare(self, tmp_path):
        # Class 0: 40 clips, class 1: 10 clips, 2 of them with both; 10 clips without label.
        weak = [(0,)] * 38 + [(0, 1)] * 2 + [(1,)] * 8 + [()] * 10
        clips = [make_clip(i, weak=labels) for i, labels in enumerate(weak)]
        data = write_dataset(tmp_path / "uneven", clips, 2)
        source = _source(data, "weak", balanced=True)
        batches = _take(200, [source], 58)
        counts = collections.Counter(_ids(batches))
        drawn = 200 * 58
        # 58 clips, two classes: a label of class 0 counts 58 / (2 * 40), of class 1 58 / (2 * 10).
        for i, labels in enumerate(weak):
            rate = sum({0: 58 / 80, 1: 58 / 20}[label] for label in labels)
            expected = drawn * rate / 58
            assert counts[clips[i].clip_id] == pytest.approx(expected, rel=0.15, abs=0.1)
        labels = np.concatenate([batch["labels"] for batch in batches])
        # A clip of both classes brings either along: 38 * 58/80 + 2 * (58/80 + 58/20), and so on.
        assert labels.sum(axis=0)[:2] == pytest.approx([200 * 34.8, 200 * 30.45], rel=0.02)
        # Each time at another window.
        windows = collections.Counter(
            (name, int(start))
            for name, start in zip(
                _ids(batches), np.concatenate([b["start"] for b in batches]), strict=True
            )
        )
        assert windows.most_common(1)[0][1] <= 3

    @pytest.mark.parametrize("step", [2, 9])
    def test_a_resumed_stream_goes_on_where_it_was(self, many, step):
        source = _source(many, "weak", balanced=True)
        whole = _take(step + 2, [source], 12)
        _same(_take(2, [source], 12, start_step=step), whole[step:])

    def test_with_a_fraction_too_it_resumes_and_stays_within_the_fraction(self, many):
        source = _source(many, "weak", balanced=True, fraction=0.5)
        whole = _take(14, [source], 12)
        _same(_take(2, [source], 12, start_step=12), whole[12:])
        plain = _source(many, "weak", fraction=0.5)
        examples = training_sources.open_source(plain).examples
        assert set(_ids(whole)) <= set(_ids(_take(examples, [plain], 1)))

    @pytest.mark.parametrize(
        "settings",
        [{"patches_per_clip": 2}, {"data_service": "grpc://a:1"}, {"skip_corrupt_records": True}],
    )
    def test_what_would_not_be_balanced_is_refused(self, many, settings):
        with pytest.raises(errors.InputError, match="not together with balanced sources"):
            _take(1, [_source(many, balanced=True)], 4, **settings)


class TestLogMelRecords:
    def test_windows_begin_on_the_hop_and_hold_the_log_mel_of_the_samples(self, tmp_path):
        clips = [make_clip(i) for i in range(12)] + [make_clip(20, seconds=0.5)]
        data = write_dataset(tmp_path / "log_mel", clips, 2, encoding="log_mel")
        samples = {clip.clip_id: clip.audio for clip in clips}
        batches = _take(4, [_source(data)], 13)
        starts = np.concatenate([batch["start"] for batch in batches])
        assert not (starts % features.HOP_SAMPLES).any()
        for batch in batches:
            for name, start, log_mel in zip(
                batch["clip_id"], batch["start"], batch["log_mel"], strict=True
            ):
                window = samples[name.decode()][start : start + features.PATCH_SAMPLES]
                window = np.pad(window, (0, features.PATCH_SAMPLES - len(window))) / 32768
                wanted = features.log_mel(tf.constant(window[np.newaxis], tf.float32))[0]
                np.testing.assert_allclose(log_mel, wanted, atol=3e-3)

    def test_the_evaluation_grid_is_that_of_the_samples(self, tmp_path):
        clips = [make_clip(i) for i in range(3)] + [make_clip(9, seconds=3.1)]
        grids = [
            next(
                sampling.grid_patches(
                    [write_dataset(tmp_path / encoding, clips, 1, encoding=encoding)]
                ).as_numpy_iterator()
            )
            for encoding in ("pcm16", "log_mel")
        ]
        np.testing.assert_allclose(grids[1]["log_mel"], grids[0]["log_mel"], atol=3e-3)
        for name in ("clip_id", "frame_valid", "frame_labels"):
            np.testing.assert_array_equal(grids[1][name], grids[0][name])

    def test_no_samples_can_be_asked_for(self, tmp_path):
        data = write_dataset(tmp_path / "log_mel", [make_clip(0)], 1, encoding="log_mel")
        with pytest.raises(errors.InputError, match="hold log-mel, and no samples"):
            _take(1, [_source(data)], 1, features_on_device=True)


class TestKnownLabels:
    def test_known_are_positives_explicit_negatives_and_events_elsewhere_in_the_clip(self, many):
        # Each clip: weak 0; class 1 from 1 to 3 s, class 2 from 0.5 to 0.7 s; negative 3.
        for policy, known in (("weak", {0, 3}), ("diffuse", {1, 2, 3}), ("strong", {1, 2, 3})):
            for batch in _take(3, [_source(many, policy)], 20, known_labels=True):
                wanted = [[k in known for k in range(4)]] * 20
                np.testing.assert_array_equal(batch["known"], wanted)


class TestPipelines:
    def test_pipelines_share_the_clips_by_file(self, many):
        seen = []
        for index in range(3):
            settings = {"num_pipelines": 3, "pipeline_index": index}
            source = _source(many)
            examples = training_sources.open_source(source, 3, index).examples
            ids = _ids(_take(1, [source], examples, **settings))
            assert len(set(ids)) == examples
            seen += ids
            whole = _take(12, [source], 8, **settings)
            _same(_take(3, [source], 8, start_step=9, **settings), whole[9:])
        assert sorted(seen) == [make_clip(i).clip_id for i in range(60)]

    def test_more_pipelines_than_shards_are_refused(self, many):
        with pytest.raises(errors.InputError, match="4 shards are too few for 5 pipelines"):
            _take(1, [_source(many)], 4, num_pipelines=5)


class TestDataService:
    @pytest.fixture
    def dispatcher(self):
        service = tf.data.experimental.service
        dispatcher = service.DispatchServer(service.DispatcherConfig(port=0))
        address = dispatcher.target.partition("://")[2]
        workers = [
            service.WorkerServer(service.WorkerConfig(dispatcher_address=address)) for _ in range(2)
        ]
        yield dispatcher.target
        del workers

    @staticmethod
    def served(many, dispatcher, wanted):
        """What the service gives until it has given all of `wanted`; the window tells the epoch.

        Workers read ahead of each other, some epochs on a busy machine.
        """
        batches, missing = [], set(wanted)
        for batch in sampling.train_patches(
            [_source(many)], 8, data_service=dispatcher, shuffle_buffer=1
        ).as_numpy_iterator():
            batches.append(batch)
            missing -= set(_windows([batch]))
            if not missing:
                return batches
            assert len(batches) < 1000

    def test_two_workers_give_every_clip_once_an_epoch(self, many, dispatcher):
        two_epochs = _windows(_take(15, [_source(many)], 8))
        assert len(two_epochs) == 2 * 60
        batches = self.served(many, dispatcher, two_epochs)
        served = _windows(batches)
        assert len(served) == len(batches) * 8  # none twice
        for window, log_mel in two_epochs.items():
            np.testing.assert_allclose(served[window], log_mel, atol=1e-4)

    def test_augmentation_of_the_waveform_is_not_lost(self, many, dispatcher, monkeypatch):
        plain = _windows(_take(15, [_source(many)], 8))
        loud = functools.partial(augmentation.Augmentation, gain_db=20.0)
        monkeypatch.setattr(augmentation, "Augmentation", loud)
        served = _windows(self.served(many, dispatcher, plain))
        changed = [np.abs(served[window] - plain[window]).max() > 0.01 for window in plain]
        assert np.mean(changed) > 0.9  # a gain is random, and may be next to none

    def test_a_mixture_of_sources_goes_through_it(self, many, dispatcher):
        sources = [_source(many, "weak", 0.3), _source(many, "strong", 0.7)]
        batches = _take(10, sources, 10, data_service=dispatcher, exact_shares=True)
        assert [np.bincount(batch["source"]).tolist() for batch in batches] == [[3, 7]] * 10


class TestDamage:
    @pytest.fixture
    def damaged(self, tmp_path):
        """Three shards of ten clips; the second is damaged in its fourth record."""
        clips = [make_clip(i, seconds=1.0) for i in range(30)]
        directory = tmp_path / "damaged"
        write_dataset(directory, clips, 3)
        path = directory / "damaged-00001-of-00003.tfrecord"
        data = bytearray(path.read_bytes())
        offset = 3 * len(data) // 10
        data[offset + 100] ^= 255
        path.write_bytes(data)
        return str(directory), str(path), offset

    def test_a_damaged_shard_is_named_with_the_place(self, damaged):
        directory, path, offset = damaged
        with (
            pytest.raises(errors.InputError, match="corrupted record at") as caught,
            sampling.reporting_damage([directory]),
        ):
            _take(5, [_source(directory)], 10)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert abs(int(message.partition("corrupted record at ")[2].split()[0]) - offset) < 64

    def test_a_shard_that_is_cut_off_is_named(self, damaged):
        directory, path, _ = damaged
        with open(path, "r+b") as file:
            file.truncate(1000)
        with (
            pytest.raises(errors.InputError, match="truncated record at") as caught,
            sampling.reporting_damage([directory]),
        ):
            _take(5, [_source(directory)], 10)
        assert str(caught.value).startswith(f"{path}: ")

    def test_what_follows_the_damage_can_be_skipped_and_is_counted(self, damaged, caplog):
        directory, path, _ = damaged
        absl_logging.get_absl_logger().propagate = True
        with caplog.at_level(logging.WARNING):
            ids = _ids(_take(46, [_source(directory)], 1, skip_corrupt_records=True))
        lost = {make_clip(i).clip_id for i in range(1, 30, 3)} - set(ids)
        assert lost == {make_clip(i).clip_id for i in range(10, 30, 3)}
        assert set(collections.Counter(ids).values()) == {2}
        told = [r.getMessage() for r in caplog.records if "skipped" in r.getMessage()]
        assert told[0] == f"{path}: damaged, 7 of 10 records skipped"

    def test_sound_shards_lose_nothing_by_it(self, many):
        ids = _ids(_take(60, [_source(many)], 2, skip_corrupt_records=True))
        assert set(collections.Counter(itertools.islice(ids, 60)).values()) == {1}


@pytest.mark.parametrize("name", ["batch_size", "patches_per_clip", "shuffle_buffer"])
@pytest.mark.parametrize("value", [0, 2.5])
def test_counts_that_are_none_are_refused(many, name, value):
    settings = {"batch_size": 4, name: value}
    with pytest.raises(errors.InputError, match=f"{name} = {value}: must be a whole number"):
        sampling.train_patches([_source(many)], **settings)
