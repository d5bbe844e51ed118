"""Sources: their settings, which clips they take, and how often."""

import collections
import functools
import shutil

import numpy as np
import pytest

from audioset_strong.core import errors
from audioset_strong.inputs import opened_sources, training_sources
from tests.datasets import make_clip, write_dataset
from tests.streams import clip_ids, same, source, take_samples, windows


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    clips = [make_clip(i) for i in range(60)]
    return write_dataset(tmp_path_factory.mktemp("data") / "many", clips, 4)


def examples_of(one):
    (opened,) = opened_sources.open_sources([one]).sources
    return opened.examples


def test_mistakes_are_named_as_users_bind_them():
    with pytest.raises(errors.InputError, match=r"single_source.policy = 'storng': must be one of"):
        training_sources.single_source("d", ["a"], policy="storng")
    with pytest.raises(errors.InputError, match=r"single_source.datasets = 'a': must be a list"):
        training_sources.single_source("d", "a", policy="strong")
    with pytest.raises(errors.InputError, match=r"single_source.datasets = \[3\]: must be a list"):
        training_sources.single_source("d", [3], policy="strong")
    with pytest.raises(errors.InputError, match=r"video_fraction = 'half': must lie in"):
        training_sources.single_source("d", ["a"], policy="strong", video_fraction="half")
    with pytest.raises(errors.InputError, match=r"Source.datasets = 'd/a': must be a list"):
        training_sources.Source("d/a", "strong")
    with pytest.raises(errors.InputError, match=r"Source.weight = '1': must be a number"):
        training_sources.Source(("d/a",), "strong", "1")
    mixture = functools.partial(
        training_sources.weak_strong_mixture, "d", ["a"], strong_datasets=["b"]
    )
    with pytest.raises(errors.InputError, match=r"weak_strong_mixture.mu = 1.5: must lie in"):
        mixture(policy="strong", mu=1.5)
    with pytest.raises(errors.InputError, match=r"weak_strong_mixture.policy = 'all': must be one"):
        mixture(policy="all", mu=0.5)
    with pytest.raises(errors.InputError, match=r"Source.policy = 'storng': must be one of weak"):
        source("d", "storng")


def test_a_dataset_given_twice_in_one_source_is_refused(many):
    twice = training_sources.Source((many, f"{many}/"), "weak")
    with pytest.raises(errors.InputError, match=r"many/ is given twice in one source \(also as"):
        opened_sources.open_sources([twice])


def test_priors_are_the_label_rates_of_the_mixture(many):
    priors = opened_sources.class_priors([source(many, "weak", 0.5), source(many, "strong", 0.5)])
    always, never = 61 / 62, 1 / 62
    half = (always + never) / 2
    np.testing.assert_allclose(priors, [half, half, half, never])


class TestVideoFraction:
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
            chosen = source(data, video_fraction=fraction)
            examples = examples_of(chosen)
            first, *others = take_samples(3, chosen, examples)  # a batch an epoch
            ids = clip_ids([first])
            assert len(set(ids)) == len(ids)
            kept[fraction] = set(ids)
            assert set(clip_ids(others)) == set(ids)
            videos = collections.Counter(clip_id.partition("_")[0] for clip_id in ids)
            assert set(videos.values()) == {2}
        assert kept[0.2] < kept[0.5] < kept[1.0]
        assert len(kept[1.0]) == 200
        for fraction in (0.2, 0.5):  # binomial
            sigma = np.sqrt(100 * fraction * (1 - fraction))
            assert abs(len(kept[fraction]) / 2 - 100 * fraction) < 3 * sigma

    def test_a_resumed_stream_continues_where_it_stopped(self, many):
        half = source(many, video_fraction=0.5)
        whole = take_samples(12, half, 8)
        same(take_samples(3, half, 8, start_step=9), whole[9:])

    def test_mixtures_and_single_sources_take_it(self):
        weak, strong = training_sources.weak_strong_mixture(
            "d", ["a"], strong_datasets=["b"], policy="strong", mu=0.5, strong_video_fraction=0.1
        )
        assert (weak.video_fraction, strong.video_fraction) == (1.0, 0.1)
        (single,) = training_sources.single_source("d", ["a"], policy="weak", video_fraction=0.3)
        assert single.video_fraction == 0.3

    @pytest.mark.parametrize("fraction", [0.0, 1.5, -1.0])
    def test_a_fraction_outside_0_to_1_is_refused_by_the_name_that_was_bound(self, fraction):
        message = rf"{{}} = {fraction}: must lie in \(0, 1\]"
        with pytest.raises(errors.InputError, match=message.format("Source.video_fraction")):
            source("d", video_fraction=fraction)
        with pytest.raises(errors.InputError, match=message.format("single_source.video_fraction")):
            training_sources.single_source("d", ["a"], policy="weak", video_fraction=fraction)
        name = "weak_strong_mixture.strong_video_fraction"
        with pytest.raises(errors.InputError, match=message.format(name)):
            training_sources.weak_strong_mixture(
                "d",
                ["a"],
                strong_datasets=["b"],
                policy="strong",
                mu=0.5,
                strong_video_fraction=fraction,
            )

    def test_a_fraction_that_leaves_nothing_is_refused(self, many):
        with pytest.raises(
            errors.InputError, match=r"video_fraction = 1e-09 of .*many: no clip is left"
        ):
            take_samples(1, source(many, video_fraction=1e-9), 4)

    def test_a_dataset_rewritten_under_the_same_path_is_counted_again(self, tmp_path):
        counts = []
        for clips in (40, 80):
            path = tmp_path / "data"
            if path.exists():
                shutil.rmtree(path)
            write_dataset(path, [make_clip(i) for i in range(clips)], 1)
            half = source(str(path), video_fraction=0.5)
            counts.append(examples_of(half))
            assert len(set(clip_ids(take_samples(2, half, counts[-1])))) == counts[-1]
        assert counts[0] < counts[1]


class TestBalanced:
    def test_clips_come_as_often_as_their_classes_are_rare(self, tmp_path):
        # Class 0: 40 clips, class 1: 10 clips, 2 of them with both; 10 clips without label.
        weak = [(0,)] * 38 + [(0, 1)] * 2 + [(1,)] * 8 + [()] * 10
        clips = [make_clip(i, weak=labels) for i, labels in enumerate(weak)]
        data = write_dataset(tmp_path / "uneven", clips, 2)
        batches = take_samples(200, source(data, "weak", balanced=True), 58)
        counts = collections.Counter(clip_ids(batches))
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
        assert collections.Counter(windows(batches)).most_common(1)[0][1] <= 3

    @pytest.mark.parametrize("step", [2, 9])
    def test_a_resumed_stream_continues_where_it_stopped(self, many, step):
        balanced = source(many, "weak", balanced=True)
        whole = take_samples(step + 2, balanced, 12)
        same(take_samples(2, balanced, 12, start_step=step), whole[step:])

    def test_with_a_fraction_too_it_resumes_and_stays_within_the_fraction(self, many):
        balanced = source(many, "weak", balanced=True, video_fraction=0.5)
        whole = take_samples(14, balanced, 12)
        same(take_samples(2, balanced, 12, start_step=12), whole[12:])
        plain = source(many, "weak", video_fraction=0.5)
        examples = examples_of(plain)
        assert set(clip_ids(whole)) <= set(clip_ids(take_samples(examples, [plain], 1)))

    def test_several_windows_a_clip_are_other_windows(self, many):
        balanced = source(many, "weak", balanced=True)
        found = windows(take_samples(12, balanced, 20, patches_per_clip=2))
        assert len(set(found)) > 0.95 * len(found)

    def test_an_epoch_has_each_clip_as_often_as_its_rate_says_up_to_one(self, tmp_path):
        weak = [(0,)] * 30 + [(1,)] * 5
        clips = [make_clip(i, weak=labels) for i, labels in enumerate(weak)]
        data = write_dataset(tmp_path / "uneven", clips, 1)
        epochs = take_samples(6, source(data, "weak", balanced=True), 35)
        for epoch in epochs:
            counts = collections.Counter(clip_ids([epoch]))
            for clip, labels in zip(clips, weak, strict=True):
                rate = 35 / 2 / (30 if labels == (0,) else 5)
                assert abs(counts[clip.clip_id] - rate) < 2  # one part begun at either end
            assert counts.total() == 35

    @pytest.mark.parametrize("balanced_first", [False, True])
    def test_beside_an_unbalanced_source_each_draws_its_own_clips(self, tmp_path, balanced_first):
        own = {}
        for name, first in (("one", 0), ("other", 100)):
            clips = [make_clip(i, 1.0) for i in range(first, first + 30)]
            own[write_dataset(tmp_path / name, clips, 1)] = {clip.clip_id for clip in clips}
        one, other = own
        sources = [source(one, "weak"), source(other, "weak", balanced=True)]
        if balanced_first:
            sources.reverse()
        for batch in take_samples(6, sources, 40):
            for clip_id, number in zip(batch["clip_id"], batch["source"], strict=True):
                assert clip_id.decode() in own[sources[number].datasets[0]]

    def test_clips_without_labels_alone_are_refused(self, tmp_path):
        clips = [make_clip(i, weak=()) for i in range(4)]
        data = write_dataset(tmp_path / "none", clips, 1)
        with pytest.raises(errors.InputError, match=r"balanced .*none: no clip has a label"):
            take_samples(1, source(data, "weak", balanced=True), 4)
