"""The model card: a page of Markdown that export fills from a training run.

After Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from audioset_strong.configuration import gin_files
from audioset_strong.core import errors
from audioset_strong.evaluation import evaluator, selection
from audioset_strong.inference import waveform_scorer
from audioset_strong.records import dataset_info
from audioset_strong.training import checkpoints

FILE_NAME = "model_card.md"

_TEMPLATE = """\
# Model card: {name}

A network that tells which sounds are in each 0.96 s of a recording. Trained with audioset_strong,
an open implementation of Hershey et al. 2021, "The Benefit of Temporally-Strong Labels in Audio
Event Classification".

| | |
|---|---|
| run | {name}, step {step} |
| chosen | {chosen} |
| parameters | {parameters:,} |
| classes | {classes} |
| input | mono waveform, {sample_rate} Hz, float32 in [-1, 1], any length |
| output | scores `[frames, {classes}]` in [0, 1], embeddings `[frames, {depth}]`, log-mel \
`[n, {bands}]` |
| frames | 0.96 s, one after the other; silence behind the end |
| front end | {front_end} |

## Training data

{data}

## Evaluation

{metrics}

`d_prime` is sqrt(2) times the inverse normal CDF of the ROC AUC, averaged over classes; `lwlrap` is
label-weighted label-ranking average precision. Intervals are 95% bootstrap intervals over clips.
Sets that begin with `strong` hold every 0.96 s frame against labels of its own, sets that begin
with `weak` the mean of a clip's frames against the clip's labels.

## Intended use

Finding and labelling sounds of the classes below in recordings like those of the training data;
embeddings as features for other sound classifiers; a start for fine-tuning on one's own labels.

## Limits

- Scores are not probabilities: classes differ in how high theirs go. Thresholds are best set for
  each class, on labelled recordings of the kind in question.
- A frame's score speaks of 0.96 s. Shorter hops give more frames, not sharper ones.
- Classes that are not in the list below are not recognised; a sound of such a class may raise the
  score of a similar one.
- The metrics hold for the sets above. Recordings of other places, devices and languages may fare
  worse, and rare classes fare worse than frequent ones.
- Not for decisions about people, nor where a missed or wrongly reported sound does harm.

## Settings

```
{config}
```

## Classes

| index | mid | name |
|---:|---|---|
{vocabulary}
"""


def make(workdir: str, loaded: checkpoints.LoadedModel, front_end: Mapping[str, Any]) -> str:
    """Fills the card.

    Args:
      workdir: of the run; what it lacks (evaluation, selection) the card says is not known.
      loaded: the model that is exported.
      front_end: arguments of `features.log_mel`.
    """
    config_path = pathlib.Path(workdir) / gin_files.CONFIG_FILE
    settings = config_path.read_text().strip() if config_path.exists() else "not known"
    vocabulary = loaded.vocabulary
    return _TEMPLATE.format(
        name=os.path.basename(os.path.abspath(workdir)),
        step=loaded.step,
        chosen=_chosen(workdir, loaded.step),
        parameters=loaded.model.count_params(),
        classes=len(vocabulary),
        depth=loaded.model.get_layer(waveform_scorer.EMBEDDING_LAYER).output.shape[-1],
        sample_rate=front_end["sample_rate"],
        bands=front_end["num_bands"],
        front_end=", ".join(f"{name} {value}" for name, value in front_end.items()),
        data=_data(workdir, settings),
        metrics=_metrics(workdir, loaded.step),
        config=settings,
        vocabulary="\n".join(
            f"| {i} | {mid} | {_cell(name)} |"
            for i, (mid, name) in enumerate(zip(vocabulary.mids, vocabulary.names, strict=True))
        ),
    )


def _chosen(workdir: str, step: int) -> str:
    selected = selection.read(workdir)
    if selected is None or selected["step"] != step:
        return "by hand"
    return _cell(str(selected.get("rule", "by evaluation")))


def _metrics(workdir: str, step: int) -> str:
    """What was measured of this step, with intervals where there are some."""
    results = evaluator.read_results(workdir)
    here = results[results["step"] == step]
    values = {(row.set, row.metric): row.value for row in here.itertuples()}
    rows = []
    for (set_name, metric), value in values.items():
        if metric.endswith(("_low", "_high")):
            continue
        ends = [values.get((set_name, f"{metric}_{end}")) for end in ("low", "high")]
        interval = "" if None in ends else f"{ends[0]:.3f} to {ends[1]:.3f}"
        rows.append((set_name, metric, f"{value:.4g}", interval))
    if not rows:
        return "Not evaluated."
    return _table(("set", "metric", "value", "interval"), rows)


def _data(workdir: str, settings: str) -> str:
    """The datasets of the run, as far as they are still where it found them."""
    rows = []
    for info in _datasets(settings):
        rows.append(
            (
                info.name,
                str(info.num_clips),
                f"{info.hours:.2f}",
                str(info.weak_clips),
                str(info.strong_clips),
                str(info.negative_clips),
            )
        )
    fingerprint = checkpoints.read_description(workdir)["data"]
    told = f"Fingerprint of the datasets: `{fingerprint}`." if fingerprint else ""
    if not rows:
        return told or "Not known."
    header = ("dataset", "clips", "hours", "with weak labels", "strong labels", "negatives")
    return f"{_table(header, rows)}\n\n{told}".strip()


def _datasets(settings: str) -> list[dataset_info.DatasetInfo]:
    """The datasets below the run's data directory that its config names."""
    found = re.search(r"^train\.data_dir = (?:\\\n +)?(['\"])(.*)\1$", settings, re.MULTILINE)
    if found is None:
        return []
    names = dict.fromkeys(re.findall(r"['\"]([^'\"\n]+)['\"]", settings))
    infos = []
    for name in names:
        directory = os.path.join(found[2], name)
        if name != found[2] and os.path.exists(os.path.join(directory, dataset_info.FILE_NAME)):
            try:
                infos.append(dataset_info.DatasetInfo.load(directory))
            except errors.InputError:
                continue  # of another version, say: the fingerprint still tells which it was
    return infos


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
