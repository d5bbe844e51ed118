"""The model card: a page of Markdown that export fills with the facts of a training run.

After Mitchell et al. 2019, "Model Cards for Model Reporting", https://arxiv.org/abs/1810.03993.
"""

import os
from collections.abc import Sequence

from audioset_strong.core import files
from audioset_strong.evaluation import selection
from audioset_strong.evaluation.results import read_results
from audioset_strong.models import embedding
from audioset_strong.training import workdirs
from audioset_strong.training.checkpoints import LoadedModel
from audioset_strong.training.run_info import RunInfo

FILE_NAME = "model_card.md"
_UNKNOWN = "not known"

_TEMPLATE = """\
# Model card: {name}

A network that recognises which sounds occur in each 0.96 s of a recording. It was trained with
audioset_strong, an open implementation of Hershey et al. 2021, "The Benefit of Temporally-Strong
Labels in Audio Event Classification" (https://arxiv.org/abs/2105.07031).

| | |
|---|---|
| run | {name}, step {step} |
| chosen | {chosen} |
| parameters | {parameters:,} |
| classes | {classes} |
| input | mono waveform, {sample_rate} Hz, float32 in [-1, 1], any length; divide 16-bit integers \
by 32768 |
| output | scores `[frames, {classes}]` in [0, 1], embeddings `[frames, {depth}]`, log-mel \
`[n, {bands}]` |
| frames | 0.96 s, one after the other; silence follows the end; one with a NaN has NaN scores |
| front end | {front_end} |
| trained with | {versions} |
| seed | {seed} |
| examples | {examples} |

## Training data

{sources}

{data}

## Evaluation

{metrics}

`d_prime` is sqrt(2) times the inverse normal CDF of the ROC AUC, averaged over classes, with
explicit negatives (in strong sets complementary ones, too); a suffix names other negatives.
`lwlrap` is label-weighted label-ranking average precision. Intervals are 95% intervals over clips.
Sets that begin with `strong` compare every 0.96 s frame with its own labels; sets that begin with
`weak` compare the mean over the frames of a clip with the labels of the clip.

## Intended use

Finding and labelling sounds of the classes below in recordings like those of the training data;
embeddings as features for other sound classifiers; a start for fine-tuning on one's own labels.

## Limits

- Scores are not probabilities: classes differ in how high theirs go. Thresholds are best set for
  each class, on labelled recordings of the kind in question.
- A score describes 0.96 s. Shorter hops give more frames, not sharper ones.
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


def make(workdir: str, loaded: LoadedModel) -> str:
    """Fills the card.

    Args:
      workdir: of the run; the card says so where evaluation or selection are missing.
      loaded: the model that is exported.

    Returns:
      Markdown text.
    """
    vocabulary, run = loaded.vocabulary, loaded.run
    return _TEMPLATE.format(
        name=os.path.basename(os.path.abspath(workdir)),
        step=loaded.step,
        chosen=_chosen(workdir, loaded.step),
        parameters=loaded.model.count_params(),
        classes=len(vocabulary),
        depth=loaded.model.get_layer(embedding.LAYER).output.shape[-1],
        sample_rate=run.front_end.sample_rate,
        bands=run.front_end.num_bands,
        front_end=", ".join(f"{name} {value}" for name, value in run.front_end.to_json().items()),
        versions=", ".join(f"{name} {value}" for name, value in run.versions.items()) or _UNKNOWN,
        seed=run.seed,
        examples=f"{run.total_steps:,} steps of {run.batch_size:,}",
        sources=_sources(run),
        data=_data(run),
        metrics=_metrics(workdir, loaded.step),
        config=_config(workdir),
        vocabulary="\n".join(
            f"| {i} | {mid} | {_cell(name)} |"
            for i, (mid, name) in enumerate(zip(vocabulary.mids, vocabulary.names, strict=True))
        ),
    )


def _config(workdir: str) -> str:
    path = os.path.join(workdir, workdirs.CONFIG_FILE)
    return files.read_text(path).strip() if files.exists(path) else _UNKNOWN


def _chosen(workdir: str, step: int) -> str:
    selected = selection.read(workdir)
    if selected is None or selected["step"] != step:
        return "by hand"
    return _cell(str(selected.get("rule", "by evaluation")))


def _metrics(workdir: str, step: int) -> str:
    """The metrics of this step, with their intervals where there are any."""
    results = read_results(workdir)
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


def _sources(run: RunInfo) -> str:
    """The label policies of the run and their shares."""
    total = sum(source.mean_weight for source in run.sources)
    rows = [
        (
            ", ".join(os.path.basename(path) for path in source.datasets),
            source.policy,
            f"{source.mean_weight / total:.3g}",
            "yes" if source.propagate_to_ancestors else "no",
        )
        for source in run.sources
    ]
    header = ("datasets", "label policy", "share of the examples", "labels imply ancestors")
    text = _table(header, rows)
    if any(not source.label_policy.of_clip for source in run.sources):
        text += f"\n\nStrong labels are framed by the rule `{run.framing_rule}`."
    return text


def _data(run: RunInfo) -> str:
    """The datasets of the run, as they were when it began."""
    rows = [
        (
            dataset.name,
            _known(dataset.clips),
            _UNKNOWN if dataset.hours is None else f"{dataset.hours:.2f}",
            _known(dataset.weak_clips),
            _known(dataset.strong_clips),
            _known(dataset.negative_clips),
        )
        for dataset in run.datasets
    ]
    header = ("dataset", "clips", "hours", "with weak labels", "strong labels", "negatives")
    fingerprint = _UNKNOWN if run.data_fingerprint is None else f"`{run.data_fingerprint}`"
    return f"{_table(header, rows)}\n\nFingerprint of the datasets: {fingerprint}."


def _known(count: int | None) -> str:
    return _UNKNOWN if count is None else str(count)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
