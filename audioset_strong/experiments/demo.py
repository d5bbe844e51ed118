"""The whole experiment on the embedded corpus: corpus, conversion, six models, evaluation, report.

Each stage is one of the project's own binaries, run as a user would run it; the logs begin with
the command lines.
"""

import dataclasses
import json
import pathlib

from audioset_strong.core import errors, jobs

ROWS_FROM_SCRATCH = ("weak_1_8m", "weak_67k", "diffuse_67k", "strong_67k")
ROWS_FINE_TUNED = ("plus_diffuse", "plus_strong")
PRETRAINED = "weak_1_8m"
VALIDATION_SHARE = 0.25


@dataclasses.dataclass(frozen=True)
class Size:
    """How much corpus, and which gin files make the training short enough."""

    train_weak_clips: int
    train_strong_clips: int
    eval_clips: int
    gin_files: tuple[str, ...] = ()


SIZES = {
    # About 16 weak clips for a strong one, where the paper has 27.
    "full": Size(train_weak_clips=3000, train_strong_clips=200, eval_clips=500),
    "small": Size(48, 48, 24, ("demo/small.gin",)),
}


def run(output_dir: str, size: str = "full", seed: int = 0, max_parallel: int = 2) -> pathlib.Path:
    """Runs the demo, or goes on with the one that `output_dir` holds.

    Args:
      output_dir: of everything: corpus/, data/, runs/, report/, logs/.
      size: a key of `SIZES`.
      seed: of the corpus and the training.
      max_parallel: models trained at a time, one core each.

    Returns:
      The directory of the report.

    Raises:
      errors.InputError: the directory holds another demo, or a stage failed.
    """
    out = pathlib.Path(output_dir).resolve()
    _claim(out, {"size": size, "seed": seed})
    # One thread a model: for small models two processes beat two threads.
    environment = {
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "2",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONUNBUFFERED": "1",
    }
    jobs.run(_jobs(out, SIZES[size], seed), out / "logs", max_parallel, environment)
    return out / "report"


def _claim(out: pathlib.Path, settings: dict[str, object]) -> None:
    path = out / "demo.json"
    if path.exists():
        held = json.loads(path.read_text())
        if held != settings:
            raise errors.InputError(
                f"{out} holds a demo of {held}, asked for {settings}: take another --output_dir"
            )
        return
    if out.is_dir() and any(out.iterdir()):
        raise errors.InputError(f"{out} holds something else: take another --output_dir")
    try:
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))
    except OSError as error:
        raise errors.InputError(f"cannot write to {out}: {error.strerror}") from error


def _jobs(out: pathlib.Path, size: Size, seed: int) -> list[jobs.Job]:
    corpus, data, runs = out / "corpus", out / "data", out / "runs"
    metadata = corpus / "metadata"

    def convert(name: str, audio: str, *flags: str, share: float = 0.0) -> jobs.Job:
        command = jobs.tool_command(
            "convert",
            f"--audio_dir={corpus / 'audio' / audio}",
            f"--class_labels={metadata / 'class_labels_indices.csv'}",
            f"--class_labels={metadata / 'mid_to_display_name.tsv'}",
            f"--output_dir={data}",
            f"--name={name}",
            "--num_shards=8",
            f"--validation_share={share}",
            *flags,
        )
        return jobs.Job(f"convert_{name}", command, ("corpus",), cost=25, exclusive=True)

    def train(row: str, needs: tuple[str, ...], kind: str, cost: float, *flags: str) -> jobs.Job:
        files = (f"table1/{row}.gin", f"demo/{kind}.gin", *size.gin_files)
        command = jobs.tool_command(
            "train",
            f"--workdir={runs / row}",
            f"--data_dir={data}",
            *(f"--gin_file={name}" for name in files),
            f"--gin_param=train.seed = {seed}",
            *flags,
        )
        return jobs.Job(f"train_{row}", command, needs, cost=cost)

    def evaluate(row: str) -> jobs.Job:
        command = jobs.tool_command(
            "evaluate",
            f"--workdir={runs / row}",
            f"--eval_data={data / 'eval'}",
            f"--validation_data={data / 'train_strong_validation'}",
            "--run_once",
        )
        needs = (f"train_{row}", "convert_eval")
        return jobs.Job(f"evaluate_{row}", command, needs, cost=25)

    weak = f"--weak_csv={metadata / 'weak_train.csv'}"
    listed = [
        jobs.Job(
            "corpus",
            jobs.tool_command(
                "make_corpus",
                f"--output_dir={corpus}",
                f"--seed={seed}",
                f"--train_weak_clips={size.train_weak_clips}",
                f"--train_strong_clips={size.train_strong_clips}",
                f"--eval_clips={size.eval_clips}",
            ),
            cost=150,  # core-seconds, as measured on 2 cores
            exclusive=True,
        ),
        convert("train_weak", "train", weak, share=VALIDATION_SHARE),
        convert(
            "train_strong",
            "train",
            weak,
            f"--strong_tsv={metadata / 'strong_train.tsv'}",
            f"--negatives={metadata / 'train_negatives.tsv'}",
            "--select=strong",
            share=VALIDATION_SHARE,
        ),
        convert(
            "eval",
            "eval",
            f"--weak_csv={metadata / 'eval_weak.csv'}",
            f"--strong_tsv={metadata / 'eval_strong.tsv'}",
            f"--negatives={metadata / 'eval_negatives.tsv'}",
        ),
    ]
    converted = ("convert_train_weak", "convert_train_strong")
    listed.append(train(PRETRAINED, converted, "pretrain", 170))
    listed.append(evaluate(PRETRAINED))
    for row in ROWS_FINE_TUNED:
        needs = (*converted, f"evaluate_{PRETRAINED}")
        listed.append(train(row, needs, "fine_tune", 75, f"--init_from={runs / PRETRAINED}"))
    for row in ROWS_FROM_SCRATCH:
        if row != PRETRAINED:
            listed.append(train(row, converted, "train", 65))
    listed += [evaluate(row) for row in (*ROWS_FROM_SCRATCH, *ROWS_FINE_TUNED) if row != PRETRAINED]
    everything = tuple(job.name for job in listed)
    report = jobs.tool_command("report", f"--runs_dir={runs}", f"--output_dir={out / 'report'}")
    return [*listed, jobs.Job("report", report, everything, cost=10)]
