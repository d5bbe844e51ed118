"""Options of the training stream besides the paper's sampling."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.inputs import evaluation_grid
from audioset_strong.inputs.opened_sources import open_source
from tests.datasets import make_clip, write_dataset
from tests.streams import clip_ids, same, source, stream, take

PATCH = 15_600  # samples


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    clips = [make_clip(i) for i in range(60)]
    return write_dataset(tmp_path_factory.mktemp("data") / "many", clips, 4)


class TestPatchesPerClip:
    def test_each_clip_gives_different_windows_that_never_share_a_batch(self, many):
        batches = take(36, [source(many)], 10, shuffle_buffer=40, patches_per_clip=3)
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

    @pytest.mark.slow
    def test_at_the_default_buffer_patches_of_a_clip_are_far_apart(self, tmp_path):
        clips = [make_clip(i, seconds=1.0) for i in range(700)]
        data = write_dataset(tmp_path / "short", clips, 4)
        batches = take(20, [source(data)], 128, patches_per_clip=8)
        for batch in batches:
            assert len(set(batch["clip_id"])) == 128

    @pytest.mark.parametrize("step", [1, 3, 7, 20])
    def test_a_resumed_stream_continues_where_it_stopped(self, many, step):
        settings = {"shuffle_buffer": 40, "patches_per_clip": 3, "seed": 4}
        whole = take(step + 2, [source(many)], 10, **settings)
        same(take(2, [source(many)], 10, start_step=step, **settings), whole[step:])

    def test_a_buffer_that_cannot_keep_them_apart_is_refused(self, many):
        with pytest.raises(errors.InputError, match=r"patches_per_clip \* batch_size = 30"):
            take(1, [source(many)], 10, shuffle_buffer=29, patches_per_clip=3)


class TestExactShares:
    def test_every_batch_has_its_shares(self, many):
        sources = [source(many, "weak", 0.3), source(many, "strong", 0.7)]
        batches = take(20, sources, 10, exact_shares=True)
        assert [np.bincount(batch["source"]).tolist() for batch in batches] == [[3, 7]] * 20
        same(take(3, sources, 10, exact_shares=True, start_step=17), batches[17:])


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
            for batch in take(3, [source(many, policy)], 20, known_labels=True):
                wanted = [[k in known for k in range(4)]] * 20
                np.testing.assert_array_equal(batch["known_labels"], wanted)


class TestPipelines:
    def test_pipelines_share_the_clips_by_file(self, many):
        seen = []
        for index in range(3):
            settings = {"num_pipelines": 3, "pipeline_index": index}
            many_source = source(many)
            examples = open_source(many_source, **settings).examples
            ids = clip_ids(take(1, many_source, examples, **settings))
            assert len(set(ids)) == examples
            seen += ids
            whole = take(12, many_source, 8, **settings)
            same(take(3, many_source, 8, start_step=9, **settings), whole[9:])
        assert sorted(seen) == [make_clip(i).clip_id for i in range(60)]

    def test_more_pipelines_than_shards_are_refused(self, many):
        with pytest.raises(errors.InputError, match="4 shards are too few for 5 pipelines"):
            take(1, [source(many)], 4, num_pipelines=5)


@pytest.mark.parametrize("name", ["batch_size", "patches_per_clip", "shuffle_buffer"])
@pytest.mark.parametrize("value", [0, 2.5])
def test_invalid_counts_are_refused(many, name, value):
    settings = {"batch_size": 4, name: value}
    with pytest.raises(errors.InputError, match=f"{name} = {value}: must be a whole number"):
        stream([source(many)], settings.pop("batch_size"), **settings)
