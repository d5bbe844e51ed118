"""The event metrics of a trained model on converted datasets: PSDS and F1 of events and segments.

The frames of training, 0.96 s one after the other, are too coarse for these metrics. So clips are
scored at a finer hop, and each frame stands for the hop-long interval at its centre, see
`frame_times.boundaries`. The scores of all clips are held in memory as float32: 1.5 GB for the 14k
clips of AudioSet's strong evaluation at 0.16 s, 5.9 GB at 0.04 s.
"""

import dataclasses
import os
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import matplotlib.figure
import numpy as np
import pandas as pd
import tensorflow as tf

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import choices, drawing, errors, files, progress
from audioset_strong.evaluation import event_metrics, event_protocols, frame_times
from audioset_strong.inference import event_detection, model_loading, waveform_scorer
from audioset_strong.inputs import joint_datasets
from audioset_strong.labels import vocabularies
from audioset_strong.records import clip_records, dataset_info, inspection
from audioset_strong.training import checkpoints

RESULTS, PER_CLASS, PICTURE = "results.csv", "per_class.csv", "psd_roc.png"

# A clip -> its scores, float32 [frames, classes].
ScoreClip = Callable[[clip_records.Clip], np.ndarray]


class _ClipScorer(NamedTuple):
    """A model's classes, its front end, and the function that scores a clip with it."""

    vocabulary: vocabularies.Vocabulary
    front_end: FrontEnd
    score: ScoreClip


class _Scored(NamedTuple):
    """Scores, events and lengths of clips, by clip id; see `event_metrics.measure`."""

    scores: dict[str, np.ndarray]
    events: dict[str, list[event_metrics.ReferenceEvent]]
    seconds: dict[str, float]


def evaluate_events(
    model: str | os.PathLike[str],
    eval_data: Sequence[str],
    *,
    output_dir: str | os.PathLike[str],
    protocol: str = choices.EVERY_EVENT,
    hop_s: float | None = None,
    median_s: float | None = None,
    threshold: float = 0.5,
    ema: bool = False,
    batch_size: int = 64,
) -> event_metrics.EventEvalResult:
    """Scores the clips with strong labels, measures, and writes tables and a picture.

    Written to `output_dir`, each file whole or not at all: results.csv (metric, value),
    per_class.csv (`per_class` of what is returned) and psd_roc.png.

    Args:
      model: see `model_loading.load_model`.
      eval_data: converted datasets, with the classes of the model in its order.
      output_dir: created if it is missing; files of these names are replaced.
      protocol: a name in `event_protocols.PROTOCOLS`: which clips and classes are measured.
      hop_s: seconds from the start of one frame to the start of the next, see `Model.predict`; that
        of the protocol where it is None.
      median_s: length in seconds of the median filter over the scores of a clip, see
        `median_hops`; that of the protocol where it is None.
      threshold: of the F1 at one threshold, in (0, 1].
      ema: whether to take the moving average of a checkpoint's weights.
      batch_size: frames scored at a time.

    Raises:
      errors.InputError: before any clip is scored: sed_scores_eval is missing; an invalid setting;
        not a dataset, a dataset without strong labels, or one of other classes; no model; log-mel
        datasets and an exported model, or a model of another front end; the directory cannot be
        made. Later: a broken shard, a clip that is duplicated or has no audio, scores that are not
        finite.
    """
    event_metrics.check_installed()
    chosen = _protocol(protocol)
    hop_s = chosen.hop_s if hop_s is None else hop_s
    median_s = chosen.median_s if median_s is None else median_s
    event_detection.check_threshold(threshold, "threshold")
    if batch_size < 1:
        raise errors.InputError(f"batch_size {batch_size}: must be at least 1")
    name = os.fspath(model)
    infos, scorer = _open(name, eval_data, hop_s=hop_s, ema=ema, batch_size=batch_size)
    width = median_hops(median_s, hop_s)
    with files.writing(output_dir):
        files.make_directory(output_dir)
    scored = _score_clips(
        name, eval_data, infos=infos, scorer=scorer, protocol=chosen, median_width=width
    )
    measured = _measure(scored, scorer.vocabulary, hop_s=hop_s, threshold=threshold)
    settings = {
        "hop_s": hop_s,
        "median_hops": float(width),
        "clips_left_out": float(sum(info.strong_clips for info in infos) - len(scored.scores)),
    }
    measured = dataclasses.replace(measured, values=measured.values | settings)
    title = f"{name} on {', '.join(eval_data)}"
    _write(measured, files.place(output_dir), title=title)
    return measured


def _protocol(name: str) -> event_protocols.EventProtocol:
    if name not in event_protocols.PROTOCOLS:
        known = ", ".join(event_protocols.PROTOCOLS)
        raise errors.InputError(f"protocol {name!r}: must be one of {known}")
    return event_protocols.PROTOCOLS[name]


def median_hops(median_s: float, hop_s: float) -> int:
    """The odd number of hops that is nearest to a length in seconds; 1 means no filter.

    >>> median_hops(0.48, 0.16)
    3

    Args:
      median_s: length of the median filter in seconds.
      hop_s: seconds from the start of one frame to the start of the next.

    Raises:
      errors.InputError: an invalid length.
    """
    if not 0.0 <= median_s < float("inf"):
        raise errors.InputError(f"median_s {median_s:g}: must be 0 s (no filter) or more")
    return 1 + 2 * max(round((median_s / hop_s - 1) / 2), 0)


def _open(
    model: str, eval_data: Sequence[str], *, hop_s: float, ema: bool, batch_size: int
) -> tuple[list[dataset_info.DatasetInfo], _ClipScorer]:
    """The infos of the datasets and a scorer of their clips."""
    encodings = {dataset_info.DatasetInfo.load(path).encoding for path in eval_data}
    make_scorer = _of_log_mel if encodings == {clip_records.LOG_MEL} else _of_audio
    scorer = make_scorer(model, hop_s=hop_s, ema=ema, batch_size=batch_size)
    infos = joint_datasets.read_infos(eval_data, scorer.front_end)
    if not sum(info.strong_clips for info in infos):
        raise errors.InputError(f"{', '.join(eval_data)}: no clip with strong labels")
    if scorer.vocabulary.mids != infos[0].vocabulary.mids:
        raise errors.InputError(
            f"{eval_data[0]}: has other classes ({len(infos[0].vocabulary)}) than {model} "
            f"({len(scorer.vocabulary)}), or another order; convert it with the --class_labels of "
            "the model's training data"
        )
    return infos, scorer


def _of_audio(path: str, *, hop_s: float, ema: bool, batch_size: int) -> _ClipScorer:
    """A scorer of clips whose records hold audio."""
    model = model_loading.load_model(path, ema=ema)
    waveform_scorer.hop_in_stft_frames(hop_s, model.front_end)

    def score(clip: clip_records.Clip) -> np.ndarray:
        chunks = model.stream([clip.waveform], hop_s=hop_s, batch_size=batch_size)
        return np.concatenate([chunk.scores for chunk in chunks])

    return _ClipScorer(model.vocabulary, model.front_end, score)


def _of_log_mel(path: str, *, hop_s: float, ema: bool, batch_size: int) -> _ClipScorer:
    """A scorer of clips whose records hold log-mel, which the network takes as it is."""
    if files.exists(os.path.join(path, model_loading.SAVED_MODEL_FILE)):
        raise errors.InputError(
            f"{path}: an exported model takes audio, but the datasets hold log-mel; give a "
            "checkpoint or workdir, or convert with --encoding=flac"
        )
    workdir, checkpoint = checkpoints.resolve(path)
    scorer, loaded = waveform_scorer.from_checkpoint(workdir, checkpoint, ema=ema)
    front_end = scorer.front_end
    hop = waveform_scorer.hop_in_stft_frames(hop_s, front_end)
    spec = tf.TensorSpec([None, front_end.num_bands], tf.float32)
    score_rows = tf.function(
        lambda rows: scorer.score_log_mel(rows, tf.constant(hop))[0],
        input_signature=[spec],
        autograph=False,
    )

    def score(clip: clip_records.Clip) -> np.ndarray:
        rows, count = _padded_log_mel(clip, front_end, hop)
        scores = []
        for first in range(0, count, batch_size):
            last = min(first + batch_size, count) - 1
            end = last * hop + front_end.stft_frames_per_patch
            scores.append(score_rows(tf.constant(rows[first * hop : end])).numpy())
        return np.concatenate(scores)

    return _ClipScorer(loaded.vocabulary, front_end, score)


def _padded_log_mel(
    clip: clip_records.Clip, front_end: FrontEnd, hop_stft_frames: int
) -> tuple[np.ndarray, int]:
    """The log-mel of a clip, followed by silence as far as its frames reach; and their number."""
    assert clip.log_mel is not None
    count = waveform_scorer.num_frames(
        clip.num_samples,
        hop_stft_frames * front_end.hop_samples,
        patch_samples=front_end.patch_samples,
    )
    length = (count - 1) * hop_stft_frames + front_end.stft_frames_per_patch
    rows = np.full((length, front_end.num_bands), front_end.silence, np.float32)
    stored = clip.log_mel.values[:length]
    rows[: len(stored)] = stored
    return rows, count


def _score_clips(
    model: str,
    eval_data: Sequence[str],
    *,
    infos: Sequence[dataset_info.DatasetInfo],
    scorer: _ClipScorer,
    protocol: event_protocols.EventProtocol,
    median_width: int,
) -> _Scored:
    """Scores the clips with strong labels that a protocol asks for."""
    scored = _Scored({}, {}, {})
    left_out = {k for k, mid in enumerate(scorer.vocabulary.mids) if mid in protocol.mids_left_out}
    with progress.Bar("scoring", sum(info.strong_clips for info in infos), unit="clip") as bar:
        for directory, info in zip(eval_data, infos, strict=True):
            for clip in inspection.clips(directory, info):
                if clip.segments is None:
                    continue
                bar.update()
                events = _events(clip, left_out)
                if protocol.needs_event and not events:
                    continue
                if clip.clip_id in scored.scores:
                    raise errors.InputError(f"{directory}: clip {clip.clip_id} is duplicated")
                if not clip.num_samples:
                    raise errors.InputError(f"{directory}: clip {clip.clip_id} has no audio")
                frames = scorer.score(clip)
                if not np.isfinite(frames).all():
                    raise errors.InputError(f"{model}: gives scores that are not finite")
                filtered = frame_times.median_filtered(frames, median_width)
                scored.scores[clip.clip_id] = filtered
                scored.events[clip.clip_id] = events
                scored.seconds[clip.clip_id] = clip.seconds
    if not scored.scores:
        raise errors.InputError(f"{', '.join(eval_data)}: no clip with an event that counts")
    return scored


def _events(
    clip: clip_records.Clip, left_out: Collection[int]
) -> list[event_metrics.ReferenceEvent]:
    """The events that begin in a clip, without those of some classes."""
    return [
        (start / 1000, end / 1000, label)
        for start, end, label in clip.segments or ()
        if label not in left_out and start / 1000 < clip.seconds
    ]


def _measure(
    scored: _Scored, vocabulary: vocabularies.Vocabulary, *, hop_s: float, threshold: float
) -> event_metrics.EventEvalResult:
    heard = {label for events in scored.events.values() for _, _, label in events}
    with progress.Bar("measuring", len(heard), unit="class") as bar:
        return event_metrics.measure(
            scored.scores,
            scored.events,
            seconds=scored.seconds,
            vocabulary=vocabulary,
            hop_s=hop_s,
            frame_s=waveform_scorer.FRAME_S,
            threshold=threshold,
            on_class=bar.update,
        )


def as_text(measured: event_metrics.EventEvalResult) -> str:
    """The metrics of `evaluate_events` as a table, one per line."""
    values = measured.values
    left_out = f" ({values['clips_left_out']:.0f} left out)" if values["clips_left_out"] else ""
    lines = [
        f"{values['clips']:.0f} clips{left_out}, {values['hours']:.2f} h, "
        f"{values['events']:.0f} events of {values['classes']:.0f} classes "
        f"({values['classes_without_events']:.0f} without)"
    ]
    for name in ("psds1", "psds1_macro", "psds2"):
        penalized = values["psds1_macro"] and not values[name]
        note = "  the penalty on differences between classes; see psds1_macro" if penalized else ""
        lines.append(f"  {name:24s}{values[name]:7.4f}{note}")
    for kind in ("event", "segment"):
        for average in ("macro", "micro"):
            for suffix in ("", "_best"):
                name = f"{kind}_f1_{average}{suffix}"
                shown = "  at each class's best" if suffix else f"  at {values['threshold']:g}"
                lines.append(f"  {name:24s}{values[name]:7.4f}{shown}")
    return "\n".join(lines)


def draw_psd_roc(
    measured: event_metrics.EventEvalResult, *, title: str
) -> matplotlib.figure.Figure:
    """Draws the PSD ROCs over all classes; the mean height of a curve is its PSDS.

    Args:
      measured: holds the curves.
      title: of the figure.
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
        xlabel="effective false positives per hour",
        ylabel="effective true positive rate",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    axes.set_title(title, fontsize="small", wrap=True, parse_math=False)
    return figure


def _write(
    measured: event_metrics.EventEvalResult,
    directory: files.Place,
    *,
    title: str,
) -> None:
    results = pd.DataFrame(measured.values.items(), columns=["metric", "value"])
    with files.writing(directory):
        files.write_text(directory / PER_CLASS, measured.per_class.to_csv(index=False))
        drawing.save(draw_psd_roc(measured, title=title), directory / PICTURE)
        # Written last: where it exists, the others do too.
        files.write_text(directory / RESULTS, results.to_csv(index=False))
