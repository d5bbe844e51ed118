"""What comparisons need, written and read."""

import dataclasses

import numpy as np
import pytest

from audioset_strong.core import errors
from audioset_strong.evaluation import leave_one_out, left_out_files


def example(classes=4):
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 2, (60, classes)).astype(np.int8)
    labels[:, 1] = 1  # without a negative
    found = list(
        leave_one_out.classes(labels, rng.normal(size=labels.shape), clip=np.repeat(range(20), 3))
    )
    return left_out_files.SetLeftOut(
        clip_ids=tuple(f"Yclip{i}_0" for i in range(20)),
        mids=tuple(f"/m/{k}" for k in range(classes)),
        metrics={
            "d_prime": leave_one_out.mean(found, "d_prime", num_clips=20),
            "lwlrap": leave_one_out.LeftOut(0.5, rng.random(20)),
        },
        classes=found,
        fingerprint="0123",
    )


def test_what_is_written_is_read(tmp_path):
    written = example()
    path = str(tmp_path / "strong_eval-20.npz")
    left_out_files.save(written, path)
    read = left_out_files.load(path)
    for name in ("clip_ids", "mids", "fingerprint"):
        assert getattr(read, name) == getattr(written, name)
    assert list(read.metrics) == ["d_prime", "lwlrap"]
    for name, metric in written.metrics.items():
        assert read.metrics[name].value == metric.value
        assert read.metrics[name].enough_positives == metric.enough_positives
        assert read.metrics[name].degrees == metric.degrees
        assert read.metrics[name].max_bias == metric.max_bias
        np.testing.assert_array_equal(read.metrics[name].without, metric.without)
    for ours, theirs in zip(read.classes, written.classes, strict=True):
        if theirs is None:
            assert ours is None
            continue
        assert ours.d_prime == theirs.d_prime
        counts = ours.num_negative_clips, ours.num_positive_clips
        assert counts == (theirs.num_negative_clips, theirs.num_positive_clips)
        np.testing.assert_array_equal(ours.clips, theirs.clips)
        np.testing.assert_allclose(ours.d_prime_without, theirs.d_prime_without, atol=1e-7)


@pytest.mark.parametrize("classes", [(), (None, None, None, None)])
def test_a_set_without_known_negatives_has_no_classes(classes, tmp_path):
    path = str(tmp_path / "weak_eval-20.npz")
    left_out_files.save(dataclasses.replace(example(), classes=classes), path)
    assert not any(left_out_files.load(path).classes)


def test_a_damaged_file_is_told(tmp_path):
    path = tmp_path / "strong_eval-20.npz"
    left_out_files.save(example(), str(path))
    whole = path.read_bytes()
    np.savez(tmp_path / "other.npz", mids=["/m/a"])
    for content in (b"", b"text", whole[: len(whole) // 2], (tmp_path / "other.npz").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(errors.InputError, match=r"strong_eval-20.npz: not what an evaluation"):
            left_out_files.load(str(path))
    with pytest.raises(FileNotFoundError):
        left_out_files.load(str(tmp_path / "nowhere.npz"))
