"""The whole experiment on the embedded corpus: corpus, conversion, models, evaluation, report.

Each stage is one of the project's own binaries, run as a user would run it. Its command line is the
first line of its log.
"""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence

import pandas as pd

from audioset_strong.core import choices, jobs
from audioset_strong.experiments import claiming, tool_imports

ROWS_FROM_SCRATCH = ("weak_1_8m", "weak_67k", "diffuse_67k", "strong_67k")
ROWS_FINE_TUNED = ("plus_diffuse", "plus_strong")
PRETRAINED = "weak_1_8m"
VALIDATION_SHARE = 0.25
_CONVERTED = ("convert_train_weak", "convert_train_strong")
_SETTINGS_FILE = "demo.json"
# One thread per model: for small models two processes are faster than two threads.
ENVIRONMENT = {
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "2",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONUNBUFFERED": "1",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """What a demo runs.

    Attributes:
      train_weak_clips, train_strong_clips, eval_clips: of the corpus.
      gin_files: that make the training short enough, besides those of the demo.
      num_seeds: how often each row is trained, with as many seeds.
      mus: shares of strong or diffuse examples. If there are any, the fine-tuned rows are sweeps
        over them, and the share is selected on validation data, as in section 4.1 of the paper.
      strong_fractions: shares of the strongly labelled clips, for Fig. 3.
    """

    train_weak_clips: int
    train_strong_clips: int
    eval_clips: int
    gin_files: tuple[str, ...] = ()
    num_seeds: int = 1
    mus: tuple[float, ...] = ()
    strong_fractions: tuple[float, ...] = ()


# About 20 weak clips per strong clip; the paper has 27.
_STANDARD = Size(train_weak_clips=3040, train_strong_clips=160, eval_clips=500)
SIZES = {
    choices.SMALL: Size(
        train_weak_clips=48, train_strong_clips=48, eval_clips=24, gin_files=("demo/small.gin",)
    ),
    choices.STANDARD: _STANDARD,
    choices.FULL: dataclasses.replace(
        _STANDARD, num_seeds=3, mus=(0.2, 0.4, 0.6, 0.8, 1.0), strong_fractions=(0.25, 0.5, 1.0)
    ),
}


def run(
    output_dir: str, size: str = choices.STANDARD, *, seed: int = 0, max_parallel: int = 2
) -> pathlib.Path:
    """Runs the demo, or continues the one in `output_dir`.

    Args:
      output_dir: where everything is written: corpus/, data/, runs/, fig3/, report/, logs/.
      size: a key of `SIZES`.
      seed: of the corpus and of the training; further trainings of a row have the next seeds.
      max_parallel: how many models are trained at a time, on one core each.

    Returns:
      The directory of the report.

    Raises:
      errors.InputError: the directory holds another demo or something else, or a stage failed.
    """
    out = pathlib.Path(output_dir).resolve()
    settings = {"size": size, "seed": seed}
    claiming.claim_directory(out, _SETTINGS_FILE, settings=settings, experiment="demo")
    stages = _Stages(out, SIZES[size], seed=seed, max_parallel=max_parallel).all()
    jobs.run(
        stages,
        out / "logs",
        max_parallel=max_parallel,
        environment=ENVIRONMENT,
        preload=tool_imports.PRELOAD,
    )
    return out / "report"


def in_words(report: pathlib.Path, size: str) -> str:
    """What a demo has shown, for someone who sees it for the first time.

    Args:
      report: its directory.
      size: of the demo.
    """
    table = pd.read_csv(report / "table1.csv").set_index("row")
    strong_eval = table["strong_eval_d_prime"]
    lines = [
        "What you see: models that heard the same sounds with different labels, one a row,",
        "measured on other clips. Higher is better. The strong eval asks which sounds each 0.96 s",
        "contains, the weak eval which the whole clip does.",
    ]
    if size == choices.SMALL:
        return "\n".join([*lines, "At this size nothing is learnt: leave --size out for that."])
    for better, worse, what in (
        ("strong_67k", "diffuse_67k", "Knowing when sounds occur, not only in which clip"),
        ("plus_strong", "weak_1_8m", "A few strong labels on top of many weak ones"),
    ):
        high, low = strong_eval[better], strong_eval[worse]
        verdict = "as in the paper" if high > low else "unlike in the paper"
        lines.append(
            f"{what}: d' {high:.2f} ({table['training_set'][better]}) against {low:.2f} "
            f"({table['training_set'][worse]}), {verdict}."
        )
    return "\n".join(lines)


def conversions(
    corpus: pathlib.Path, data: pathlib.Path, *flags: str, needs: tuple[str, ...] = ()
) -> list[jobs.Job]:
    """The conversions of a corpus: train_weak, train_strong, their validation splits, and eval.

    Args:
      corpus: its directory.
      data: gets the datasets.
      *flags: more flags of each.
      needs: names of the jobs that must succeed before.

    Returns:
      The jobs convert_train_weak, convert_train_strong and convert_eval.
    """
    metadata = corpus / "metadata"
    weak = f"--weak_csv={metadata / 'weak_train.csv'}"
    validation = f"--validation_share={VALIDATION_SHARE}"
    datasets = {
        "train_weak": ("train", weak, validation),
        "train_strong": (
            "train",
            weak,
            f"--strong_tsv={metadata / 'strong_train.tsv'}",
            f"--negatives={metadata / 'train_negatives.tsv'}",
            "--select=strong",
            validation,
        ),
        "eval": (
            "eval",
            f"--weak_csv={metadata / 'eval_weak.csv'}",
            f"--strong_tsv={metadata / 'eval_strong.tsv'}",
            f"--negatives={metadata / 'eval_negatives.tsv'}",
        ),
    }
    found = []
    for name, (audio, *labels) in datasets.items():
        command = jobs.tool_command(
            "convert",
            f"--audio={corpus / 'audio' / audio}",
            f"--class_labels={metadata / 'class_labels_indices.csv'}",
            f"--class_labels={metadata / 'mid_to_display_name.tsv'}",
            f"--output_dir={data}",
            f"--name={name}",
            "--num_shards=8",
            *labels,
            *flags,
        )
        found.append(jobs.Job(f"convert_{name}", command, needs, cost=17, exclusive=True))
    return found


class _Stages:
    """The command lines of the demo. Costs are core-seconds, as measured on two cores."""

    def __init__(self, out: pathlib.Path, size: Size, *, seed: int, max_parallel: int):
        self._out, self._size, self._seed, self._max_parallel = out, size, seed, max_parallel
        self._corpus, self._data, self._runs = out / "corpus", out / "data", out / "runs"

    def all(self) -> list[jobs.Job]:
        """All stages, each after those that it needs."""
        seeds = range(self._seed, self._seed + self._size.num_seeds)
        stages = [self._make_corpus(), *conversions(self._corpus, self._data, needs=("corpus",))]
        stages += [job for seed in seeds for job in self._from_scratch(PRETRAINED, seed)]
        # Before the rows that nothing waits for.
        for row in ROWS_FINE_TUNED:
            if self._size.mus:
                stages.append(self._mu_sweep(row))
            else:
                stages += [job for seed in seeds for job in self._fine_tuned(row, seed)]
            if self._size.strong_fractions:
                stages.append(self._fraction_sweep(row))
        others = [row for row in ROWS_FROM_SCRATCH if row != PRETRAINED]
        stages += [job for seed in seeds for row in others for job in self._from_scratch(row, seed)]
        return [*stages, self._report(needs=tuple(stage.name for stage in stages))]

    def _make_corpus(self) -> jobs.Job:
        command = jobs.tool_command(
            "make_corpus",
            f"--output_dir={self._corpus}",
            f"--seed={self._seed}",
            f"--train_weak_clips={self._size.train_weak_clips}",
            f"--train_strong_clips={self._size.train_strong_clips}",
            f"--eval_clips={self._size.eval_clips}",
        )
        return jobs.Job("corpus", command, cost=200, exclusive=True)

    def _run(self, row: str, seed: int) -> str:
        """The name of the workdir; the report takes the first seed's for the row."""
        return row if seed == self._seed else f"{row}-seed={seed}"

    def _from_scratch(self, row: str, seed: int) -> list[jobs.Job]:
        kind, cost = ("pretrain", 150) if row == PRETRAINED else ("train", 50)
        return self._trained_and_evaluated(row, seed, kind, _CONVERTED, cost=cost)

    def _fine_tuned(self, row: str, seed: int) -> list[jobs.Job]:
        start = self._run(PRETRAINED, seed)
        needs = (*_CONVERTED, f"evaluate_{start}")  # which selects the checkpoint
        init_from = f"--init_from={self._runs / start}"
        return self._trained_and_evaluated(row, seed, "fine_tune", needs, init_from, cost=55)

    def _trained_and_evaluated(
        self, row: str, seed: int, kind: str, needs: tuple[str, ...], *flags: str, cost: float
    ) -> list[jobs.Job]:
        name = self._run(row, seed)
        workdir = f"--workdir={self._runs / name}"
        train = jobs.tool_command(
            "train",
            workdir,
            f"--data_dir={self._data}",
            *self._gin_files(row, kind),
            f"--gin_param=train.seed = {seed}",
            *flags,
        )
        evaluate = jobs.tool_command("evaluate", workdir, *self._eval_flags(), "--run_once")
        return [
            jobs.Job(f"train_{name}", train, needs, cost=cost),
            jobs.Job(f"evaluate_{name}", evaluate, (f"train_{name}", "convert_eval"), cost=25),
        ]

    def _gin_files(self, row: str, kind: str) -> list[str]:
        names = (f"table1/{row}.gin", f"demo/{kind}.gin", *self._size.gin_files)
        return [f"--gin_file={name}" for name in names]

    def _eval_flags(self) -> list[str]:
        return [
            f"--eval_data={self._data / 'eval'}",
            f"--validation_data={self._data / 'train_strong_validation'}",
        ]

    def _mu_sweep(self, row: str) -> jobs.Job:
        seeds = range(self._seed, self._seed + self._size.num_seeds)
        vary = {"weak_strong_mixture.mu": self._size.mus, "train.seed": seeds}
        return self._sweep(f"mu_{row}", row, self._runs / row, vary)

    def _fraction_sweep(self, row: str) -> jobs.Job:
        vary = {
            "weak_strong_mixture.strong_video_fraction": self._size.strong_fractions,
            "train.seed": (self._seed,),
        }
        return self._sweep(f"fig3_{row}", row, self._out / "fig3" / row, vary)

    def _sweep(
        self, name: str, row: str, directory: pathlib.Path, vary: Mapping[str, Sequence[float]]
    ) -> jobs.Job:
        command = jobs.tool_command(
            "sweep",
            f"--output_dir={directory}",
            f"--data_dir={self._data}",
            *self._gin_files(row, "fine_tune"),
            f"--init_from={self._runs / PRETRAINED}",
            *(f"--vary={binding} = {', '.join(map(str, to))}" for binding, to in vary.items()),
            *self._eval_flags(),
            f"--max_parallel={self._max_parallel}",
        )
        needs = (*_CONVERTED, "convert_eval", f"evaluate_{PRETRAINED}")
        points = math.prod(len(to) for to in vary.values())
        return jobs.Job(name, command, needs, cost=75 * points, exclusive=True)

    def _report(self, needs: tuple[str, ...]) -> jobs.Job:
        sweeps = [self._runs / row for row in ROWS_FINE_TUNED if self._size.mus]
        sweeps += [
            self._out / "fig3" / row for row in ROWS_FINE_TUNED if self._size.strong_fractions
        ]
        command = jobs.tool_command(
            "report",
            f"--runs_dir={self._runs}",
            f"--output_dir={self._out / 'report'}",
            *(f"--sweep_dir={directory}" for directory in sweeps),
        )
        return jobs.Job("report", command, needs, cost=5)
