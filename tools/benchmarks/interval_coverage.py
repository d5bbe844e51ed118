"""How often the 95% intervals hold the value that they are about, on simulated eval sets.

Example:
  interval_coverage.py --data_sets=400 --processes=2 --cell=demo --cell=few_classes

Each cell of the study is a kind of eval set: how many classes, how many clips with positives and
with explicit negatives a class has, and how separable the classes are. A cell draws its classes
once and then, for each data set, clips, labels and the scores of two models. Scores are normal, so
that the d' of every class is known; a class's frames of one clip share part of their noise, all
classes of a clip share a little, and so do the two models. The true mAP is integrated, the true
lwlrap is that of all data sets together.

A line for each cell gives, in percent: how often the intervals of d', mAP, lwlrap and the
difference of two models' d' are printed and, of those, how often they hold the truth; the same for
two bootstraps of d' (200 replicates, the first 100 data sets), percentile and normal less its bias;
and of classes whose d' does not differ between the models, how many are found to differ by a
p-value of 5%, with the share of such classes among those that are found by a false discovery rate
of 5%, and how many are rightly found. With 400 data sets, a coverage of 95% is known to +-2.2 (two
standard errors).
"""

import dataclasses
import functools
import json
import multiprocessing
import time

import numpy as np
from absl import flags
from scipy import stats

from audioset_strong.core import cli, errors
from audioset_strong.evaluation import intervals, leave_one_out, metrics, paired

_DATA_SETS = flags.DEFINE_integer("data_sets", 400, "Data sets of each cell.", lower_bound=2)
_PROCESSES = flags.DEFINE_integer("processes", 1, "Processes that share the work.", lower_bound=1)
_CELL = flags.DEFINE_multi_string("cell", [], "Cell of the study; may be repeated. Default: all.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of everything that is drawn.")

_REPLICATES, _BOOTSTRAPPED = 200, 100  # of the bootstrap, and data sets that it is tried on
_CLIP_AND_CLASS, _CLIP, _FRAME = 0.4, 0.1, 0.5  # shares of the noise's variance
_MODELS_SHARE = 0.7  # correlation of the two models' noise


@dataclasses.dataclass(frozen=True)
class Cell:
    """A kind of eval set.

    Attributes:
      classes: number of classes.
      positives: fewest and most clips with positives that a class has, on average.
      negatives: fewest and most clips that are explicit negatives of a class.
      clips: number of clips.
      frames: of a clip.
      d_prime: mean over classes; it varies by 0.6 between them.
    """

    classes: int
    positives: tuple[int, int]
    negatives: tuple[int, int]
    clips: int
    frames: int
    d_prime: float = 1.4


CELLS = {
    "strong_eval": Cell(356, (14, 240), (32, 216), 2000, 3),  # the paper's class sizes
    "weak_eval": Cell(356, (14, 240), (32, 216), 2000, 1),
    "large_classes": Cell(40, (50, 1000), (50, 200), 3000, 3),
    "demo": Cell(32, (14, 100), (40, 200), 500, 5),
    "few_classes": Cell(5, (14, 240), (32, 216), 600, 5),
    "separable": Cell(32, (14, 100), (40, 200), 500, 5, d_prime=3.0),
    "uneven": Cell(32, (3, 300), (20, 100), 500, 5),
    "rare_classes": Cell(32, (3, 20), (10, 60), 150, 5),
    "many_rare": Cell(356, (3, 20), (10, 60), 600, 3),
    "tiny": Cell(10, (4, 15), (10, 40), 60, 5),
}


class _Simulation:
    """Draws the eval sets of a cell."""

    def __init__(self, cell: Cell, seed: int):
        rng = np.random.default_rng(seed)
        self.cell = cell
        low, high = np.log(cell.positives)
        self._positive = np.exp(rng.uniform(low, high, cell.classes)) / cell.clips
        self._negative = rng.uniform(*cell.negatives, cell.classes) / cell.clips
        first = rng.normal(cell.d_prime, 0.6, cell.classes)
        # The second model is better in every other class and the same in the rest.
        better = rng.normal(0.3, 0.2, cell.classes) * (np.arange(cell.classes) % 2)
        self.d_primes = np.stack([first, first + better])
        self.equal = better == 0
        frames = self._positive * (cell.frames + 1) / 2
        known = (self._positive + (1 - self._positive) * self._negative) * cell.frames
        self.precisions = _average_precision(first, frames / known)

    def draw(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels, the scores of both models, and the clips of a data set."""
        rng = np.random.default_rng([seed, 1])
        cell = self.cell
        shape = cell.clips, cell.frames, cell.classes
        present, absent = (
            rng.random((cell.clips, 1, cell.classes)) < share
            for share in (self._positive, self._negative)
        )
        count = rng.integers(1, cell.frames + 1, present.shape)
        positive = present & (np.arange(cell.frames)[:, np.newaxis] < count)
        labels = np.where(positive, 1, np.where(present | absent, 0, -1)).astype(np.int8)

        def noise() -> np.ndarray:
            drawn = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(_FRAME))
            for share, wide in ((_CLIP_AND_CLASS, present.shape), (_CLIP, (cell.clips, 1, 1))):
                drawn += rng.standard_normal(wide, np.float32) * np.float32(np.sqrt(share))
            return drawn

        first = noise()
        second = _MODELS_SHARE * first + np.sqrt(1 - _MODELS_SHARE**2) * noise()
        scores = [
            (each + positive * d_prime).reshape(-1, cell.classes).astype(np.float32)
            for each, d_prime in zip((first, second), self.d_primes, strict=True)
        ]
        clip = np.repeat(np.arange(cell.clips), cell.frames)
        return labels.reshape(-1, cell.classes), np.stack(scores), clip


@functools.lru_cache(1)
def _simulation(cell: Cell, seed: int) -> _Simulation:
    return _Simulation(cell, seed)


def _average_precision(d_prime: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Average precision of unit normals at a distance of d', `[classes]`.

    Args:
      d_prime: `[classes]`.
      share: of positives among the samples, `[classes]`.
    """
    threshold, step = np.linspace(-8, 14, 20_001, retstep=True)
    threshold = threshold[:, np.newaxis]
    hits = share * stats.norm.sf(threshold - d_prime)
    misses = (1 - share) * stats.norm.sf(threshold)
    density = stats.norm.pdf(threshold - d_prime) * step
    return np.sum(density * hits / (hits + misses), axis=0)


def _data_set(cell: Cell, seed: int, number: int) -> dict[str, tuple[float, ...]]:
    """What is found in a data set: name -> (low, high, truth), or numbers to be summed."""
    simulation = _simulation(cell, seed)
    labels, scores, clip = simulation.draw([seed, number])
    both = [list(leave_one_out.classes(labels, each, clip=clip)) for each in scores]
    used = np.array([each is not None for each in both[0]])
    d_primes = [leave_one_out.mean(each, "d_prime", num_clips=cell.clips) for each in both]
    precision = leave_one_out.mean(both[0], "average_precision", num_clips=cell.clips)
    ranking = metrics.ranking_precision(labels, scores[0])
    lwlrap = leave_one_out.lwlrap(ranking, clip=clip, num_clips=cell.clips)
    truth, other = simulation.d_primes[:, used].mean(axis=1)
    nothing = np.nan, np.nan
    compared = paired.difference([d_primes[1]], [d_primes[0]])
    percentile = normal = nothing
    if number < _BOOTSTRAPPED:
        percentile, normal = _bootstrap(labels, scores[0], clip, seed=number)
    tests = paired.class_tests([both[1]], [both[0]])
    found = tests["false_discovery_rate"] <= 0.05
    equal = simulation.equal[tests["class"]]
    return {
        "d_prime": (*(intervals.interval(d_primes[0]) or nothing), truth),
        "mAP": (*(intervals.interval(precision) or nothing), simulation.precisions[used].mean()),
        "lwlrap": (*(intervals.interval(lwlrap) or nothing), np.nan),
        "pooled": (ranking.precision.sum(), len(ranking.precision)),
        "difference": (compared.low, compared.high, other - truth),
        "percentile": (*percentile, truth),
        "normal": (*normal, truth),
        "equal": (np.sum(tests["p_value"][equal] <= 0.05), np.sum(equal)),
        "discovered": (np.sum(found & equal) / max(found.sum(), 1), np.sum(found & ~equal)),
    }


def _bootstrap(
    labels: np.ndarray, scores: np.ndarray, clip: np.ndarray, *, seed: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Percentile interval of d', and the normal interval less its bias (Davison and Hinkley)."""
    clips = clip[-1] + 1
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(clips, np.full(clips, 1 / clips), _REPLICATES).T
    once = np.ones((clips, 1), np.int64)
    weights = np.concatenate([once, weights], axis=1).astype(np.float32)
    total, count = np.zeros((2, weights.shape[1]))
    for k in range(labels.shape[1]):
        known = np.nonzero(labels[:, k] >= 0)[0]
        known = known[np.argsort(scores[known, k])]
        positive = labels[known, k] == 1
        drawn = weights[clip[known]]
        below = np.cumsum(drawn * ~positive[:, np.newaxis], axis=0)
        of_positives = drawn[positive]
        pairs = of_positives.sum(axis=0) * (below[-1] if len(below) else 0)
        auc = np.sum(of_positives * below[positive], axis=0) / np.maximum(pairs, 1)
        usable = pairs > 0
        total[usable] += metrics.d_prime(auc[usable].astype(np.float64).clip(0, 1), pairs[usable])
        count += usable
    values = total / np.maximum(count, 1)
    value, replicates = values[0], values[1:]
    low, high = np.quantile(replicates, [0.025, 0.975])
    centre, half = 2 * value - replicates.mean(), 1.96 * replicates.std(ddof=1)
    return (low, high), (centre - half, centre + half)


def _summary(found: list[dict[str, tuple[float, ...]]]) -> dict[str, float]:
    """A line of the table, in percent."""
    line: dict[str, float] = {"data_sets": len(found)}
    columns = {key: np.array([each[key] for each in found], np.float64) for key in found[0]}
    precision, labels = columns["pooled"].sum(axis=0)
    columns["lwlrap"][:, 2] = precision / labels
    for metric in ("d_prime", "mAP", "lwlrap", "difference", "percentile", "normal"):
        low, high, truth = columns[metric].T
        printed = ~np.isnan(low)
        held = (low <= truth) & (truth <= high)
        line[f"{metric}_printed"] = 100 * printed.mean()
        line[metric] = 100 * held[printed].mean() if printed.any() else np.nan
    wrong, tested = columns["equal"].sum(axis=0)
    line["false_positives"] = 100 * wrong / tested if tested else np.nan
    line["false_discoveries"] = 100 * columns["discovered"][:, 0].mean()
    line["discoveries"] = columns["discovered"][:, 1].mean()
    return line


def _cell(line: dict[str, float], metric: str) -> str:
    """How many of the intervals hold the truth, of how many that are printed."""
    if np.isnan(line[metric]):
        return "-"
    return f"{line[metric]:.1f}% of {line[f'{metric}_printed']:.0f}%"


def main(argv: list[str]) -> None:
    """Simulates the cells and prints a table and JSON."""
    del argv
    unknown = set(_CELL.value) - CELLS.keys()
    if unknown:
        raise errors.InputError(f"--cell={min(unknown)}: must be one of {', '.join(CELLS)}")
    lines = []
    headings = ("d_prime", "mAP", "lwlrap", "difference", "percentile", "normal")
    columns = " ".join(f"{each:>17}" for each in headings)
    print(f"{'cell':<14} {columns}  by class", flush=True)
    with multiprocessing.get_context("spawn").Pool(_PROCESSES.value) as pool:
        for name in _CELL.value or CELLS:
            begin = time.perf_counter()
            work = [(CELLS[name], _SEED.value, number) for number in range(_DATA_SETS.value)]
            line = _summary(pool.starmap(_data_set, work, chunksize=4))
            line["seconds"] = time.perf_counter() - begin
            lines.append({"cell": name} | line)
            cells = " ".join(f"{_cell(line, each):>17}" for each in headings)
            by_class = f"{line['false_positives']:.1f}% {line['false_discoveries']:.1f}%"
            print(f"{name:<14} {cells}  {by_class} {line['discoveries']:.1f}", flush=True)
    print(json.dumps(lines))


def run() -> None:
    """Entry point."""
    cli.run(main)


if __name__ == "__main__":
    run()
