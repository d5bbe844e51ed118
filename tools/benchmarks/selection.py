"""What strong labels of chosen clips bring, against those of random clips, on the embedded corpus.

Example:
  python -m tools.benchmarks.selection --demo_dir=demo_output --output_dir=selection

Takes the corpus, the weakly labelled data and the Weak-1.8M model of a finished demo. For each
seed, clips are chosen (select_clips --policy=strong) or drawn; the generator of the corpus plays
the annotator, who marks all sounds of a clip in a label track; the answers are imported and
converted; and the weak model is fine-tuned on a mixture with them, as in Table 1's row +Strong. The
lines are d' and lwlrap of the strong eval, of the weak model and of each of these.
"""

import csv
import os
import pathlib
import subprocess

import numpy as np
from absl import flags

from audioset_strong.annotation import answers, questions
from audioset_strong.annotation.candidates import Candidates
from audioset_strong.core import choices, cli, errors, files, jobs
from audioset_strong.labels import vocabularies
from audioset_strong.synthetic import annotators

_DEMO_DIR = flags.DEFINE_string("demo_dir", None, "Output of demo.sh.", required=True)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Directory of all results.", required=True)
_NUM_CLIPS = flags.DEFINE_integer("num_clips", 200, "Clips to label.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 300, "Steps of fine-tuning.", lower_bound=1)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of choice and fine-tuning.")

_CHOSEN, _RANDOM = "chosen", "random"
_METRICS = ("d_prime", "lwlrap")


def _run(tool: str, *arguments: str, log: pathlib.Path) -> None:
    with open(log, "a") as file:
        done = subprocess.run(
            jobs.tool_command(tool, *arguments), stdout=file, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        raise errors.InputError(f"{tool} failed; {log} says why")


def _draw(dataset: str, directory: pathlib.Path, seed: int) -> None:
    """Writes a selection of random clips."""
    clips = Candidates.open(dataset)
    rows = np.random.default_rng(seed).choice(len(clips), _NUM_CLIPS.value, replace=False)
    vocabulary = clips.info.vocabulary
    files.make_directory(directory)
    vocabularies.write_class_list(directory / questions.CLASSES_FILE, vocabulary)
    questions.write(
        directory / questions.QUESTIONS_FILE,
        [
            questions.Question(
                clips.clip_ids[row], vocabulary.mids[label], vocabulary.names[label], choices.EVENTS
            )
            for row in rows.tolist()
            for label in clips.weak[row].indices.tolist()
        ],
    )


def _measure(demo: pathlib.Path, run: pathlib.Path, step: int, log: pathlib.Path) -> list[float]:
    """The metrics of a checkpoint on the strong eval."""
    _run(
        "evaluate",
        f"--workdir={run}",
        f"--eval_data={demo / 'data' / 'eval'}",
        f"--checkpoint=step-{step}",
        log=log,
    )
    with open(run / "eval" / "results.csv", newline="") as file:
        rows = {
            (row["set"], row["metric"]): float(row["value"])
            for row in csv.DictReader(file)
            if row["step"] == str(step)
        }
    return [rows["strong_eval", metric] for metric in _METRICS]


def _fine_tune(demo: pathlib.Path, out: pathlib.Path, choice: str, seed: int) -> list[float]:
    """Chooses, labels, imports, converts, trains, and measures."""
    corpus, weak = demo / "corpus", demo / "data" / "train_weak"
    metadata, log = corpus / "metadata", out / "log.txt"
    files.make_directory(out / "data")
    os.symlink(weak, out / "data" / "train_weak")
    if choice == _CHOSEN:
        asked = (f"--num_clips={_NUM_CLIPS.value}", f"--seed={seed}", "--formats=")
        source = (f"--dataset={weak}", "--policy=strong", f"--output_dir={out / 'ask'}")
        _run("select_clips", *source, *asked, log=log)
    else:
        _draw(str(weak), out / "ask", seed)
    asked_clips = {clip_id for clip_id, _ in answers.Selection.read(str(out / "ask")).asked}
    annotators.mark_sounds(str(corpus), asked_clips, str(out / "generator"))
    answered = (f"--selection={out / 'ask'}", f"--answers={out / 'generator'}")
    _run("import_answers", *answered, f"--output_dir={out / 'metadata'}", log=log)
    _run(
        "convert",
        f"--audio_dir={corpus / 'audio' / 'train'}",
        f"--weak_csv={metadata / 'weak_train.csv'}",
        f"--strong_tsv={out / 'metadata' / 'strong.tsv'}",
        f"--negatives={out / 'metadata' / 'negatives.tsv'}",
        "--select=strong",
        f"--class_labels={metadata / 'class_labels_indices.csv'}",
        f"--class_labels={metadata / 'mid_to_display_name.tsv'}",
        f"--output_dir={out / 'data'}",
        "--name=train_strong",
        "--num_shards=4",
        log=log,
    )
    _run(
        "train",
        f"--workdir={out / 'run'}",
        f"--data_dir={out / 'data'}",
        "--gin_file=table1/plus_strong.gin",
        "--gin_file=demo/fine_tune.gin",
        f"--gin_param=train.total_steps = {_STEPS.value}",
        f"--gin_param=train.checkpoint_every = {_STEPS.value}",
        f"--gin_param=train.seed = {seed}",
        f"--init_from={demo / 'runs' / 'weak_1_8m'}",
        log=log,
    )
    return _measure(demo, out / "run", _STEPS.value, log)


def main(argv: list[str]) -> None:
    """Prints a line for the weak model, and one for each choice and seed."""
    del argv
    demo, out = pathlib.Path(_DEMO_DIR.value).resolve(), pathlib.Path(_OUTPUT_DIR.value).resolve()
    if out.exists():
        raise errors.InputError(f"{out}: exists; choose another --output_dir")
    files.make_directory(out)
    weak = demo / "runs" / "weak_1_8m"
    selected = files.read_json(weak / "selection.json")["step"]
    os.makedirs(out / "before")
    for name in ("run.json", "model.json", "checkpoints"):
        os.symlink(weak / name, out / "before" / name)
    print("\t".join(("clips", "seed", *_METRICS)))
    before = _measure(demo, out / "before", selected, out / "before.txt")
    print("\t".join(("none", "-", *(f"{value:.3f}" for value in before))))
    for seed in _SEEDS.value:
        for choice in (_CHOSEN, _RANDOM):
            values = _fine_tune(demo, out / f"{choice}_{seed}", choice, int(seed))
            print("\t".join((choice, seed, *(f"{value:.3f}" for value in values))), flush=True)


if __name__ == "__main__":
    cli.run(main)
