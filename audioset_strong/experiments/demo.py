"""The whole experiment on the embedded corpus: corpus, conversion, six models, evaluation, report.

Each stage is one of the project's own binaries, run as a user would run it. Its command line is the
first line of its log.
"""

import dataclasses
import pathlib

from audioset_strong.core import jobs
from audioset_strong.experiments import claiming

ROWS_FROM_SCRATCH = ("weak_1_8m", "weak_67k", "diffuse_67k", "strong_67k")
ROWS_FINE_TUNED = ("plus_diffuse", "plus_strong")
PRETRAINED = "weak_1_8m"
VALIDATION_SHARE = 0.25
_SETTINGS_FILE = "demo.json"
# One thread per model: for small models two processes are faster than two threads.
_ENVIRONMENT = {
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "2",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONUNBUFFERED": "1",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """The size of the corpus, and the gin files that make the training short enough."""

    train_weak_clips: int
    train_strong_clips: int
    eval_clips: int
    gin_files: tuple[str, ...] = ()


SIZES = {
    # About 16 weak clips per strong clip; the paper has 27.
    "full": Size(train_weak_clips=3000, train_strong_clips=200, eval_clips=500),
    "small": Size(
        train_weak_clips=48, train_strong_clips=48, eval_clips=24, gin_files=("demo/small.gin",)
    ),
}


def run(
    output_dir: str, size: str = "full", *, seed: int = 0, max_parallel: int = 2
) -> pathlib.Path:
    """Runs the demo, or continues the one in `output_dir`.

    Args:
      output_dir: where everything is written: corpus/, data/, runs/, report/, logs/.
      size: a key of `SIZES`.
      seed: of the corpus and of the training.
      max_parallel: how many models are trained at a time, on one core each.

    Returns:
      The directory of the report.

    Raises:
      errors.InputError: the directory holds another demo or something else, or a stage failed.
    """
    out = pathlib.Path(output_dir).resolve()
    settings = {"size": size, "seed": seed}
    claiming.claim_directory(out, _SETTINGS_FILE, settings=settings, experiment="demo")
    stages = _Stages(out, SIZES[size], seed=seed).all()
    jobs.run(stages, out / "logs", max_parallel=max_parallel, environment=_ENVIRONMENT)
    return out / "report"


class _Stages:
    """The command lines of the demo. Costs are core-seconds, as measured on two cores."""

    def __init__(self, out: pathlib.Path, size: Size, *, seed: int):
        self._out, self._size, self._seed = out, size, seed
        self._corpus, self._data, self._runs = out / "corpus", out / "data", out / "runs"
        self._metadata = self._corpus / "metadata"

    def all(self) -> list[jobs.Job]:
        """All stages, each after those that it needs."""
        rows = (*ROWS_FROM_SCRATCH, *ROWS_FINE_TUNED)
        others = [row for row in rows if row != PRETRAINED]
        stages = [
            self._make_corpus(),
            *self._conversions(),
            # The two rows that are fine-tuned wait for these.
            self._train_from_scratch(PRETRAINED),
            self._evaluate(PRETRAINED),
            *(self._fine_tune(row) for row in ROWS_FINE_TUNED),
            *(self._train_from_scratch(row) for row in ROWS_FROM_SCRATCH if row != PRETRAINED),
            *(self._evaluate(row) for row in others),
        ]
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
        return jobs.Job("corpus", command, cost=150, exclusive=True)

    def _conversions(self) -> list[jobs.Job]:
        weak = f"--weak_csv={self._metadata / 'weak_train.csv'}"
        validation = f"--validation_share={VALIDATION_SHARE}"
        return [
            self._convert("train_weak", "train", weak, validation),
            self._convert(
                "train_strong",
                "train",
                weak,
                f"--strong_tsv={self._metadata / 'strong_train.tsv'}",
                f"--negatives={self._metadata / 'train_negatives.tsv'}",
                "--select=strong",
                validation,
            ),
            self._convert(
                "eval",
                "eval",
                f"--weak_csv={self._metadata / 'eval_weak.csv'}",
                f"--strong_tsv={self._metadata / 'eval_strong.tsv'}",
                f"--negatives={self._metadata / 'eval_negatives.tsv'}",
            ),
        ]

    def _convert(self, name: str, audio: str, *flags: str) -> jobs.Job:
        command = jobs.tool_command(
            "convert",
            f"--audio_dir={self._corpus / 'audio' / audio}",
            f"--class_labels={self._metadata / 'class_labels_indices.csv'}",
            f"--class_labels={self._metadata / 'mid_to_display_name.tsv'}",
            f"--output_dir={self._data}",
            f"--name={name}",
            "--num_shards=8",
            *flags,
        )
        return jobs.Job(f"convert_{name}", command, ("corpus",), cost=25, exclusive=True)

    def _train_from_scratch(self, row: str) -> jobs.Job:
        kind, cost = ("pretrain", 170) if row == PRETRAINED else ("train", 65)
        return jobs.Job(f"train_{row}", self._train(row, kind), self._train_needs(), cost=cost)

    def _fine_tune(self, row: str) -> jobs.Job:
        command = [*self._train(row, "fine_tune"), f"--init_from={self._runs / PRETRAINED}"]
        needs = (*self._train_needs(), f"evaluate_{PRETRAINED}")  # which selects the checkpoint
        return jobs.Job(f"train_{row}", command, needs, cost=75)

    def _train(self, row: str, kind: str) -> list[str]:
        gin_files = (f"table1/{row}.gin", f"demo/{kind}.gin", *self._size.gin_files)
        return jobs.tool_command(
            "train",
            f"--workdir={self._runs / row}",
            f"--data_dir={self._data}",
            *(f"--gin_file={name}" for name in gin_files),
            f"--gin_param=train.seed = {self._seed}",
        )

    def _train_needs(self) -> tuple[str, ...]:
        return "convert_train_weak", "convert_train_strong"

    def _evaluate(self, row: str) -> jobs.Job:
        command = jobs.tool_command(
            "evaluate",
            f"--workdir={self._runs / row}",
            f"--eval_data={self._data / 'eval'}",
            f"--validation_data={self._data / 'train_strong_validation'}",
            "--run_once",
        )
        needs = (f"train_{row}", "convert_eval")
        return jobs.Job(f"evaluate_{row}", command, needs, cost=25)

    def _report(self, needs: tuple[str, ...]) -> jobs.Job:
        command = jobs.tool_command(
            "report", f"--runs_dir={self._runs}", f"--output_dir={self._out / 'report'}"
        )
        return jobs.Job("report", command, needs, cost=10)
