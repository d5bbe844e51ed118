"""Bags: rows of examples that are windows of one clip where labels are of whole clips."""

import collections

import numpy as np
import pytest

from audioset_strong.core import errors
from audioset_strong.inputs.training_stream import BatchShare
from tests.datasets import make_clip, write_dataset
from tests.streams import same, source, take, take_samples

BAG = 5
PATCH = 15_600  # samples


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    clips = [make_clip(i) for i in range(60)]
    return write_dataset(tmp_path_factory.mktemp("data") / "many", clips, 4)


def rows(batches, name):
    """A key of batches, `[bags, BAG, ...]`."""
    values = np.concatenate([batch[name] for batch in batches])
    return values.reshape(-1, BAG, *values.shape[1:])


@pytest.mark.parametrize("policy", ["weak", "diffuse"])
def test_a_bag_is_one_clip_from_its_beginning_to_its_end(many, policy):
    batches = take_samples(6, source(many, policy), 50, windows_per_bag=BAG)  # an epoch of 60 bags
    assert rows(batches, "pooled").all()
    clips = rows(batches, "clip_id")
    assert (clips == clips[:, :1]).all()
    assert len(set(clips[:, 0])) == 60  # each clip once
    labels = rows(batches, "labels")
    assert (labels == labels[:, :1]).all()
    starts = rows(batches, "start")
    valid = 160_000 - PATCH + 1
    for part in range(BAG):  # one window from each fifth
        assert (starts[:, part] >= part * valid // BAG).all()
        assert (starts[:, part] < (part + 1) * valid // BAG).all()
    # Uniform over the clip as a whole.
    assert abs(starts.mean() / valid - 0.5) < 0.03
    assert len(np.unique(starts)) > 295


def test_windows_of_strong_labels_are_of_different_clips(many):
    batches = take_samples(12, source(many, "strong"), 20, windows_per_bag=BAG)
    assert not rows(batches, "pooled").any()
    for batch in batches:
        assert len(set(batch["clip_id"])) == 20
    assert set(collections.Counter(rows(batches, "clip_id").ravel()).values()) == {4}


@pytest.mark.parametrize("exact", [True, False])
def test_bags_of_a_mixture_have_the_shares_of_its_sources(many, exact):
    weak, strong = source(many, "weak", 0.25), source(many, "strong", 0.75)
    batches = take_samples(41, [weak, strong], 100, windows_per_bag=BAG, exact_shares=exact)
    sources = rows(batches, "source")
    assert (sources == sources[:, :1]).all()
    np.testing.assert_array_equal(rows(batches, "pooled"), sources == 0)
    assert sources.mean() == pytest.approx(0.75, abs=0.001 if exact else 0.06)
    if exact:
        per_batch = sources[:, 0].reshape(41, 20).sum(axis=1)
        assert set(per_batch) == {15}
    # Strong windows go through all clips as they do without bags.
    clips = rows(batches, "clip_id")[sources[:, 0] == 1].ravel()
    for epoch in range(len(clips) // 60):
        assert len(set(clips[epoch * 60 : epoch * 60 + 60])) == 60


def test_bags_begin_at_any_step_and_are_shared_by_replicas(many):
    mixture = [source(many, "weak", 0.5), source(many, "strong", 0.5)]
    whole = take(6, mixture, 20, windows_per_bag=BAG, seed=3)
    same(take(3, mixture, 20, windows_per_bag=BAG, seed=3, start_step=3), whole[3:])
    halves = [
        take_samples(6, mixture, 20, windows_per_bag=BAG, seed=3, share=BatchShare(2, first))
        for first in (0, 1)
    ]
    for number, batch in enumerate(whole):
        for name in ("clip_id", "start", "labels"):
            joined = np.concatenate([half[number][name] for half in halves])
            np.testing.assert_array_equal(joined, batch[name])


def test_balanced_bags_are_of_one_clip_each(tmp_path):
    clips = [make_clip(i, weak=(0,) if i < 18 else (1,)) for i in range(20)]
    data = write_dataset(tmp_path / "rare", clips, 2)
    batches = take_samples(10, source(data, "weak", balanced=True), 100, windows_per_bag=BAG)
    clip_ids = rows(batches, "clip_id")
    assert (clip_ids == clip_ids[:, :1]).all()
    rare = rows(batches, "labels")[:, 0, 1]
    assert rare.mean() == pytest.approx(0.5, abs=0.05)
    # A clip that comes several times an epoch gives other windows each time.
    bags = {tuple(bag) for bag in rows(batches, "start")}
    assert len(bags) == 200


def test_short_clips_give_what_they_have(tmp_path):
    clips = [make_clip(i, seconds=0.5 + 0.5 * (i % 2), segments=()) for i in range(4)]
    data = write_dataset(tmp_path / "short", clips, 1)
    (batch,) = take_samples(1, source(data, "weak"), 20, windows_per_bag=BAG)
    starts = dict(zip(batch["clip_id"], batch["start"].tolist(), strict=True))
    assert {int(start) for start in starts.values()} >= {0}
    assert max(starts.values()) <= 16_000 - PATCH


@pytest.mark.parametrize(
    ("size", "share", "part"), [(12, BatchShare(), 12), (20, BatchShare(8), 2)]
)
def test_batches_that_would_divide_a_bag_are_refused(many, size, share, part):
    with pytest.raises(errors.InputError, match=rf"= 5: must divide the {part} examples"):
        take(1, source(many, "weak"), size, windows_per_bag=BAG, share=share)
