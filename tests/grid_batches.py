"""What `evaluation_grid.grid_patches` gives, made up, and a model of it."""

import numpy as np

from audioset_strong.evaluation import scoring

MIDS = ("/m/a", "/m/b")
CLIPS, FRAMES, CLASSES = 5, 10, 2
ARRAYS = list(scoring.ARRAYS)


def batch(clip_ids, seed=0):
    """What `evaluation_grid.grid_patches` gives, of small patches."""
    rng = np.random.default_rng(seed)
    clips = len(clip_ids)

    def flags(*shape):
        return rng.random((clips, *shape)) < 0.5

    return {
        "clip_id": np.array([clip_id.encode() for clip_id in clip_ids], object),
        "log_mel": rng.normal(size=(clips, FRAMES, 3, 2)).astype(np.float32),
        "frame_valid": flags(FRAMES),
        "weak_labels": flags(CLASSES),
        "weak_known": flags(),
        "negative_labels": flags(CLASSES),
        "negatives_known": flags(),
        "frame_labels": rng.integers(-1, 2, (clips, FRAMES, CLASSES)).astype(np.int8),
        "strong_known": flags(),
    }


BATCHES = [batch(["x_0", "y_0", "z_0"]), batch(["-a_30000", "ü_0"], seed=1)]


def two_logits(patches):
    """Of each patch: the mean, and one so low that a naive sigmoid overflows."""
    return np.stack([patches.mean(axis=(1, 2)), -1000 * np.ones(len(patches))], axis=1)


def two_scores():
    """The scores of `two_logits` on `BATCHES`."""
    predict = scoring.batch_scorer(two_logits)
    return scoring.score(predict, BATCHES, mids=MIDS, are_logits=True)
