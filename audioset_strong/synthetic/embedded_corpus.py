"""The embedded corpus on disk: audio files and metadata in exactly the formats of the release."""

import collections
import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import pathlib
from collections.abc import Sequence

import pebble

from audioset_strong.core import errors, progress
from audioset_strong.core.workers import exit_with_parent
from audioset_strong.labels import framed_labels, metadata
from audioset_strong.synthetic import scenes, sounds

VERSION = 1
MARKER = "corpus.json"
MIN_CLASSES = len(sounds.FAMILIES)
_CHUNK = 8  # clips a worker renders between two ticks of the progress bar


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Settings of a corpus; equal settings give equal files.

    Attributes:
      seed: of everything drawn.
      train_weak_clips: training clips with weak labels only.
      train_strong_clips: training clips with weak and strong labels and explicit negatives.
      eval_clips: evaluation clips, with all kinds of labels.
      num_classes: leaf classes; the families' general classes come on top.
    """

    seed: int = 0
    train_weak_clips: int = 2000
    train_strong_clips: int = 600
    eval_clips: int = 400
    num_classes: int = len(sounds.CLASSES)


def make_corpus(output_dir: str, corpus: Corpus, num_workers: int = 0) -> None:
    """Writes audio/{train,eval}/ and metadata/ below a directory.

    Files that are there already are kept, so an interrupted run goes on; `corpus.json` comes last.

    Args:
      output_dir: of the corpus.
      corpus: what to make.
      num_workers: processes; 0 for one a core.

    Raises:
      errors.InputError: impossible settings, or a directory that holds another corpus.
    """
    _check(corpus)
    out = pathlib.Path(output_dir)
    settings = dataclasses.asdict(corpus) | {"version": VERSION}
    plan = out / "corpus_plan.json"
    try:
        if (out / MARKER).exists() or plan.exists():
            path = out / MARKER if (out / MARKER).exists() else plan
            held = json.loads(path.read_text())
            if held != settings:
                raise errors.InputError(
                    f"{out} holds another corpus ({held}); take another --output_dir"
                )
            if path.name == MARKER:
                return
        elif out.is_dir() and any(out.iterdir()):
            raise errors.InputError(f"{out} holds something else; take another --output_dir")
        out.mkdir(parents=True, exist_ok=True)
        plan.write_text(json.dumps(settings))
        (out / "metadata").mkdir(exist_ok=True)
        for split in (scenes.TRAIN, scenes.EVAL):
            (out / "audio" / split).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.InputError(f"cannot write to {out}: {error.strerror}") from error
    _write_audio(out, corpus, num_workers)
    _write_metadata(out / "metadata", corpus)
    plan.replace(out / MARKER)


def _check(corpus: Corpus) -> None:
    for name in ("train_weak_clips", "train_strong_clips", "eval_clips"):
        if getattr(corpus, name) < 1:
            raise errors.InputError(f"{name} = {getattr(corpus, name)}: must be at least 1")
    if not MIN_CLASSES <= corpus.num_classes <= len(sounds.CLASSES):
        raise errors.InputError(
            f"num_classes = {corpus.num_classes}: must lie in "
            f"[{MIN_CLASSES}, {len(sounds.CLASSES)}]"
        )
    if corpus.seed < 0:
        raise errors.InputError(f"seed = {corpus.seed}: must not be negative")


def _sizes(corpus: Corpus) -> dict[str, int]:
    return {
        scenes.TRAIN: corpus.train_weak_clips + corpus.train_strong_clips,
        scenes.EVAL: corpus.eval_clips,
    }


def _write_audio(out: pathlib.Path, corpus: Corpus, num_workers: int) -> None:
    sizes = _sizes(corpus)
    context = multiprocessing.get_context("spawn")
    workers = num_workers or os.cpu_count() or 1
    pool = pebble.ProcessPool(workers, context=context, initializer=exit_with_parent)
    with progress.bar("making corpus", sum(sizes.values()), "clip") as bar, pool:
        pending = [
            pool.schedule(
                scenes.write_audio,
                args=(
                    corpus.seed,
                    split,
                    range(begin, min(begin + _CHUNK, size)),
                    corpus.num_classes,
                    str(out / "audio" / split),
                ),
            )
            for split, size in sizes.items()
            for begin in range(0, size, _CHUNK)
        ]
        try:
            for chunk in concurrent.futures.as_completed(pending):
                bar.update(chunk.result())
        except BaseException:
            pool.stop()
            raise


def leaf_mid(label: int) -> str:
    """The mid of a leaf class."""
    return f"/t/sy{label:05d}"


def family_mid(family: int) -> str:
    """The mid of a family's general class."""
    return f"/m/sy{family:03d}"


def _write_metadata(directory: pathlib.Path, corpus: Corpus) -> None:
    classes = sounds.CLASSES[: corpus.num_classes]
    weak_mids = [leaf_mid(i) for i in range(len(classes))]
    weak_mids += [family_mid(i) for i in range(len(sounds.FAMILIES))]
    names = [sound.name for sound in classes] + list(sounds.FAMILIES)

    lines = ["index,mid,display_name"]
    lines += [
        f'{i},{mid},"{name}"' for i, (mid, name) in enumerate(zip(weak_mids, names, strict=True))
    ]
    _write_text(directory / "class_labels_indices.csv", lines)
    metadata.write_rows(
        str(directory / "mid_to_display_name.tsv"),
        None,
        sorted((leaf_mid(i), sound.name) for i, sound in enumerate(classes)),
    )
    _write_text(directory / "ontology.json", [json.dumps(_ontology(classes), indent=2)])

    for split, size in _sizes(corpus).items():
        made = [scenes.make_scene(corpus.seed, split, i, corpus.num_classes) for i in range(size)]
        rated = [
            scenes.rate(corpus.seed, split, i, scene, corpus.num_classes)
            for i, scene in enumerate(made)
        ]
        weak_name = "weak_train.csv" if split == scenes.TRAIN else "eval_weak.csv"
        _write_weak(directory / weak_name, made, rated, weak_mids)
        # The scenes are alike, so the first ones are as good a sample as any.
        strong = corpus.train_strong_clips if split == scenes.TRAIN else size
        stem = "strong_train" if split == scenes.TRAIN else "eval_strong"
        annotated = sorted(
            zip(made[:strong], rated[:strong], strict=True), key=lambda pair: pair[0].clip_id
        )
        metadata.write_rows(
            str(directory / f"{stem}.tsv"),
            metadata.STRONG_HEADER,
            (
                (scene.clip_id, metadata.seconds(start), metadata.seconds(end), leaf_mid(label))
                for scene, ratings in annotated
                for start, end, label in ratings.segments
            ),
        )
        metadata.write_rows(
            str(directory / f"{split}_negatives.tsv"),
            metadata.NEGATIVES_HEADER,
            (
                (scene.clip_id, leaf_mid(label))
                for scene, ratings in annotated
                for label in ratings.negatives
            ),
        )
    framed_labels.frame_files(
        str(directory / "eval_strong_framed_posneg.tsv"),
        [str(directory / "eval_strong.tsv")],
        [str(directory / "eval_negatives.tsv")],
    )


def _ontology(classes: Sequence[sounds.SoundClass]) -> list[dict]:
    def node(mid: str, name: str, children: list[str], abstract: bool) -> dict:
        return {
            "id": mid,
            "name": name,
            "description": f"{name}, synthesised.",
            "citation_uri": "",
            "positive_examples": [],
            "child_ids": children,
            "restrictions": ["abstract"] if abstract else [],
        }

    families = [family_mid(i) for i in range(len(sounds.FAMILIES))]
    nodes = [node("/m/sy999", "Synthetic sounds", families, True)]
    for i, family in enumerate(sounds.FAMILIES):
        kinds = [leaf_mid(j) for j, sound in enumerate(classes) if sound.family == family]
        nodes.append(node(family_mid(i), family, kinds, False))
    return nodes + [node(leaf_mid(i), sound.name, [], False) for i, sound in enumerate(classes)]


def _write_weak(
    path: pathlib.Path,
    made: Sequence[scenes.Scene],
    rated: Sequence[scenes.Ratings],
    mids: Sequence[str],
) -> None:
    labels = collections.Counter(label for ratings in rated for label in ratings.weak)
    lines = [
        "# Segments csv of a synthetic corpus",
        f"# num_ytids={len({scene.ytid for scene in made})}, num_segs={len(made)}, "
        f"num_unique_labels={len(labels)}, num_positive_labels={labels.total()}",
        "# YTID, start_seconds, end_seconds, positive_labels",
    ]
    rows = []
    for scene, ratings in zip(made, rated, strict=True):
        start_ms = 1000 * scene.start_s
        listed = [mids[label] for label in ratings.weak]
        end_ms = start_ms + scene.duration_ms
        rows.append(metadata.weak_line(scene.ytid, start_ms, end_ms, listed))
    _write_text(path, lines + sorted(rows))


def _write_text(path: pathlib.Path, lines: Sequence[str]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("\n".join(lines) + "\n")
    temporary.replace(path)
