"""Scenes of the embedded corpus: the events of a clip, its audio, and how raters label it.

Everything about a clip is drawn from (seed, split, index) alone, so every process draws the same.
Worker processes import this module, so it must not import TensorFlow.
"""

import base64
import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
import soundfile

from audioset_strong.core import files
from audioset_strong.synthetic import sounds

TRAIN, EVAL = "train", "eval"
_SPLITS = {TRAIN: 0, EVAL: 1}
_SCENE, _AUDIO, _RATER = 0, 1, 2  # independent random streams of a clip
_EVENNESS = 1.0  # the most frequent of n classes is 1 + (n - 1) / _EVENNESS times the rarest
_LABEL_JITTER_S = 0.03  # the annotation's precision is about 0.1 s

# The weak rater gives two or three labels to a clip, as in AudioSet; some are general, some
# wrong.
_PROPOSED = 0.9  # share of the classes that sound about which the rater is asked
_HALF_HEARD = 0.4  # salience (seconds times amplitude over background) heard half of the time
_SPECIFIC = 0.8  # probability to confirm the specific class; otherwise the general one
_GENERAL_TOO = 0.35  # probability to confirm the general class besides the specific one
_MISTAKEN = 0.02  # probability of a wrong label, for each neighbour of a class that sounds
# Explicit negatives of a clip: classes beside those that sound, other classes, general classes.
_NEAR_NEGATIVES, _FAR_NEGATIVES, _GENERAL_NEGATIVES = 3, 2, 2


@dataclasses.dataclass(frozen=True)
class SoundEvent:
    """A sound in a clip.

    Attributes:
      label: index of its leaf class.
      start_ms, end_ms: relative to the clip.
      snr_db: its RMS over that of the background.
    """

    label: int
    start_ms: int
    end_ms: int
    snr_db: float


@dataclasses.dataclass(frozen=True)
class Scene:
    """A clip before it is rendered.

    Attributes:
      clip_id: YTID_STARTMS.
      ytid: id of the made-up video.
      start_s: start of the clip in its video.
      duration_ms: length of the clip.
      suffix: of its audio file.
      background_exponent: the background's power falls as 1/f to this exponent.
      background_rms: level of the background, where full scale is 1.
      events: by their start.
    """

    clip_id: str
    ytid: str
    start_s: int
    duration_ms: int
    suffix: str
    background_exponent: float
    background_rms: float
    events: tuple[SoundEvent, ...]

    @property
    def present(self) -> tuple[int, ...]:
        """Classes that sound somewhere in the clip."""
        return tuple(sorted({event.label for event in self.events}))


def _rng(seed: int, split: str, index: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, _SPLITS[split], index, stream])


def make_scene(
    seed: int, split: str, *, index: int, num_classes: int, selected: bool = False
) -> Scene:
    """Draws the scene of one clip.

    Clips with strong labels were selected so that each class has its share (section 3.1 of the
    paper, Fig. 2), and so was the eval set. In all other clips some classes are rare.

    Args:
      seed: of the corpus.
      split: TRAIN or EVAL.
      index: of the clip in the split.
      num_classes: leaf classes of the corpus.
      selected: whether all classes are equally likely.

    Returns:
      The scene, the same for the same arguments.
    """
    rng = _rng(seed, split, index, _SCENE)
    ytid = base64.urlsafe_b64encode(rng.bytes(9)).decode()[:11]
    # As in the release, some ids begin with "-" or "_", which is hard on file tools.
    ytid = {0: "-", 1: "_"}.get(index, ytid[0]) + ytid[1:]
    start_s = 10 * int(rng.integers(0, 30))
    # About 2% of the release's clips are shorter than 10 s.
    duration_ms = 10_000 if rng.uniform() > 0.02 else 1000 * int(rng.integers(4, 10))

    priors = np.ones(num_classes) if selected else 1.0 / (np.arange(num_classes) + _EVENNESS)
    priors = np.random.default_rng([seed, 99]).permutation(priors)
    # Each clip has a theme, a family that is likelier in it. So the rest of a clip says much about
    # which classes are in it, and nothing about when.
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
            events.append(SoundEvent(int(label), start, start + length, float(rng.uniform(-4, 20))))
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


def render(seed: int, split: str, *, index: int, scene: Scene) -> np.ndarray:
    """Renders the audio of a scene.

    Args:
      seed: of the scene, as for `make_scene`.
      split: of the scene, as for `make_scene`.
      index: of the scene, as for `make_scene`.
      scene: what `make_scene` drew.

    Returns:
      float64 `[samples]` in (-1, 1) at `sounds.SAMPLE_RATE`.
    """
    rng = _rng(seed, split, index, _AUDIO)
    rate = sounds.SAMPLE_RATE // 1000
    samples = scene.duration_ms * rate
    audio = scene.background_rms * sounds.coloured_noise(rng, samples, scene.background_exponent)
    for event in scene.events:
        rms = scene.background_rms * 10 ** (event.snr_db / 20)
        begin, end = event.start_ms * rate, event.end_ms * rate
        sound = sounds.CLASSES[event.label]
        audio[begin:end] += sounds.render_event(sound, rng, samples=end - begin, rms=rms)
    peak = np.abs(audio).max()
    return audio * min(1.0, 0.98 / peak)


def write_audio(
    seed: int,
    split: str,
    *,
    indices: Sequence[int],
    num_classes: int,
    num_selected: int,
    directory: str,
) -> int:
    """Renders clips into files, each of which appears whole; existing files are kept.

    Args:
      seed: of the corpus.
      split: TRAIN or EVAL.
      indices: of the clips in the split.
      num_classes: leaf classes of the corpus.
      num_selected: clips that were selected, the first of the split; see `make_scene`.
      directory: where the files go.

    Returns:
      The number of clips.
    """
    for index in indices:
        selected = index < num_selected
        scene = make_scene(seed, split, index=index, num_classes=num_classes, selected=selected)
        path = pathlib.Path(directory) / (scene.clip_id + scene.suffix)
        if path.exists():
            continue
        audio = render(seed, split, index=index, scene=scene)
        pcm = np.round(audio * 32767).astype(np.int16)
        with files.atomic(path) as temporary:
            soundfile.write(
                temporary, pcm, sounds.SAMPLE_RATE, "PCM_16", format=path.suffix[1:].upper()
            )
    return len(indices)


@dataclasses.dataclass(frozen=True)
class Ratings:
    """The labels that raters give to a clip.

    Attributes:
      weak: indices of leaf classes, and `num_classes` + family index for general classes.
      segments: (start ms, end ms, leaf index) each.
      negatives: classes that were found absent, numbered as in `weak`.
    """

    weak: tuple[int, ...]
    segments: tuple[tuple[int, int, int], ...]
    negatives: tuple[int, ...]


def _taken_for(num_classes: int) -> list[int]:
    """What the weak rater calls a short event of each class: half have the name of a neighbour."""
    taken_for = list(range(num_classes))
    for family in sounds.FAMILIES:
        members = [k for k in range(num_classes) if sounds.CLASSES[k].family == family]
        for label, neighbour in zip(members[::2], members[1::2], strict=False):
            taken_for[label] = neighbour
    return taken_for


def rate(seed: int, split: str, *, index: int, scene: Scene, num_classes: int) -> Ratings:
    """Draws the three kinds of labels for a scene, as section 3 of the paper describes them.

    Weak: a rater answers questions about a few proposed classes for the whole clip. A class that
    was not proposed stays unlabelled however loud it is, short and quiet sounds are missed, a
    general class is often confirmed in place of the specific one, short events of some classes are
    taken for those of a neighbour, and neighbours are sometimes confused. Strong: complete and
    specific, with times precise to about 0.1 s. Negatives: neighbours of the classes that sound, a
    few others, and general classes of which nothing sounds; none has a weak label.

    Args:
      seed: of the scene, as for `make_scene`.
      split: of the scene, as for `make_scene`.
      index: of the scene, as for `make_scene`.
      scene: what `make_scene` drew.
      num_classes: leaf classes of the corpus.
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
    longest = {
        label: max(e.end_ms - e.start_ms for e in scene.events if e.label == label) / 1000
        for label in present
    }
    taken_for = _taken_for(num_classes)
    weak: set[int] = set()
    for label in present:
        heard = salience[label] / (salience[label] + _HALF_HEARD)
        if rng.uniform() < _PROPOSED and rng.uniform() < heard:
            general = num_classes + families[label]
            specific = rng.uniform() < _SPECIFIC
            is_short = longest[label] < np.sqrt(np.prod(sounds.CLASSES[label].seconds))
            name = taken_for[label] if is_short else label
            weak.add(name if specific else general)
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

    near = [label for label in near if label not in weak]
    far = [label for label in absent if label not in near and label not in weak]
    named = {families[label] if label < num_classes else label - num_classes for label in weak}
    named |= {families[label] for label in present}
    silent = [num_classes + k for k in range(len(sounds.FAMILIES)) if k not in named]
    chosen: list[int] = []
    for candidates, count in (
        (near, _NEAR_NEGATIVES),
        (far, _FAR_NEGATIVES),
        (silent, _GENERAL_NEGATIVES),
    ):
        chosen += list(rng.permutation(candidates)[:count])
    return Ratings(
        tuple(sorted(weak)),
        tuple(sorted(set(segments))),
        tuple(sorted(int(label) for label in chosen)),
    )
