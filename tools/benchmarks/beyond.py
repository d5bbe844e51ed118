"""What each row of gin/beyond/ brings over +Strong, on the embedded corpus.

Example:
  python -m tools.benchmarks.beyond --demo_dir=demo_output --output_dir=beyond

Takes the corpus, the converted data and the Weak-1.8M model of a finished demo. +Strong and each
row are trained from that model with each seed, and evaluated; the checkpoint is selected on the
validation data. Smearing changes the labels of the evaluation, so its datasets are converted again,
with the ontology, and it is compared with +Strong on those labels. A student of the pseudo-strong
labels teaches a second round of students. The reports give the differences, with intervals over
clips and seeds. An interrupted benchmark continues where it stopped.
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from audioset_strong.analysis import paper_table
from audioset_strong.core import cli, files, jobs
from audioset_strong.experiments import claiming, demo, tool_imports

_DEMO_DIR = flags.DEFINE_string("demo_dir", None, "Output of demo.sh.", required=True)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Directory of all results.", required=True)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the fine-tuning.")
_GIN_FILES = flags.DEFINE_multi_string(
    "gin_file", [], "Files besides those of the demo, such as demo/small.gin; may be repeated."
)
_MAX_PARALLEL = flags.DEFINE_integer("max_parallel", 2, "Models trained at a time.", lower_bound=1)

_BASELINE, _SMEARING = "plus_strong", "smearing"
_ROWS = tuple(row.name for row in paper_table.BEYOND_ROWS if row.name != _SMEARING)
# By the gin file that asks for a teacher, as docs/beyond.md advises.
_WEAK_TEACHER, _STRONG_TEACHER = "teacher_masking", "pseudo_strong"
_STUDENT = "student"  # the scores of a student, who teaches the second round


class _Benchmark:
    """The command lines. Costs are core-seconds, as measured on two cores."""

    def __init__(self, demo_dir: pathlib.Path, out: pathlib.Path):
        self._corpus, self._demo_data = demo_dir / "corpus", demo_dir / "data"
        self._weak_model = demo_dir / "runs" / demo.PRETRAINED
        self._out, self._runs, self._smeared = out, out / "runs", out / "smeared_runs"
        self._second = out / "second_runs"
        self._data, self._smeared_data = out / "data", out / "smeared_data"

    def prepare(self) -> None:
        """Links the data, for the scores of teachers not to change those of the demo."""
        for dataset in self._demo_data.iterdir():
            files.make_directory(self._data / dataset.name)
            for path in dataset.iterdir():
                self._link(path, self._data / dataset.name)
        for seed in _SEEDS.value:
            for name in ("run.json", "model.json", "checkpoints"):
                copy = self._smeared / _named(_BASELINE, seed)
                files.make_directory(copy)
                self._link(self._runs / _named(_BASELINE, seed) / name, copy)
            files.make_directory(self._second)
            self._link(self._runs / _named(_BASELINE, seed), self._second)

    @staticmethod
    def _link(path: pathlib.Path, directory: pathlib.Path) -> None:
        if not (directory / path.name).is_symlink():
            (directory / path.name).symlink_to(path)

    def all(self) -> list[jobs.Job]:
        """All, each after those that it needs."""
        first = self._runs / _named(_BASELINE, _SEEDS.value[0])
        ontology = f"--ontology={self._corpus / 'metadata' / 'ontology.json'}"
        found = [
            self._teach(_WEAK_TEACHER, self._weak_model),
            # The demo's datasets once more, with the ontology.
            *demo.conversions(self._corpus, self._smeared_data, ontology),
            *(self._train(_BASELINE, seed) for seed in _SEEDS.value),
            self._evaluate("teacher", [first], self._data, [f"train_{first.name}"]),
            self._teach(_STRONG_TEACHER, first, "evaluate_teacher"),
        ]
        for seed in _SEEDS.value:
            found += [self._train(row, seed) for row in (*_ROWS, _SMEARING)]
            names = [_named(row, seed) for row in (_BASELINE, *_ROWS)]
            needs = [f"train_{name}" for name in names]
            workdirs = [self._runs / name for name in names]
            found.append(self._evaluate(f"seed_{seed}", workdirs, self._data, needs))
            names = [_named(row, seed) for row in (_BASELINE, _SMEARING)]
            workdirs = [self._smeared / name for name in names]
            needs = [f"train_{name}" for name in names]
            found.append(self._evaluate(f"smeared_{seed}", workdirs, self._smeared_data, needs))
        found += self._second_round()
        for runs in (self._runs, self._smeared, self._second):
            needs = tuple(job.name for job in found if job.name.startswith("evaluate"))
            flags = (f"--runs_dir={runs}", f"--output_dir={self._out / 'report' / runs.name}")
            found.append(self._job(f"report_{runs.name}", "report", *flags, needs=needs, cost=20))
        return found

    def _second_round(self) -> list[jobs.Job]:
        """Students of a student, each started from the weak model as those of the first round."""
        first_seed = _SEEDS.value[0]
        student = self._runs / _named(_STRONG_TEACHER, first_seed)
        teach = self._teach(_STUDENT, student, f"evaluate_seed_{first_seed}")
        train = [self._train(_STRONG_TEACHER, seed, teacher=_STUDENT) for seed in _SEEDS.value]
        workdirs = [self._second / _named(_STRONG_TEACHER, seed) for seed in _SEEDS.value]
        needs = [job.name for job in train]
        return [teach, *train, self._evaluate("second_round", workdirs, self._data, needs)]

    @staticmethod
    def _job(name: str, tool: str, *flags: str, needs: Sequence[str], cost: float) -> jobs.Job:
        return jobs.Job(name, jobs.tool_command(tool, *flags), tuple(needs), cost)

    def _teach(self, name: str, model: pathlib.Path, *needs: str) -> jobs.Job:
        source = (f"--model={model}", f"--dataset={self._data / 'train_weak'}", f"--name={name}")
        return self._job(f"teach_{name}", "teach", *source, needs=needs, cost=60)

    def _train(self, row: str, seed: str, *, teacher: str = "") -> jobs.Job:
        """Trains a row; its teacher has its name by default, if it needs one."""
        name, job_name = _named(row, seed), f"train_{_named(row, seed)}"
        needs, flags = [], [f"--gin_param=train.seed = {seed}"]
        runs, data = self._runs, self._data
        if teacher == _STUDENT:
            runs, job_name = self._second, f"train_second_{name}"
        if row in (_WEAK_TEACHER, _STRONG_TEACHER):
            needs = [f"teach_{teacher or row}"]
            flags.append(f"--gin_param=weak_strong_mixture.teacher = '{teacher or row}'")
        if row == _SMEARING:
            runs, data = self._smeared, self._smeared_data
            needs = ["convert_train_weak", "convert_train_strong"]
        folder = "table1" if row == _BASELINE else "beyond"
        return self._job(
            job_name,
            "train",
            f"--workdir={runs / name}",
            f"--data_dir={data}",
            f"--init_from={self._weak_model}",
            f"--gin_file={folder}/{row}.gin",
            "--gin_file=demo/fine_tune.gin",
            *(f"--gin_file={path}" for path in _GIN_FILES.value),
            *flags,
            needs=needs,
            cost=75,
        )

    def _evaluate(
        self,
        name: str,
        workdirs: Sequence[pathlib.Path],
        data: pathlib.Path,
        needs: Sequence[str],
    ) -> jobs.Job:
        smeared = data == self._smeared_data
        return self._job(
            f"evaluate_{name}",
            "evaluate",
            *(f"--workdir={workdir}" for workdir in workdirs),
            f"--eval_data={data / 'eval'}",
            f"--validation_data={data / 'train_strong_validation'}",
            f"--gin_param=evaluate_workdirs.propagate_to_ancestors = {smeared}",
            "--run_once",
            needs=(*needs, *(("convert_eval", "convert_train_strong") if smeared else ())),
            cost=20 * len(workdirs),
        )


def _named(row: str, seed: str) -> str:
    """The name of a workdir, by which the report knows the seeds of a row."""
    return row if seed == _SEEDS.value[0] else f"{row}-seed={seed}"


def main(argv: list[str]) -> None:
    """Runs everything, then prints where the reports are, and their comparisons."""
    del argv
    demo_dir = pathlib.Path(_DEMO_DIR.value).resolve()
    out = pathlib.Path(_OUTPUT_DIR.value).resolve()
    settings = {"demo": str(demo_dir), "seeds": _SEEDS.value, "gin_files": _GIN_FILES.value}
    claiming.claim_directory(out, "beyond.json", settings=settings, experiment="benchmark")
    benchmark = _Benchmark(demo_dir, out)
    benchmark.prepare()
    jobs.run(
        benchmark.all(),
        out / "logs",
        max_parallel=_MAX_PARALLEL.value,
        environment=demo.ENVIRONMENT,
        preload=tool_imports.PRELOAD,
    )
    for report in sorted((out / "report").iterdir()):
        print(f"{report / 'index.html'}\n\n{(report / 'comparisons.md').read_text()}")


if __name__ == "__main__":
    cli.run(main)
