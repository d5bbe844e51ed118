"""Statistics of labels: how many there are, how long they last, how weak and strong ones relate.

The functions count items: tables with the columns clip_id and mid, one item a row. An item is a
label of a clip, a segment, or a frame, depending on the set. Source: sections 3.1 to 3.3 of the
paper, https://arxiv.org/abs/2105.07031.
"""

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
import scipy.sparse
import scipy.special

from audioset_strong.core import choices
from audioset_strong.labels.table_files import is_among

PAIR = ["clip_id", "mid"]
WEAK_MID, STRONG_MID = "weak_mid", "strong_mid"
_RANKED_COLUMN = {choices.ODDS_RATIO: "odds_ratio", choices.LOWER_BOUND: "low"}


def weak_items(weak: pd.DataFrame) -> pd.DataFrame:
    """Weak labels, one item each.

    Args:
      weak: clip_id and labels (tuples of mids), see `metadata.read_weak_csv`.

    Returns:
      clip_id str, mid str.

    Example:
      >>> weak = pd.DataFrame({"clip_id": ["a_0"], "labels": [("/m/x", "/m/y")]})
      >>> weak_items(weak)["mid"].tolist()
      ['/m/x', '/m/y']
    """
    lengths = weak["labels"].map(len).to_numpy(np.int64)
    return pd.DataFrame(
        {
            "clip_id": weak["clip_id"].to_numpy().repeat(lengths),
            "mid": pd.Series(list(itertools.chain.from_iterable(weak["labels"])), dtype=str),
        }
    )


def clip_items(items: pd.DataFrame) -> pd.DataFrame:
    """Each class of a clip once, however many items of the clip have it.

    Args:
      items: clip_id, mid; other columns are dropped.

    Returns:
      clip_id, mid.
    """
    return items[PAIR].drop_duplicates(ignore_index=True)


def summary(sets: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The size of sets of items: section 3.3's table.

    Args:
      sets: name -> items.

    Returns:
      set, clips, classes, items; per_class_mean, per_class_median (items of a class) and
      per_clip_mean, per_clip_median, per_clip_max. Classes and clips without an item do not count.

    Example:
      >>> items = pd.DataFrame({"clip_id": ["a_0", "a_0", "b_0"], "mid": ["/m/x", "/m/y", "/m/x"]})
      >>> summary({"weak": items})[["clips", "classes", "items", "per_clip_max"]].iloc[0].tolist()
      [2, 2, 3, 2]
    """
    rows = []
    for name, items in sets.items():
        per_class, per_clip = items["mid"].value_counts(), items["clip_id"].value_counts()
        rows.append(
            {
                "set": name,
                "clips": len(per_clip),
                "classes": len(per_class),
                "items": len(items),
                "per_class_mean": per_class.mean(),
                "per_class_median": per_class.median(),
                "per_clip_mean": per_clip.mean(),
                "per_clip_median": per_clip.median(),
                "per_clip_max": per_clip.max() if len(per_clip) else 0,
            }
        )
    return pd.DataFrame(rows)


def class_counts(sets: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Items of each class in each set; 0 where a set has none.

    Args:
      sets: name -> items.

    Returns:
      int64 columns named like the sets, indexed by mid; the classes of all sets, sorted.
    """
    counts = {name: items["mid"].value_counts() for name, items in sets.items()}
    return pd.DataFrame(counts).fillna(0).astype(np.int64).rename_axis("mid").sort_index()


def items_per_clip(sets: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How many clips have how many items.

    Args:
      sets: name -> items.

    Returns:
      set, items, clips, and share (of the set's clips).
    """
    tables = []
    for name, items in sets.items():
        clips = items["clip_id"].value_counts().value_counts().sort_index()
        tables.append(
            pd.DataFrame(
                {
                    "set": name,
                    "items": clips.index,
                    "clips": clips.to_numpy(),
                    "share": clips.to_numpy() / max(clips.sum(), 1),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def segment_durations(strong: pd.DataFrame) -> pd.DataFrame:
    """How long the segments of each class last.

    Args:
      strong: mid, start_ms, end_ms.

    Returns:
      total_seconds, shortest_seconds, median_seconds, mean_seconds, longest_seconds;
      indexed by mid, sorted.
    """
    durations = (strong["end_ms"] - strong["start_ms"]) / 1000
    names = {
        "total_seconds": "sum",
        "shortest_seconds": "min",
        "median_seconds": "median",
        "mean_seconds": "mean",
        "longest_seconds": "max",
    }
    return durations.groupby(strong["mid"]).agg(list(names.values())).set_axis(list(names), axis=1)


def duration_histogram(strong: pd.DataFrame, width_ms: int = 100) -> pd.DataFrame:
    """How many segments have which length.

    Args:
      strong: start_ms, end_ms.
      width_ms: width of a bin, in ms.

    Returns:
      from_seconds (inclusive), to_seconds (exclusive), segments; from 0 to the longest segment.
    """
    bins = np.bincount((strong["end_ms"] - strong["start_ms"]).to_numpy() // width_ms)
    start = np.arange(len(bins)) * width_ms
    return pd.DataFrame(
        {
            "from_seconds": start / 1000,
            "to_seconds": (start + width_ms) / 1000,
            "segments": bins,
        }
    )


def priors(weak: pd.DataFrame, strong: pd.DataFrame) -> pd.DataFrame:
    """The share of clips that have a class, by weak and by strong labels (Fig. 2).

    Only clips in both sets count, so that the labels are compared and not the choice of clips.

    Args:
      weak: items of weak labels.
      strong: items of strong labels.

    Returns:
      mid, weak_clips, strong_clips, weak_prior, strong_prior, ratio (strong to weak; infinite
      where there is no weak label); the classes of either set, sorted by mid. Empty where no clip
      is in both sets.
    """
    weak, strong = in_common(weak, strong)
    num_clips = weak["clip_id"].nunique()
    counts = class_counts({"weak_clips": weak, "strong_clips": strong}).reset_index()
    for kind in ("weak", "strong"):
        counts[f"{kind}_prior"] = counts[f"{kind}_clips"] / max(num_clips, 1)
    with np.errstate(divide="ignore"):
        counts["ratio"] = counts["strong_prior"] / counts["weak_prior"]
    return counts


def odds_ratios(
    weak: pd.DataFrame,
    strong: pd.DataFrame,
    *,
    confidence: float = 0.95,
    rank_by: str = choices.ODDS_RATIO,
) -> pd.DataFrame:
    """How weak and strong labels occur together, over the clips in both sets (section 3.3).

    Of a weak and a strong label, with clips counted as both, weak_only, strong_only and neither:

        odds ratio = (both * neither) / (weak_only * strong_only)
        standard error of its logarithm = sqrt(1/both + 1/weak_only + 1/strong_only + 1/neither)

    The interval is normal in the logarithm (Woolf 1955,
    https://doi.org/10.1111/j.1469-1809.1955.tb01348.x). Where one of the counts is 0, a half is
    added to each of the four (Haldane 1956, Anscombe 1956), so that all values are finite.

    Args:
      weak: items of weak labels.
      strong: items of strong labels.
      confidence: probability that the interval covers the ratio.
      rank_by: "odds_ratio", which section 3.1 ranks by, or "lower_bound", which prefers pairs that
        many clips have.

    Returns:
      weak_mid, strong_mid; both, weak_only, strong_only, neither (clips); odds_ratio, low, high;
      strong_given_weak, weak_given_strong (shares of clips). Pairs that no clip has are left out:
      their ratio is 0. Sorted by odds_ratio or low, highest first.
    """
    weak, strong = in_common(weak, strong)
    num_clips = weak["clip_id"].nunique()
    clip, _ = pd.factorize(pd.concat([weak["clip_id"], strong["clip_id"]]))
    has_weak, weak_mids = _indicator(clip[: len(weak)], weak["mid"], num_clips)
    has_strong, strong_mids = _indicator(clip[len(weak) :], strong["mid"], num_clips)
    together = scipy.sparse.coo_array(has_weak.T @ has_strong)
    row, column = together.coords
    both = together.data
    weak_clips, strong_clips = has_weak.sum(axis=0)[row], has_strong.sum(axis=0)[column]
    table = pd.DataFrame(
        {
            WEAK_MID: weak_mids.take(row),
            STRONG_MID: strong_mids.take(column),
            "both": both,
            "weak_only": weak_clips - both,
            "strong_only": strong_clips - both,
            "neither": num_clips - weak_clips - strong_clips + both,
        }
    )
    cells = table[["both", "weak_only", "strong_only", "neither"]].to_numpy(np.float64)
    cells = cells + 0.5 * (cells == 0).any(axis=1, keepdims=True)
    log_ratio = np.log(cells) @ [1, -1, -1, 1]
    margin = scipy.special.ndtri((1 + confidence) / 2) * np.sqrt((1 / cells).sum(axis=1))
    table["odds_ratio"] = np.exp(log_ratio)
    table["low"] = np.exp(log_ratio - margin)
    table["high"] = np.exp(log_ratio + margin)
    table["strong_given_weak"] = both / weak_clips
    table["weak_given_strong"] = both / strong_clips
    order = [_RANKED_COLUMN[rank_by], WEAK_MID, STRONG_MID]
    return table.sort_values(order, ascending=[False, True, True], ignore_index=True)


def top_pairs(ratios: pd.DataFrame, by: str, count: int) -> pd.DataFrame:
    """The labels that are associated most with each label of one side (section 3.1).

    Args:
      ratios: of `odds_ratios`, whose order is kept.
      by: "weak_mid" for the strong labels associated with each weak one, or "strong_mid".
      count: at most this many partners for each label, the first ones. A partner whose lower bound
        is not above 1 is left out, since it may be no more frequent than chance.

    Returns:
      The rows of `ratios`, with rank (1, 2, ...); sorted by that mid and rank.
    """
    surely = ratios[ratios["low"] > 1]
    ranked = surely.assign(rank=surely.groupby(by).cumcount() + 1)
    return ranked[ranked["rank"] <= count].sort_values([by, "rank"], ignore_index=True)


def in_common(weak: pd.DataFrame, strong: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The items of the clips that are in both sets, each class of a clip once."""
    strong = clip_items(strong[is_among(strong["clip_id"], weak["clip_id"])])
    weak = clip_items(weak[is_among(weak["clip_id"], strong["clip_id"])])
    return weak, strong


def _indicator(
    clip: np.ndarray, mid: pd.Series, num_clips: int
) -> tuple[scipy.sparse.csr_array, pd.Index]:
    """int64 `[num_clips, classes]`, 1 where a clip has a class; and the classes."""
    code, mids = pd.factorize(mid, sort=True)
    ones = np.ones(len(code), np.int64)
    return scipy.sparse.csr_array((ones, (clip, code)), (num_clips, len(mids))), mids
