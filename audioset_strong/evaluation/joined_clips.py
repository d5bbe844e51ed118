"""All clips of an event evaluation laid end to end, to count over them at once.

A class is absent from nearly all clips, and in a clip without the class every detection is a false
positive. `JoinedClips` counts those of all such clips together, at all thresholds above one. Clips
with the class are few and are left to `event_counts`.

How detections are counted. At a threshold, they are the maximal runs of frames that reach it. As
the threshold falls to the score of a frame, the frame opens a run where neither neighbour has
reached it, joins two runs where both have, and else lengthens one; `runs` adds these changes up.

What a run triggers depends on where it begins and ends (`triggering_runs`). So each frame adds the
run that it completes: the frames around it that score at least as much, up to the next lower frame
on either side. When the threshold has fallen to the higher of these two lower frames, the run has
grown into theirs, and is taken away. In a clip with the scores 0.2, 0.9, 0.5, 0.7:

    frame  its run        added at  bounded by     taken away at
    0.9    0.9            0.9       0.2 and 0.5    0.5
    0.7    0.7            0.7       0.5 and end    0.5
    0.5    0.9, 0.5, 0.7  0.5       0.2 and end    0.2
    0.2    all            0.2       both ends      never

which sums to 1 detection for thresholds above 0.7, 2 above 0.5, and 1 below. In a run of equal
scores only the first frame counts: the others open and close at the same threshold and cancel.
Frames below all thresholds of interest bound a run as the ends of a clip do.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

_CLASSES_AT_ONCE = 16  # a cache line of float32
ReferenceEvent = tuple[float, float, int]  # onset and offset in seconds, class index


@dataclasses.dataclass(frozen=True)
class EventClip:
    """A clip with scores and events.

    Attributes:
      scores: float `[frames, classes]`.
      times: float64 `[frames + 1]`, see `frame_times.boundaries`.
      events: class -> float64 `[events, 2]`, onsets and offsets in seconds; they neither overlap
        nor touch.
    """

    scores: np.ndarray
    times: np.ndarray
    events: dict[int, np.ndarray]


def merge(events: Sequence[ReferenceEvent], seconds: float) -> list[ReferenceEvent]:
    """Merges events of one class that overlap or touch.

    >>> merge([(1.0, 2.0, 0), (2.0, 12.0, 0), (0.5, 1.5, 1)], 10.0)
    [(1.0, 10.0, 0), (0.5, 1.5, 1)]

    Args:
      events: of one clip, in any order.
      seconds: length of the clip; what lies behind it is cut off.

    Returns:
      The events by class and onset.
    """
    merged: list[ReferenceEvent] = []
    for onset, offset, label in sorted(events, key=lambda event: (event[2], event[0])):
        onset, offset = max(onset, 0.0), min(offset, seconds)
        if offset <= onset:
            continue
        if merged and merged[-1][2] == label and onset <= merged[-1][1]:
            onset, earlier_offset, _ = merged.pop()
            offset = max(earlier_offset, offset)
        merged.append((onset, offset, label))
    return merged


def by_class(events: Sequence[ReferenceEvent]) -> dict[int, np.ndarray]:
    """Class -> float64 `[events, 2]`, the onsets and offsets of its events."""
    found: dict[int, list[tuple[float, float]]] = {}
    for onset, offset, label in events:
        found.setdefault(label, []).append((onset, offset))
    return {label: np.array(times) for label, times in found.items()}


class JoinedClips:
    """Clips laid end to end in slots: an empty slot before each clip and one slot a frame.

    There is an empty slot behind the last clip too. An empty slot has the score -inf, so no run of
    frames reaches across it.

    Attributes:
      clips: the clips.
      with_class: class -> indices of the clips that have events of it.
    """

    def __init__(self, clips: Sequence[EventClip], *, total_s: np.ndarray, segment_s: float):
        """Joins clips.

        Args:
          clips: the clips.
          total_s: float `[classes]`, seconds of each class's events in all clips.
          segment_s: length of the segments of segment-based metrics, in seconds.
        """
        self.clips = clips
        lengths = np.array([len(clip.times) for clip in clips])  # an empty slot and the frames
        self._empty = np.append(0, np.cumsum(lengths))
        self._clip = np.append(np.repeat(np.arange(len(clips)), lengths), len(clips))
        # Where the frame of each slot begins; for an empty slot, where the clip before it ends.
        self._times = np.concatenate([[0.0], *(clip.times for clip in clips)])
        self.with_class: dict[int, list[int]] = {}
        for i, clip in enumerate(clips):
            for label in clip.events:
                self.with_class.setdefault(label, []).append(i)
        self._join_pairs(lengths, total_s)
        self._join_segments(segment_s)

    def _join_pairs(self, lengths: np.ndarray, total_s: np.ndarray) -> None:
        """Lays out how long each class has been heard, for every pair of a clip and a class in it.

        For a pair, seconds heard since the start of the clip are at index `_pair_base + slot`.
        """
        self._heard_s = np.concatenate(
            [_heard_s(times, clip.times) for clip in self.clips for times in clip.events.values()]
        )
        self._num_pairs = np.array([len(clip.events) for clip in self.clips])
        self._first_pair = np.cumsum(self._num_pairs) - self._num_pairs
        pair_lengths = np.repeat(lengths, self._num_pairs)
        self._pair_base = np.cumsum(pair_lengths) - pair_lengths
        self._pair_base -= np.repeat(self._empty[:-1] + 1, self._num_pairs)
        labels = [label for clip in self.clips for label in clip.events]
        self._pair_weight = 1 / total_s[labels]

    def _join_segments(self, segment_s: float) -> None:
        """Finds the slots of each segment, and the segments of each class."""
        edges = []  # of each segment, the first slot and the one behind the last
        present: dict[int, list[np.ndarray]] = {}
        num_segments = 0
        for i, clip in enumerate(self.clips):
            count = np.ceil(np.round(clip.times[-1] / segment_s, 6))
            begin = np.round(np.arange(count) * segment_s, 6)
            end = np.round(begin + segment_s, 6)  # the last segment may reach beyond the clip
            first = np.searchsorted(clip.times, begin, side="right") - 1
            last = np.minimum(np.searchsorted(clip.times, end), len(clip.scores))
            edges.append(np.stack([first, last], axis=1) + self._empty[i] + 1)
            for label, times in clip.events.items():
                overlaps = (times[:, :1] < end) & (times[:, 1:] > begin)
                found = num_segments + np.flatnonzero(overlaps.any(axis=0))
                present.setdefault(label, []).append(found)
            num_segments += len(begin)
        self._edges = np.concatenate(edges).ravel()
        self._present = {label: np.concatenate(found) for label, found in present.items()}

    def scores(self, labels: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The scores of classes.

        Args:
          labels: the classes.

        Yields:
          A class, in rising order, and its scores, float64 `[slots]`; -inf in empty slots.
        """
        dtype = np.result_type(np.float32, *{clip.scores.dtype for clip in self.clips})
        # A frame's scores lie side by side in memory: one reading serves several classes.
        for group, chosen in itertools.groupby(sorted(labels), lambda k: k // _CLASSES_AT_ONCE):
            columns = slice(group * _CLASSES_AT_ONCE, (group + 1) * _CLASSES_AT_ONCE)
            joined = np.full((_CLASSES_AT_ONCE, len(self._clip)), -np.inf, dtype)
            for clip, empty in zip(self.clips, self._empty.tolist(), strict=False):
                part = clip.scores[:, columns]
                joined[: part.shape[1], empty + 1 : empty + 1 + len(part)] = part.T
            for label in chosen:
                yield label, joined[label - columns.start].astype(np.float64)

    def without(self, scores: np.ndarray, label: int) -> np.ndarray:
        """The scores in clips without a class, float64 `[slots]`; other clips are empty slots."""
        scores = scores.copy()
        for i in self.with_class[label]:
            scores[self._empty[i] : self._empty[i + 1]] = -np.inf
        return scores

    def highest(self, scores: np.ndarray) -> np.ndarray:
        """The highest score of each clip that has one, falling; float64 `[clips]`."""
        highest = np.maximum.reduceat(scores, self._empty[:-1])
        return np.sort(highest[np.isfinite(highest)])[::-1]

    def triggering_runs(self, scores: np.ndarray, *, above: float, share: float) -> np.ndarray:
        """How detections and their triggers come and go as the threshold falls.

        Args:
          scores: of `without`.
          above: the thresholds of interest are higher.
          share: a detection triggers another class where the events of that class cover at least
            this share of it.

        Returns:
          float64 `[changes, 3]`: a threshold, the change of the number of detections there, and
          that of the cross triggers, each weighted by the inverse of the seconds of that other
          class's events. A threshold may occur twice.
        """
        kept = np.flatnonzero(scores > above)
        # The slots that are left when each stretch of lower frames becomes one empty slot.
        stretches = np.cumsum(np.diff(kept, prepend=-1) > 1)
        place = np.arange(len(kept)) + stretches
        size = len(kept) + int(stretches.max(initial=0)) + 1
        packed, slot = np.full(size, -np.inf), np.zeros(size, np.int64)
        packed[place], slot[place] = scores[kept], kept
        before = nearest_lower(packed, or_equal=True)[place]
        behind = size - 1 - nearest_lower(packed[::-1], or_equal=False)[::-1][place]
        triggers = self._triggers(
            slot[before + 1], slot[behind - 1] + 1, clip=self._clip[kept], share=share
        )
        added = np.stack([scores[kept], np.ones(len(kept)), triggers], axis=1)
        removed = -added
        removed[:, 0] = np.maximum(packed[before], packed[behind])
        return np.concatenate([added, removed[np.isfinite(removed[:, 0])]])

    def _triggers(
        self, first: np.ndarray, last: np.ndarray, *, clip: np.ndarray, share: float
    ) -> np.ndarray:
        """The weighted number of other classes that detections trigger.

        Args:
          first: int `[detections]`, slot of the first frame.
          last: slot behind the last frame.
          clip: index of the clip.
          share: see `triggering_runs`.

        Returns:
          float64 `[detections]`.
        """
        needed_s = np.round(share * (self._times[last] - self._times[first]), 6)
        triggers = np.zeros(len(first))
        # Round n looks at the n-th class of each clip, where a clip has as many.
        left, nth = np.arange(len(first)), 0
        while True:
            left = left[self._num_pairs[clip[left]] > nth]
            if not len(left):
                return triggers
            pair = self._first_pair[clip[left]] + nth
            base = self._pair_base[pair]
            heard_s = self._heard_s[base + last[left]] - self._heard_s[base + first[left]]
            is_trigger = np.round(heard_s, 6) >= needed_s[left]
            triggers[left] += np.where(is_trigger, self._pair_weight[pair], 0.0)
            nth += 1

    def segments(self, scores: np.ndarray, label: int) -> tuple[np.ndarray, np.ndarray]:
        """The segments of all clips.

        Args:
          scores: of the class, see `scores`.
          label: the class.

        Returns:
          float64 `[segments]`, the highest score in each; and bool `[segments]`, whether an event
          of the class lies in it.
        """
        highest = np.maximum.reduceat(scores, self._edges)[::2]
        present = np.zeros(len(highest), bool)
        present[self._present[label]] = True
        return highest, present


def runs(scores: np.ndarray, *, above: float) -> np.ndarray:
    """How detections come and go as the threshold falls, without what they are.

    A frame that no neighbour reaches opens a run, one that both reach joins two, and any other
    lengthens one, which changes nothing. Of equal neighbours the first counts as higher.

    >>> runs(np.array([-np.inf, 0.2, 0.9, 0.5, 0.7, -np.inf]), above=0.1).tolist()
    [[0.9, 1.0], [0.5, -1.0], [0.7, 1.0]]

    Args:
      scores: float64 `[slots]`; -inf in empty slots, the first and the last among them.
      above: the thresholds of interest are higher.

    Returns:
      float64 `[changes, 2]`: a threshold, and the change of the number of detections there.
    """
    frame = np.flatnonzero(scores > above)
    own = scores[frame]
    change = 1 - (scores[frame - 1] >= own).astype(np.int8) - (scores[frame + 1] > own)
    return np.stack([own, change], axis=1)[change != 0]


def _heard_s(events: np.ndarray, times: np.ndarray) -> np.ndarray:
    """For how long events `[events, 2]` have been heard at times `[n]`; float64 `[n]`."""
    return np.clip(times[:, np.newaxis] - events[:, 0], 0.0, np.diff(events)[:, 0]).sum(axis=1)


def nearest_lower(scores: np.ndarray, *, or_equal: bool) -> np.ndarray:
    """For each slot with a score, the nearest earlier slot with a lower score.

    >>> scores = np.array([-np.inf, 0.2, 0.9, 0.5, 0.7, -np.inf])
    >>> nearest_lower(scores, or_equal=False)[1:-1].tolist()
    [0, 1, 1, 3]

    Args:
      scores: float64 `[slots]`; the first is -inf.
      or_equal: whether an equal score will do.

    Returns:
      int64 `[slots]`; without meaning where the score is -inf.
    """
    too_high = np.greater if or_equal else np.greater_equal
    candidate = np.arange(-1, len(scores) - 1)
    left = np.flatnonzero(np.isfinite(scores))
    while len(left):
        left = left[too_high(scores[candidate[left]], scores[left])]
        # A candidate that is too high has passed only slots that are higher still, so its own
        # candidate, however far that search has come, is the next one to try.
        candidate[left] = candidate[candidate[left]]
    return candidate
