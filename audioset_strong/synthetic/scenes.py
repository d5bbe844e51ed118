"""Scenes of the embedded corpus: which events a clip holds, its audio, and what raters say of it.

Everything about a clip is drawn from (seed, split, index) alone, whatever the process that asks.
Needs numpy and soundfile only: worker processes import this module.
"""

import base64
import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import soundfile

from audioset_strong.synthetic import sounds

TRAIN, EVAL = "train", "eval"
_SPLITS = {TRAIN: 0, EVAL: 1}
_SCENE, _AUDIO, _RATER = 0, 1, 2  # independent random streams of a clip
_LABEL_JITTER_S = 0.03  # the annotation's precision is about 0.1 s

# The weak rater. About two labels a clip, as AudioSet has; a bit under half of the classes that
# sound are labelled with their specific class; about one specific label in eight is wrong.
_PROPOSED = 0.75  # of the classes that sound, those that the rater is asked about
_HALF_HEARD = 0.4  # salience (seconds times amplitude over background) heard half of the time
_SPECIFIC = 0.65  # confirmed as the specific class, otherwise as the general one
_GENERAL_TOO = 0.35  # the general one besides the specific
_MISTAKEN = 0.02  # for each neighbour of what sounds


@dataclasses.dataclass(frozen=True)
class Event:
    """A sound in a clip: class index among the leaves, begin and end in ms, RMS over background."""

    label: int
    start_ms: int
    end_ms: int
    snr_db: float


@dataclasses.dataclass(frozen=True)
class Scene:
    """A clip before it is rendered."""

    clip_id: str
    ytid: str
    start_s: int
    duration_ms: int
    suffix: str
    background_exponent: float
    background_rms: float
    events: tuple[Event, ...]

    @property
    def present(self) -> tuple[int, ...]:
        """Classes that sound somewhere in the clip."""
        return tuple(sorted({event.label for event in self.events}))


def _rng(seed: int, split: str, index: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, _SPLITS[split], index, stream])


def make_scene(seed: int, split: str, index: int, num_classes: int) -> Scene:
    """Draws the scene of one clip."""
    rng = _rng(seed, split, index, _SCENE)
    ytid = base64.urlsafe_b64encode(rng.bytes(9)).decode()[:11]
    # Ids of the real release begin with "-" and "_" too, which file tools stumble over.
    ytid = {0: "-", 1: "_"}.get(index, ytid[0]) + ytid[1:]
    start_s = 10 * int(rng.integers(0, 30))
    # About 2% of the release's clips are shorter than 10 s.
    duration_ms = 10_000 if rng.uniform() > 0.02 else 1000 * int(rng.integers(4, 10))

    priors = 1.0 / (np.arange(num_classes) + 6.0)  # mildly uneven, as class rates are
    priors = np.random.default_rng([seed, 99]).permutation(priors)
    # A clip has a theme: one family is likelier in it. So a clip tells much about which classes are
    # in it, and nothing about when.
    families = np.array([sounds.FAMILIES.index(c.family) for c in sounds.CLASSES[:num_classes]])
    theme = rng.integers(len(sounds.FAMILIES))
    weights = priors * np.where(families == theme, 4.0, 1.0)
    labels = rng.choice(num_classes, size=1 + rng.binomial(4, 0.35), p=weights / weights.sum())
    events = []
    for label in labels:
        shortest, longest = sounds.CLASSES[label].seconds
        for _ in range(1 + rng.binomial(2, 0.35)):
            seconds = np.exp(rng.uniform(np.log(shortest), np.log(longest)))
            length = min(round(1000 * seconds), duration_ms)
            start = int(rng.integers(0, duration_ms - length + 1))
            events.append(Event(int(label), start, start + length, float(rng.uniform(-4, 20))))
    return Scene(
        clip_id=f"{ytid}_{start_s * 1000}",
        ytid=ytid,
        start_s=start_s,
        duration_ms=duration_ms,
        suffix=".wav" if index % 2 else ".flac",
        background_exponent=float(rng.uniform(0.0, 2.0)),
        background_rms=float(10 ** rng.uniform(-2.6, -1.7)),
        events=tuple(sorted(events, key=lambda event: (event.start_ms, event.label))),
    )


def render(seed: int, split: str, index: int, scene: Scene) -> np.ndarray:
    """The audio of a scene: float64 `[samples]` in (-1, 1)."""
    rng = _rng(seed, split, index, _AUDIO)
    rate = sounds.SAMPLE_RATE // 1000
    samples = scene.duration_ms * rate
    audio = scene.background_rms * sounds.coloured_noise(rng, samples, scene.background_exponent)
    for event in scene.events:
        rms = scene.background_rms * 10 ** (event.snr_db / 20)
        begin, end = event.start_ms * rate, event.end_ms * rate
        audio[begin:end] += sounds.render_event(sounds.CLASSES[event.label], rng, end - begin, rms)
    peak = np.abs(audio).max()
    return audio * min(1.0, 0.98 / peak)


def write_audio(
    seed: int, split: str, indices: Sequence[int], num_classes: int, directory: str
) -> int:
    """Renders clips into files, by rename; those that exist are kept. Returns how many clips."""
    for index in indices:
        scene = make_scene(seed, split, index, num_classes)
        path = pathlib.Path(directory) / (scene.clip_id + scene.suffix)
        if path.exists():
            continue
        audio = render(seed, split, index, scene)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        pcm = np.round(audio * 32767).astype(np.int16)
        soundfile.write(
            temporary, pcm, sounds.SAMPLE_RATE, "PCM_16", format=path.suffix[1:].upper()
        )
        temporary.replace(path)
    return len(indices)


@dataclasses.dataclass(frozen=True)
class Ratings:
    """What raters say of a clip; leaves are class indices, families follow them.

    Attributes:
      weak: leaf indices, and `num_classes` + family index for general classes.
      segments: (start ms, end ms, leaf index).
      negatives: leaf indices found absent.
    """

    weak: tuple[int, ...]
    segments: tuple[tuple[int, int, int], ...]
    negatives: tuple[int, ...]


def rate(seed: int, split: str, index: int, scene: Scene, num_classes: int) -> Ratings:
    """Draws the three kinds of labels for a scene, after the paper's section 3.

    Weak: a rater answers, for the whole clip, about a few proposed classes. What was not proposed
    stays unlabelled however loud it is, short and quiet sounds are missed, a general class is often
    confirmed where a specific one would do, neighbours are now and then taken for each other.
    Strong: complete and specific, with times good to about 0.1 s. Negatives: neighbours of what is
    there, and a few others.
    """
    rng = _rng(seed, split, index, _RATER)
    families = [sounds.FAMILIES.index(c.family) for c in sounds.CLASSES[:num_classes]]
    present = scene.present
    absent = [label for label in range(num_classes) if label not in present]
    near = [label for label in absent if families[label] in {families[p] for p in present}]

    salience = {
        label: max(
            (event.end_ms - event.start_ms) / 1000 * 10 ** (event.snr_db / 20)
            for event in scene.events
            if event.label == label
        )
        for label in present
    }
    weak: set[int] = set()
    for label in present:
        heard = salience[label] / (salience[label] + _HALF_HEARD)
        if rng.uniform() < _PROPOSED and rng.uniform() < heard:
            general = num_classes + families[label]
            specific = rng.uniform() < _SPECIFIC
            weak.add(label if specific else general)
            if specific and rng.uniform() < _GENERAL_TOO:
                weak.add(general)
    for label in near:
        if rng.uniform() < _MISTAKEN:
            weak.add(label)
    if not weak:  # the release lists only clips with a label
        weak.add(num_classes + families[max(present, key=lambda label: salience[label])])

    def jitter(ms: int) -> int:
        moved = ms + round(1000 * _LABEL_JITTER_S * rng.normal())
        return int(np.clip(moved, 0, scene.duration_ms))

    segments = []
    for event in scene.events:
        start, end = jitter(event.start_ms), jitter(event.end_ms)
        if end <= start:
            start, end = event.start_ms, event.end_ms
        segments.append((start, end, event.label))

    chosen = list(rng.permutation(near)[:3]) if near else []
    far = [label for label in absent if label not in near]
    chosen += list(rng.permutation(far)[:2]) if far else []
    return Ratings(
        tuple(sorted(weak)),
        tuple(sorted(set(segments))),
        tuple(sorted(int(label) for label in chosen)),
    )
