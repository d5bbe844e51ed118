"""From the answers of several annotators to metadata: what they agree on, and what they do not.

Nothing is decided against an annotator in silence. A class is an explicit negative of a clip only
if somebody who was asked found it absent and nobody found it present. A class is present if more
annotators found it than did not. The rest, ties above all, is listed as a disagreement and stays
unknown.
"""

import collections
import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from audioset_strong.annotation import questions
from audioset_strong.annotation.answers import Answers, MarkedClip, Selection, Verdict
from audioset_strong.core import errors
from audioset_strong.labels import vocabularies

Pair = tuple[str, str]  # clip id, mid
Segment = tuple[int, int, str]
LEFT_UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class Merged:
    """What the annotators say together.

    Attributes:
      negatives: (clip id, mid) of classes that are absent, sorted.
      positives: (clip id, mid) of classes that are present in clips that `strong` lacks.
      strong: clip id -> its segments (start in ms, end in ms, mid), sorted; may be none.
      withheld: clips that were marked, but whose classes or times are disputed.
      disagreements: clip_id, label, annotators of each opinion, outcome.
    """

    negatives: tuple[Pair, ...]
    positives: tuple[Pair, ...]
    strong: Mapping[str, tuple[Segment, ...]]
    withheld: tuple[str, ...]
    disagreements: pd.DataFrame


def merge(answers: Answers, *, prefer: str | None = None) -> Merged:
    """Merges the answers.

    Where several annotators marked a class, its times are those that more than half of them marked.

    Args:
      answers: of all annotators.
      prefer: an annotator whose opinion holds wherever there are several; None for nobody.

    Raises:
      errors.InputError: an annotator contradicts themselves, or `prefer` answered nothing.
    """
    verdicts = answers.all_verdicts()
    if prefer is not None and prefer not in {verdict.annotator for verdict in verdicts}:
        names = ", ".join(sorted({verdict.annotator for verdict in verdicts}))
        raise errors.InputError(f"--prefer={prefer}: no such annotator; there are {names}")
    by_pair: dict[Pair, list[Verdict]] = collections.defaultdict(list)
    for verdict in verdicts:
        if verdict.answer != questions.UNSURE:
            by_pair[verdict.clip_id, verdict.label].append(verdict)
    outcomes = {pair: _outcome(votes, prefer) for pair, votes in by_pair.items()}
    rows = [
        _row(pair, votes, outcomes[pair])
        for pair, votes in sorted(by_pair.items())
        if len({vote.answer for vote in votes}) > 1
    ]
    strong, timeless = _strong(answers.marked, outcomes, prefer)
    rows += [
        {"clip_id": clip_id, "label": mid, "present": who, "absent": "", "outcome": "other times"}
        for clip_id, mid, who in timeless
    ]
    marked = {clip.clip_id for clip in answers.marked}
    return Merged(
        negatives=tuple(
            sorted(
                pair
                for pair, outcome in outcomes.items()
                if outcome == questions.ABSENT and any(vote.asked for vote in by_pair[pair])
            )
        ),
        positives=tuple(
            sorted(
                pair
                for pair, outcome in outcomes.items()
                if outcome == questions.PRESENT and pair[0] not in strong
            )
        ),
        strong=strong,
        withheld=tuple(sorted(marked.difference(strong))),
        disagreements=pd.DataFrame(
            rows, columns=["clip_id", "label", "present", "absent", "outcome"]
        ),
    )


def _outcome(votes: Sequence[Verdict], prefer: str | None) -> str:
    """PRESENT, ABSENT or unknown: what the votes on a class of a clip come to."""
    preferred = [vote.answer for vote in votes if vote.annotator == prefer]
    if preferred:
        return preferred[0]
    present = sum(vote.answer == questions.PRESENT for vote in votes)
    if not present:
        return questions.ABSENT
    return questions.PRESENT if 2 * present > len(votes) else LEFT_UNKNOWN


def _row(pair: Pair, votes: Sequence[Verdict], outcome: str) -> dict[str, str]:
    """A row of the table of disagreements."""
    by_answer = {
        answer: " ".join(sorted(vote.annotator for vote in votes if vote.answer == answer))
        for answer in (questions.PRESENT, questions.ABSENT)
    }
    return {"clip_id": pair[0], "label": pair[1], **by_answer, "outcome": outcome}


def _strong(
    marked: Sequence[MarkedClip], outcomes: Mapping[Pair, str], prefer: str | None
) -> tuple[dict[str, tuple[Segment, ...]], list[tuple[str, str, str]]]:
    """The segments of the clips on whose classes there is no tie.

    Returns:
      clip id -> segments; and (clip id, mid, annotators) of the classes that several marked, but at
      no common time.
    """
    by_clip: dict[str, list[MarkedClip]] = collections.defaultdict(list)
    for clip in marked:
        by_clip[clip.clip_id].append(clip)
    strong, timeless = {}, []
    for clip_id, versions in sorted(by_clip.items()):
        own = [version for version in versions if version.annotator == prefer]
        if own:
            strong[clip_id] = own[0].segments
            continue
        mids = sorted({mid for version in versions for *_, mid in version.segments})
        found: list[Segment] = []
        settled = True
        for mid in mids:
            outcome = outcomes.get((clip_id, mid), questions.PRESENT)
            settled &= outcome != LEFT_UNKNOWN
            if outcome != questions.PRESENT:
                continue
            lists = {
                version.annotator: [(s, e) for s, e, label in version.segments if label == mid]
                for version in versions
            }
            lists = {who: times for who, times in lists.items() if times}
            times = common_times(list(lists.values()))
            if not times:
                timeless.append((clip_id, mid, " ".join(sorted(lists))))
                settled = False
            found += [(start, end, mid) for start, end in times]
        if settled:
            strong[clip_id] = tuple(sorted(found))
    return strong, timeless


def common_times(lists: Sequence[Sequence[tuple[int, int]]]) -> list[tuple[int, int]]:
    """The times that more than half of several annotators marked.

    One annotator's segments stay as they are, also where they overlap.

    >>> common_times([[(0, 1000), (2000, 3000)], [(500, 2500)]])
    [(500, 1000), (2000, 2500)]

    Args:
      lists: of each annotator, (start, end) of segments.
    """
    if len(lists) == 1:
        return list(lists[0])
    borders = sorted({time for segments in lists for segment in segments for time in segment})
    times: list[tuple[int, int]] = []
    for start, end in itertools.pairwise(borders):
        count = sum(any(s <= start and end <= e for s, e in segments) for segments in lists)
        if 2 * count <= len(lists):
            continue
        if times and times[-1][1] == start:
            times[-1] = (times[-1][0], end)
        else:
            times.append((start, end))
    return times


def agreement(answers: Answers, vocabulary: vocabularies.Vocabulary) -> pd.DataFrame:
    """How far each two annotators agree on each class.

    Args:
      answers: of all annotators.
      vocabulary: for the names.

    Returns:
      annotator_1, annotator_2, label, name, clips (in which both said whether the class is there),
      agreement (share of these on which they say the same), kappa (Cohen 1960,
      https://doi.org/10.1177/001316446002000104; NaN where both always say the same one thing), and
      overlap (of the times that either marked, the share that both did; NaN without any); with a
      last row of each two for all classes together, whose label is empty.

    Raises:
      errors.InputError: an annotator contradicts themselves.
    """
    said: dict[str, dict[Pair, bool]] = collections.defaultdict(dict)
    for verdict in answers.all_verdicts():
        if verdict.answer != questions.UNSURE:
            present = verdict.answer == questions.PRESENT
            said[verdict.annotator][verdict.clip_id, verdict.label] = present
    times: dict[str, dict[str, MarkedClip]] = collections.defaultdict(dict)
    for clip in answers.marked:
        times[clip.annotator][clip.clip_id] = clip
    rows = []
    for one, two in itertools.combinations(sorted(said), 2):
        pairs = sorted(said[one].keys() & said[two].keys())
        both = sorted(times[one].keys() & times[two].keys())
        versions = [(times[one][clip_id], times[two][clip_id]) for clip_id in both]
        for mid in (*sorted({mid for _, mid in pairs}), ""):
            chosen = [pair for pair in pairs if mid in (pair[1], "")]
            votes = np.array([(said[one][pair], said[two][pair]) for pair in chosen])
            if not len(votes):
                continue
            rows.append(
                {
                    "annotator_1": one,
                    "annotator_2": two,
                    "label": mid,
                    "name": vocabulary.name(mid) if mid else "all classes",
                    "clips": len(votes),
                    "agreement": float(np.mean(votes[:, 0] == votes[:, 1])),
                    "kappa": _kappa(votes),
                    "overlap": _overlap(versions, mid),
                }
            )
    columns = ["annotator_1", "annotator_2", "label", "name", "clips", "agreement", "kappa"]
    return pd.DataFrame(rows, columns=[*columns, "overlap"])


def _kappa(votes: np.ndarray) -> float:
    """Cohen's kappa of two annotators; bool `[clips, 2]`."""
    one, two = votes.mean(axis=0)
    by_chance = one * two + (1 - one) * (1 - two)
    if by_chance == 1:
        return float("nan")
    return float((np.mean(votes[:, 0] == votes[:, 1]) - by_chance) / (1 - by_chance))


def _overlap(versions: Sequence[tuple[MarkedClip, MarkedClip]], mid: str) -> float:
    """Milliseconds that both marked, as a share of those that either did."""
    both, either = 0, 0
    for clips in versions:
        mids = {mid} if mid else {label for clip in clips for *_, label in clip.segments}
        for each in mids:
            lists = [[(s, e) for s, e, label in clip.segments if label == each] for clip in clips]
            shared = _length(common_times(lists))
            both += shared
            # A common border list of one annotator alone merges what overlaps.
            either += sum(_length(common_times([one, one])) for one in lists) - shared
    return both / either if either else float("nan")


def _length(times: Sequence[tuple[int, int]]) -> int:
    return sum(end - start for start, end in times)


def rates(merged: Merged, selection: Selection) -> pd.DataFrame:
    """How often the class that was asked about is there, by class and group.

    Of the clips that score highest, that is the rate of true positives among the unlabelled
    (section 3.2); of the control group, the rate among all that are not labelled.

    Args:
      merged: the answers.
      selection: what was asked.

    Returns:
      label, name, group, asked, answered, present, rate, and low and high, the ends of its exact
      95% interval (Clopper and Pearson 1934, https://doi.org/10.1093/biomet/26.4.404); rows of all
      classes together have an empty label.
    """
    present = set(merged.positives) | {
        (clip_id, mid) for clip_id, segments in merged.strong.items() for *_, mid in segments
    }
    absent = set(merged.negatives)
    counts: dict[tuple[str, str], np.ndarray] = collections.defaultdict(lambda: np.zeros(3, int))
    for pair, question in selection.asked.items():
        is_present, is_absent = pair in present, pair in absent
        for label in (question.label, ""):
            counts[label, question.group] += (1, is_present or is_absent, is_present)
    rows = []
    for (label, group), (asked, answered, found) in sorted(counts.items()):
        low, high = float("nan"), float("nan")
        if answered:
            interval = stats.binomtest(int(found), int(answered)).proportion_ci()
            low, high = interval.low, interval.high
        rows.append(
            {
                "label": label,
                "name": selection.vocabulary.name(label) if label else "all classes",
                "group": group,
                "asked": int(asked),
                "answered": int(answered),
                "present": int(found),
                "rate": found / answered if answered else float("nan"),
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(rows)
