"""The paper's Table 1 as data, and which of its orders other results show.

Source: section 4.1 of the paper, https://arxiv.org/abs/2105.07031. Its figures were measured on
AudioSet with ResNet-50. Rows beyond the paper, which docs/beyond.md describes, stand below its own
where they were run.
"""

import dataclasses
import itertools
from collections.abc import Mapping

import pandas as pd

from audioset_strong.evaluation import eval_metrics

SETS = ("weak_eval", "strong_eval")
METRICS = ("d_prime", "lwlrap")


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the paper's Table 1, or one beyond it.

    Attributes:
      name: of the gin file and of the workdir.
      title: as printed in the paper.
      paper: the paper's figures, by "<set>/<metric>"; empty beyond the paper.
      fine_tuned: whether the paper's model starts from Weak-1.8M.
      paper_best: what the paper reaches if mu and checkpoint are chosen for each metric separately,
        on the metric's own set; it tells these two figures only.
      baseline: the row that a row beyond the paper differs from in one thing; "" for the paper's.
    """

    name: str
    title: str
    paper: Mapping[str, float]
    fine_tuned: bool = False
    paper_best: Mapping[str, float] = dataclasses.field(default_factory=dict)
    baseline: str = ""


def _figures(*values: float) -> dict[str, float]:
    """The figures of a row in the table's order: d' and lwlrap of the weak eval, of the strong."""
    names = (f"{set_name}/{metric}" for set_name in SETS for metric in METRICS)
    return dict(zip(names, values, strict=True))


ROWS = (
    Row("weak_67k", "Weak-67k", _figures(0.86, 0.39, 0.81, 0.29)),
    Row("diffuse_67k", "Diffuse-67k", _figures(0.82, 0.27, 0.88, 0.29)),
    Row("strong_67k", "Strong-67k", _figures(0.96, 0.31, 1.05, 0.33)),
    Row("weak_1_8m", "Weak-1.8M", _figures(1.17, 0.53, 1.13, 0.43)),
    Row("plus_diffuse", "+Diffuse", _figures(1.21, 0.38, 1.28, 0.43), fine_tuned=True),
    Row(
        "plus_strong",
        "+Strong",
        _figures(1.28, 0.42, 1.39, 0.47),
        fine_tuned=True,
        paper_best={"strong_eval/d_prime": 1.4, "strong_eval/lwlrap": 0.48},
    ),
)
# Where mu "typically" fell when each metric was optimized by itself, section 4.1: from and to.
BEST_MU = {"d_prime": (0.7, 0.95), "lwlrap": (0.2, 0.2)}
BEYOND_TITLE = "Beyond the paper"
# Each is +Strong but for what its title says; gin/beyond/ has a file of its name.
BEYOND_ROWS = tuple(
    Row(name, f"+Strong with {change}", {}, fine_tuned=True, baseline="plus_strong")
    for name, change in (
        ("autopool", "autopool"),
        ("attention_pooling", "attention pooling"),
        ("max_pooling", "max pooling"),
        ("mean_pooling", "mean pooling"),
        ("teacher_masking", "teacher's masking"),
        ("pseudo_strong", "pseudo-strong labels"),
        ("mu_schedule", "mu as a schedule"),
        ("balanced", "balanced sampling"),
        ("smearing", "smearing"),
    )
)
ALL_ROWS = (*ROWS, *BEYOND_ROWS)
TITLES = {row.name: row.title for row in ALL_ROWS}


def orders(table: pd.DataFrame) -> pd.DataFrame:
    """Compares the orders of any two rows in the paper with those in other results.

    Args:
      table: see `tables.table1`. Rows that do not compare with the others are left out.

    Returns:
      A line for each set, metric and pair of rows whose figures differ in the paper, and which both
      have a value here: set, metric, higher and lower (the paper's, by title), paper (the
      difference there), here (the difference here), and agrees, whether it has the same sign.
    """
    table = table[table["not_comparable"].eq("")].set_index("row")
    lines = []
    for set_name, metric in itertools.product(SETS, METRICS):
        here = table[f"{set_name}_{metric}"].dropna()
        rows = [row for row in ROWS if row.name in here]
        for pair in itertools.combinations(rows, 2):
            low, high = sorted(pair, key=lambda row: row.paper[f"{set_name}/{metric}"])
            paper = high.paper[f"{set_name}/{metric}"] - low.paper[f"{set_name}/{metric}"]
            if paper:
                difference = float(here[high.name] - here[low.name])
                lines.append(
                    (set_name, metric, high.title, low.title, paper, difference, difference > 0)
                )
    columns = ["set", "metric", "higher", "lower", "paper", "here", "agrees"]
    return pd.DataFrame(lines, columns=columns).astype({"agrees": bool})


def orders_sentence(compared: pd.DataFrame) -> str:
    """How many of the paper's orders hold, in one sentence, and which do not.

    Args:
      compared: see `orders`.

    Returns:
      The sentence; empty where there are no two rows to compare.
    """
    if compared.empty:
        return ""
    holding = int(compared["agrees"].sum())
    sentence = f"Of the paper's {len(compared)} orders of two rows, {holding} hold here"
    reversed_ones = []
    for (set_name, metric), lines in compared[~compared["agrees"]].groupby(
        ["set", "metric"], sort=False
    ):
        pairs = ", ".join(f"{line.higher} > {line.lower}" for line in lines.itertuples(index=False))
        name = f"{set_name.replace('_', ' ')} {eval_metrics.metric_title(metric)}"
        reversed_ones.append(f"{name}: {pairs}")
    return f"{sentence}; not {'; '.join(reversed_ones)}." if reversed_ones else f"{sentence}."
