"""Options of the training stream besides the paper's sampling."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.inputs import (
    evaluation_grid,
    example_order,
    opened_sources,
    training_stream,
)
from tests.datasets import make_clip, write_dataset
from tests.streams import clip_ids, same, source, stream, take, take_samples

PATCH = 15_600  # samples


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    clips = [make_clip(i) for i in range(60)]
    return write_dataset(tmp_path_factory.mktemp("data") / "many", clips, 4)


class TestPatchesPerClip:
    def test_each_clip_gives_different_windows_that_never_share_a_batch(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(example_order, "CLIPS_PER_BLOCK", 20)
        data = write_dataset(tmp_path / "many", [make_clip(i) for i in range(60)], 4)
        batches = take_samples(36, [source(data)], 10, patches_per_clip=3)
        found = collections.defaultdict(list)
        for number, batch in enumerate(batches):
            assert len(set(batch["clip_id"])) == 10
            for clip_id, start in zip(batch["clip_id"], batch["start"], strict=True):
                found[clip_id].append((number, int(start)))
        # 360 patches: two epochs of 60 clips, three windows each, which come within a block of 60.
        assert [len(windows) for windows in found.values()] == [6] * 60
        for windows in found.values():
            assert len({start for _, start in windows}) == 6
            for epoch in (windows[:3], windows[3:]):
                assert epoch[2][0] - epoch[0][0] < 6

    @pytest.mark.slow
    def test_at_the_default_block_patches_of_a_clip_are_far_apart(self, tmp_path):
        clips = [make_clip(i, seconds=1.0) for i in range(1100)]
        data = write_dataset(tmp_path / "short", clips, 4)
        for batch in take_samples(20, [source(data)], 128, patches_per_clip=8):
            assert len(set(batch["clip_id"])) == 128

    @pytest.mark.parametrize("step", [1, 7, 500])
    def test_a_resumed_stream_continues_where_it_stopped(self, many, step):
        settings = {"patches_per_clip": 3, "seed": 4}
        whole = take_samples(step + 2, [source(many)], 10, **settings)
        rest = take_samples(2, [source(many)], 10, start_step=step, **settings)
        same(rest, whole[step:])

    def test_batches_too_large_to_keep_them_apart_are_refused(self, many):
        with pytest.raises(errors.InputError, match=r"must be 1 for batches of over 1024 examples"):
            take(1, [source(many)], 1025, patches_per_clip=3)


class TestExactShares:
    def test_every_batch_has_its_shares(self, many):
        sources = [source(many, "weak", 0.3), source(many, "strong", 0.7)]
        batches = take_samples(20, sources, 10, exact_shares=True)
        assert [np.bincount(batch["source"]).tolist() for batch in batches] == [[3, 7]] * 20
        same(take_samples(3, sources, 10, exact_shares=True, start_step=17), batches[17:])


class TestLogMelRecords:
    def test_windows_begin_on_the_hop_and_hold_the_log_mel_of_the_samples(self, tmp_path):
        clips = [make_clip(i) for i in range(12)] + [make_clip(20, seconds=0.5)]
        data = write_dataset(tmp_path / "log_mel", clips, 2, encoding="log_mel")
        samples = {clip.clip_id: clip.audio for clip in clips}
        batches = take(4, [source(data)], 13)
        starts = np.concatenate([batch["start"] for batch in batches])
        assert not (starts % 160).any()
        for batch in batches:
            for name, start, log_mel in zip(
                batch["clip_id"], batch["start"], batch["log_mel"], strict=True
            ):
                window = samples[name.decode()][start : start + PATCH]
                window = np.pad(window, (0, PATCH - len(window))) / 32768
                wanted = features.log_mel(tf.constant(window[np.newaxis], tf.float32))[0]
                np.testing.assert_allclose(log_mel, wanted, atol=3e-3)

    def test_the_evaluation_grid_is_that_of_the_samples(self, tmp_path):
        clips = [make_clip(i) for i in range(3)] + [make_clip(9, seconds=3.1)]
        grids = [
            next(
                evaluation_grid.grid_patches(
                    [write_dataset(tmp_path / encoding, clips, 1, encoding=encoding)]
                ).as_numpy_iterator()
            )
            for encoding in ("pcm16", "log_mel")
        ]
        np.testing.assert_allclose(grids[1]["log_mel"], grids[0]["log_mel"], atol=3e-3)
        for name in ("clip_id", "frame_valid", "frame_labels"):
            np.testing.assert_array_equal(grids[1][name], grids[0][name])

    def test_features_on_the_device_are_refused(self, tmp_path):
        data = write_dataset(tmp_path / "log_mel", [make_clip(0)], 1, encoding="log_mel")
        with pytest.raises(errors.InputError, match="hold log-mel and no samples"):
            take(1, [source(data)], 1, features_on_device=True)


class TestKnownLabels:
    def test_known_are_positives_explicit_negatives_and_events_elsewhere_in_the_clip(self, many):
        # Each clip: weak 0; class 1 from 1 to 3 s, class 2 from 0.5 to 0.7 s; negative 3.
        for policy, known in (("weak", {0, 3}), ("diffuse", {1, 2, 3}), ("strong", {1, 2, 3})):
            for batch in take_samples(3, [source(many, policy)], 20, known_labels=True):
                wanted = [[k in known for k in range(4)]] * 20
                np.testing.assert_array_equal(batch["known_labels"], wanted)


class TestBatchShares:
    """Workers take examples, not files: many has 4 shards, of 60 clips in all."""

    @pytest.mark.parametrize("workers", [1, 2, 3, 5])
    def test_workers_together_take_every_clip_once_an_epoch(self, many, workers):
        seen = []
        for first in range(workers):
            share = training_stream.BatchShare(workers, first)
            seen += clip_ids(take_samples(2, source(many), 30, share=share))
        assert sorted(seen) == [make_clip(i).clip_id for i in range(60)]

    @pytest.mark.parametrize("exact", [False, True])
    def test_the_batch_of_a_step_is_the_same_however_workers_share_it(self, many, exact):
        sources = opened_sources.open_sources(
            [source(many, "weak", 0.3), source(many, "strong", 0.7)]
        )
        settings = {"seed": 2, "start_step": 5, "exact_shares": exact}
        alone = take(3, sources, 16, **settings)
        # Of the 8 replicas one worker has half, another a quarter, and two have one each: like two
        # workers, four and eight. A worker's replicas take turns.
        parts = [
            take(
                3 * here, sources, 16, share=training_stream.BatchShare(8, first, here), **settings
            )
            for first, here in ((0, 4), (4, 2), (6, 1), (7, 1))
        ]
        for step, batch in enumerate(alone):
            of_step = [
                part
                for worker in parts
                for part in worker[step * len(worker) // 3 : (step + 1) * len(worker) // 3]
            ]
            same([{k: np.concatenate([part[k] for part in of_step]) for k in batch}], [batch])


@pytest.mark.parametrize("name", ["batch_size", "patches_per_clip"])
@pytest.mark.parametrize("value", [0, 2.5])
def test_invalid_counts_are_refused(many, name, value):
    settings = {"batch_size": 4, name: value}
    with pytest.raises(errors.InputError, match=f"{name} = {value}: must be a whole number"):
        stream([source(many)], settings.pop("batch_size"), **settings)


def test_settings_that_a_tf_data_service_cannot_have_are_refused():
    for setting in ({"checksums": True}, {"skip_corrupt_records": True}, {"cache_dir": "/tmp/x"}):
        (name,) = setting
        with pytest.raises(errors.InputError, match=f"{name} = .*: cannot be combined with a tf"):
            training_stream.StreamSettings(data_service="grpc://a:1", **setting)
    with pytest.raises(errors.InputError, match=r"cache_gb = 0: must be a positive number"):
        training_stream.StreamSettings(cache_gb=0)
