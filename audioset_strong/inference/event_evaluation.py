"""The event metrics of a trained model on converted datasets: PSDS and F1 of events and segments.

The frames of training, 0.96 s one after the other, are too coarse for these: clips are scored at a
finer hop, and each frame speaks for the hop in its middle, as in `events`. The scores of all clips
are held in memory, float32: 1.5 GB for the 14k clips of AudioSet's strong evaluation at 0.16 s.
"""

import os
import pathlib
from collections.abc import Callable, Sequence

import matplotlib.figure
import numpy as np
import pandas as pd
import tensorflow as tf
from scipy import ndimage

from audioset_strong.audio import features
from audioset_strong.core import drawing, errors, progress
from audioset_strong.evaluation import event_metrics
from audioset_strong.inference import event_detection, predictor, waveform_scorer
from audioset_strong.inputs import training_sources
from audioset_strong.labels import vocabularies
from audioset_strong.records import clip_records, inspection
from audioset_strong.training import checkpoints

HOP_S = 0.16
MEDIAN_S = 0.48
RESULTS, PER_CLASS, PICTURE = "results.csv", "per_class.csv", "psd_roc.png"

# A clip -> its scores, float32 [frames, classes].
ScoreClip = Callable[[clip_records.Clip], np.ndarray]


def evaluate_events(
    model: str | os.PathLike,
    eval_data: Sequence[str],
    output_dir: str | os.PathLike,
    hop_s: float = HOP_S,
    median_s: float = MEDIAN_S,
    threshold: float = 0.5,
    ema: bool = False,
    batch_size: int = 64,
) -> event_metrics.Measured:
    """Scores the clips with strong labels, measures, and writes tables and a picture.

    Written to `output_dir`, each whole or not at all: results.csv (metric, value), per_class.csv
    (`Measured.per_class`) and psd_roc.png.

    Args:
      model: see `predictor.load_model`.
      eval_data: converted datasets; of the model's classes, in its order.
      output_dir: made where it is not there; files of these names are replaced.
      hop_s: seconds from one frame to the next, a multiple of 0.01 up to 0.96.
      median_s: length of the median filter over a clip's scores, in seconds; see `median_frames`.
      threshold: of the F1 at one threshold, in (0, 1].
      ema: whether to take the moving average of a checkpoint's weights.
      batch_size: frames scored at a time.

    Raises:
      errors.InputError: before any clip is scored: sed_scores_eval is missing; a setting that is
        none; no dataset, none with strong labels, or one of other classes; no model; datasets of
        log-mel and an exported model, or one with a front end of its own; a directory that cannot
        be made. Later: a broken shard, a clip that is there twice or has no audio, scores that are
        no numbers.
    """
    event_metrics.check_installed()
    hop_frames = predictor.check_hop(hop_s)
    filtered_frames = median_frames(median_s, hop_s)
    event_detection.check_threshold(threshold, "threshold")
    if batch_size < 1:
        raise errors.InputError(f"batch_size {batch_size}: must be at least 1")
    infos = training_sources.read_infos(eval_data)
    num_clips = sum(info.strong_clips for info in infos)
    if not num_clips:
        raise errors.InputError(f"{', '.join(eval_data)}: no clip with strong labels")
    name = os.fspath(model)
    if infos[0].encoding == clip_records.LOG_MEL:
        vocabulary, score_clip = _of_log_mel(name, ema, hop_frames, batch_size)
    else:
        vocabulary, score_clip = _of_audio(name, ema, hop_s, batch_size)
    _check_vocabulary(name, vocabulary, eval_data[0], infos[0].vocabulary)
    _make_directory(output_dir)

    scores: dict[str, np.ndarray] = {}
    events: dict[str, list[event_metrics.Event]] = {}
    seconds: dict[str, float] = {}
    with progress.bar("scoring", num_clips, "clip") as bar:
        for directory, info in zip(eval_data, infos, strict=True):
            for clip in inspection.clips(directory, info):
                if clip.segments is None:
                    continue
                if clip.clip_id in scores:
                    raise errors.InputError(f"{directory}: clip {clip.clip_id} is there twice")
                if not clip.num_samples:
                    raise errors.InputError(f"{directory}: clip {clip.clip_id} has no audio")
                frames = score_clip(clip)
                if not np.isfinite(frames).all():
                    raise errors.InputError(f"{name}: gives scores that are no numbers")
                scores[clip.clip_id] = median_filtered(frames, filtered_frames)
                events[clip.clip_id] = [(a / 1000, b / 1000, k) for a, b, k in clip.segments]
                seconds[clip.clip_id] = clip.seconds
                bar.update()
    heard = {label for listed in events.values() for _, _, label in listed}
    with progress.bar("measuring", len(heard), "class") as bar:
        measured = event_metrics.measure(
            scores,
            events,
            seconds,
            vocabulary,
            hop_s,
            waveform_scorer.FRAME_S,
            threshold,
            on_class=bar.update,
        )
    settings = {"hop_s": hop_s, "median_frames": float(filtered_frames)}
    _write(measured, settings, f"{name} on {', '.join(eval_data)}", pathlib.Path(output_dir))
    return measured


def median_frames(median_s: float, hop_s: float) -> int:
    """The odd number of frames that is nearest to a length in seconds; 1 is no filter.

    Raises:
      errors.InputError: a length that is none.
    """
    if not 0.0 <= median_s < float("inf"):
        raise errors.InputError(f"median_s {median_s:g}: must be 0 s, for no filter, or more")
    return 1 + 2 * max(round((median_s / hop_s - 1) / 2), 0)


def median_filtered(scores: np.ndarray, width: int) -> np.ndarray:
    """Scores `[frames, classes]` after a median filter over time.

    Beyond an end its frame goes on, as in `events.Detector`.

    Args:
      scores: of a whole clip.
      width: in frames, odd.
    """
    return ndimage.median_filter(scores, size=(width, 1), mode="nearest")


def as_text(measured: event_metrics.Measured) -> str:
    """The metrics as a table, a line each."""
    values = measured.values
    lines = [
        f"{values['clips']:.0f} clips, {values['hours']:.2f} h, {values['events']:.0f} events of "
        f"{values['classes']:.0f} classes ({values['classes_without_events']:.0f} without)"
    ]
    for name in ("psds1", "psds1_macro", "psds2"):
        lines.append(f"  {name:24s}{values[name]:7.4f}")
    for kind in ("event", "segment"):
        for average in ("macro", "micro"):
            for suffix in ("", "_best"):
                name = f"{kind}_f1_{average}{suffix}"
                shown = "" if suffix else f"  at {values['threshold']:g}"
                lines.append(f"  {name:24s}{values[name]:7.4f}{shown}")
    return "\n".join(lines)


def draw_psd_roc(measured: event_metrics.Measured, title: str) -> matplotlib.figure.Figure:
    """PSD ROCs over all classes; a curve's mean height is its PSDS.

    Args:
      measured: whose curves to draw.
      title: above them.
    """
    figure = drawing.new_figure(7.0, 5.0)
    axes = figure.subplots()
    end = event_metrics.MAX_FP_PER_HOUR
    for name, roc in measured.rocs.items():
        x, y = np.append(roc.fp_per_hour, end), np.append(roc.tp_rate, roc.tp_rate[-1])
        axes.step(x, y, where="post", label=f"{name} {roc.area():.4f}")
    axes.set(
        xlim=(0, end),
        ylim=(0, 1.02),
        xlabel="effective false positives an hour",
        ylabel="effective true positive rate",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    axes.set_title(title, fontsize="small", wrap=True, parse_math=False)
    return figure


def _of_audio(
    path: str, ema: bool, hop_s: float, batch_size: int
) -> tuple[vocabularies.Vocabulary, ScoreClip]:
    """A model's classes, and what scores a clip with it."""
    model = predictor.load_model(path, ema)

    def score(clip: clip_records.Clip) -> np.ndarray:
        chunks = model.stream([clip.waveform], hop_s, batch_size)
        return np.concatenate([chunk.scores for chunk in chunks])

    return model.vocabulary, score


def _of_log_mel(
    path: str, ema: bool, hop_frames: int, batch_size: int
) -> tuple[vocabularies.Vocabulary, ScoreClip]:
    """The same for clips that are kept as log-mel, which goes past the model's front end."""
    if (pathlib.Path(path) / predictor.SAVED_MODEL_FILE).exists():
        raise errors.InputError(
            f"{path}: an exported model takes audio, but the datasets keep log-mel; give a "
            "checkpoint or workdir, or convert with --encoding=flac"
        )
    workdir, checkpoint = checkpoints.resolve(path)
    default = features.DEFAULT_FRONT_END
    for name, value in waveform_scorer.front_end_settings(workdir).items():
        if value != getattr(default, name):
            raise errors.InputError(
                f"{path}: trained with log_mel.{name} = {value}, but the datasets keep log-mel of "
                f"the default, {getattr(default, name)}; convert with --encoding=flac"
            )
    loaded = checkpoints.load_model(workdir, checkpoint, ema)
    silence = features.log_mel(tf.zeros([features.WINDOW_SAMPLES])).numpy()

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, features.PATCH_FRAMES, features.PATCH_BANDS], tf.float32)
        ]
    )
    def score_patches(patches: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(tf.cast(loaded.model(patches, training=False), tf.float32))

    def score(clip: clip_records.Clip) -> np.ndarray:
        assert clip.log_mel is not None
        count = waveform_scorer.num_frames(clip.num_samples, hop_frames * features.HOP_SAMPLES)
        length = (count - 1) * hop_frames + features.PATCH_FRAMES
        rows = np.repeat(silence, length, axis=0)
        stored = clip.log_mel.values[:length]
        rows[: len(stored)] = stored
        starts = hop_frames * np.arange(count)
        patches = rows[starts[:, np.newaxis] + np.arange(features.PATCH_FRAMES)]
        batches = (patches[i : i + batch_size] for i in range(0, count, batch_size))
        return np.concatenate([score_patches(tf.constant(batch)).numpy() for batch in batches])

    return loaded.vocabulary, score


def _check_vocabulary(
    model: str,
    vocabulary: vocabularies.Vocabulary,
    dataset: str,
    other: vocabularies.Vocabulary,
) -> None:
    if vocabulary.mids == other.mids:
        return
    raise errors.InputError(
        f"{dataset}: has other classes ({len(other)}) than {model} ({len(vocabulary)}), or in "
        "another order; convert it with the --class_labels of the model's training data"
    )


def _make_directory(path: str | os.PathLike) -> None:
    try:
        pathlib.Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.InputError(f"{path}: cannot be made ({error.strerror})") from error


def _write(
    measured: event_metrics.Measured,
    settings: dict[str, float],
    title: str,
    directory: pathlib.Path,
) -> None:
    values = measured.values | settings
    results = pd.DataFrame({"metric": list(values), "value": list(values.values())})
    try:
        checkpoints.write_text(directory / PER_CLASS, measured.per_class.to_csv(index=False))
        drawing.save(draw_psd_roc(measured, title), directory / PICTURE)
        # Last: it tells that all are there.
        checkpoints.write_text(directory / RESULTS, results.to_csv(index=False))
    except OSError as error:
        raise errors.InputError(f"{directory}: cannot be written ({error.strerror})") from error
