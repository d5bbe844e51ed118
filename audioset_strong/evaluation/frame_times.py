"""Which part of a recording each of its frame scores stands for, and smoothing them over time."""

import numpy as np
from scipy import ndimage


def boundaries(num_frames: int, *, hop_s: float, frame_s: float, seconds: float) -> np.ndarray:
    """Boundaries of the intervals that the frames of a recording stand for.

    Where frames overlap, each stands for the hop-long interval at its centre. The first and the
    last frame also cover the start and the end of the recording.

    >>> boundaries(4, hop_s=0.16, frame_s=0.96, seconds=1.5).tolist()
    [0.0, 0.56, 0.72, 0.88, 1.5]
    >>> boundaries(2, hop_s=0.96, frame_s=0.96, seconds=1.92).tolist()
    [0.0, 0.96, 1.92]

    Args:
      num_frames: of the recording, at least one.
      hop_s: seconds from the start of one frame to the start of the next.
      frame_s: length of a frame in seconds.
      seconds: length of the recording.

    Returns:
      float64 `[num_frames + 1]`, from 0 to `seconds`, rounded to microseconds. Frame i stands for
      the time from element i to element i + 1. Boundaries behind the end of the recording are moved
      to its end, so that a frame there stands for nothing.
    """
    inner = np.round(np.arange(1, num_frames) * hop_s + (frame_s - hop_s) / 2, 6)
    return np.concatenate([[0.0], np.minimum(inner, seconds), [seconds]])


def median_filtered(scores: np.ndarray, width: int) -> np.ndarray:
    """Scores after a median filter over time.

    The first and the last frame are repeated beyond the ends. Only frames closer to an end than
    `width // 2` depend on that, so a stream can be filtered chunk by chunk: give each chunk
    `width // 2` frames of its neighbours and drop as many results at both ends.

    >>> median_filtered(np.array([[0.1], [0.9], [0.2], [0.3]]), 3).ravel().tolist()
    [0.1, 0.2, 0.3, 0.3]

    Args:
      scores: float `[frames, classes]`.
      width: of the filter in frames, odd; 1 changes nothing.

    Returns:
      Array of the shape and type of `scores`.
    """
    return ndimage.median_filter(scores, size=(width, 1), mode="nearest")
