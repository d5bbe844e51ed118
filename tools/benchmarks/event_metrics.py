"""Event metrics at the size of AudioSet's strong eval: seconds and peak memory by a model's skill.

Example:
  event_metrics.py --clips=14000 --skills=0,1,3,6

Scores and events are made up. A logit is the sum of what the clip is like for the class, of how the
frame differs from it, and, where the class is heard, of the skill; skill 0 misses the events. How
long it takes depends on the skill, because scores that are too low to matter are left out. Each
measurement runs in a process of its own, whose peak memory counts what it imports and the scores,
which are told apart. The digest is equal for equal results, so a run with an older checkout on
PYTHONPATH shows whether a change has changed them. The last line is all of it as JSON.
"""

import hashlib
import json
import multiprocessing
import resource
import time

import numpy as np
from absl import flags

from audioset_strong.core import cli

_CLIPS = flags.DEFINE_integer("clips", 14_000, "Clips of ten seconds.", lower_bound=2)
_CLASSES = flags.DEFINE_integer("classes", 456, "Classes.", lower_bound=2)
_SKILLS = flags.DEFINE_list("skills", ["0", "1", "3", "6"], "Skills of the models.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of scores and events.")

FRAMES, HOP_S, FRAME_S, SECONDS = 58, 0.16, 0.96, 10.0

Events = dict[str, list[tuple[float, float, int]]]


def _events(clips: int, classes: int, rng: np.random.Generator) -> Events:
    """Nine events of 3.5 classes a clip, as in AudioSet, whose priors are as uneven as there."""
    priors = 1 / np.arange(1, classes + 1)
    priors /= priors.sum()
    found: Events = {}
    for i in range(clips):
        size = min(int(rng.poisson(2.5)) + 1, classes)
        heard = rng.choice(classes, size, replace=False, p=priors)
        listed = []
        for label in heard.tolist():
            for _ in range(1 + int(rng.poisson(1.6))):
                length = min(float(rng.exponential(2.5)) + 0.1, SECONDS)
                onset = round(float(rng.uniform(0, SECONDS - length)), 3)
                listed.append((onset, round(onset + length, 3), label))
        found[f"clip{i:05d}"] = listed
    return found


def _scores(
    events: Events, classes: int, skill: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Scores float32 `[frames, classes]` of each clip."""
    bias = rng.normal(-6, 1, classes).astype(np.float32)
    middle = np.arange(FRAMES) * HOP_S + FRAME_S / 2
    scores = {}
    for clip_id, listed in events.items():
        noise = rng.standard_normal((FRAMES + 2, classes), np.float32)
        logits = bias + rng.standard_normal(classes, np.float32)
        logits = logits + (noise[:-2] + noise[1:-1] + noise[2:]) / 3
        for onset, offset, label in listed:
            logits[(middle > onset) & (middle < offset), label] += skill
        scores[clip_id] = 1 / (1 + np.exp(-logits))
    return scores


def _measure(clips: int, classes: int, skill: float, seed: int) -> dict[str, object]:
    """Seconds and memory of one model, in this process, with its main metrics."""
    from audioset_strong.evaluation import event_metrics
    from audioset_strong.labels import vocabularies

    rng = np.random.default_rng(seed)
    events = _events(clips, classes, rng)
    scores = _scores(events, classes, skill, rng)
    mids = tuple(f"/m/{i}" for i in range(classes))
    begin = time.process_time()
    measured = event_metrics.measure(
        scores,
        events,
        seconds=dict.fromkeys(scores, SECONDS),
        vocabulary=vocabularies.Vocabulary(mids, mids),
        hop_s=HOP_S,
        frame_s=FRAME_S,
    )
    seconds = time.process_time() - begin
    digest = hashlib.sha256(measured.per_class.to_csv().encode())
    shown = ("psds1", "psds1_macro", "psds2", "event_f1_macro_best", "segment_f1_macro_best")
    values = {name: measured.values[name] for name in shown}
    digest.update(json.dumps(values).encode())
    return {
        "skill": skill,
        "seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "scores_mb": sum(frames.nbytes for frames in scores.values()) / 2**20,
        "digest": digest.hexdigest()[:8],
        **values,
    }


def main(argv: list[str]) -> None:
    """Measures each model, and prints a table and JSON."""
    del argv
    context = multiprocessing.get_context("spawn")
    rows = []
    print("skill        s   peak MB   of it scores   psds1_macro   event F1   digest")
    for skill in map(float, _SKILLS.value):
        with context.Pool(1) as pool:
            row = pool.apply(_measure, (_CLIPS.value, _CLASSES.value, skill, _SEED.value))
        rows.append(row)
        print(
            f"{skill:>5g} {row['seconds']:>8.1f} {row['peak_mb']:>9.0f} {row['scores_mb']:>14.0f} "
            f"{row['psds1_macro']:>13.4f} {row['event_f1_macro_best']:>10.4f}   {row['digest']}",
            flush=True,
        )
    print(json.dumps(rows))


def run() -> None:
    """Entry point."""
    cli.run(main)


if __name__ == "__main__":
    run()
