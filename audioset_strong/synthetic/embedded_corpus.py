"""The embedded corpus on disk: audio files and metadata in exactly the formats of the release."""

import collections
import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import pathlib
from collections.abc import Iterator, Sequence

import pebble

from audioset_strong.core import errors, files, progress
from audioset_strong.core.workers import exit_with_parent
from audioset_strong.labels import framed_labels, metadata, metadata_files, metadata_writing
from audioset_strong.synthetic import scenes, sounds

VERSION = 2
MARKER = "corpus.json"  # the settings, once the corpus is complete
_PLAN = "corpus_plan.json"  # the settings until then
MIN_CLASSES = len(sounds.FAMILIES)
_CHUNK = 8  # clips a worker renders between two ticks of the progress bar


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Settings of a corpus; equal settings give equal files.

    Attributes:
      seed: of everything that is drawn at random.
      train_weak_clips: number of training clips with weak labels only.
      train_strong_clips: number of training clips with weak and strong labels and explicit
        negatives.
      eval_clips: number of evaluation clips; they have all kinds of labels.
      num_classes: number of leaf classes; the families' general classes are added to them.
    """

    seed: int = 0
    train_weak_clips: int = 2000
    train_strong_clips: int = 600
    eval_clips: int = 400
    num_classes: int = len(sounds.CLASSES)


def make_corpus(output_dir: str, corpus: Corpus, *, num_workers: int = 0) -> None:
    """Writes audio/{train,eval}/ and metadata/ below a directory.

    Existing files are kept, so that an interrupted run is resumed; `corpus.json` is written last.

    Args:
      output_dir: of the corpus.
      corpus: what to make.
      num_workers: processes; 0 for one per core.

    Raises:
      errors.InputError: impossible settings, or a directory that holds another corpus or cannot be
        written.
    """
    _check(corpus)
    out = pathlib.Path(output_dir)
    with files.writing(out):
        if _claim(out, corpus):
            return
        for directory in ("metadata", f"audio/{scenes.TRAIN}", f"audio/{scenes.EVAL}"):
            files.make_directory(out / directory)
    _write_audio(out, corpus, num_workers)
    _write_metadata(out / "metadata", corpus)
    with files.writing(out):
        files.rename(out / _PLAN, out / MARKER)


def _claim(out: pathlib.Path, corpus: Corpus) -> bool:
    """Makes a directory the home of a corpus; returns whether the corpus is there already."""
    settings = dataclasses.asdict(corpus) | {"version": VERSION}
    for path in (out / MARKER, out / _PLAN):
        if path.exists():
            stored = files.read_json(path)
            if stored != settings:
                raise errors.InputError(
                    f"{out} holds another corpus ({stored}); take another --output_dir"
                )
            return path.name == MARKER
    if out.is_dir() and any(out.iterdir()):
        raise errors.InputError(f"{out} holds something else; take another --output_dir")
    files.make_directory(out)
    files.write_text(out / _PLAN, json.dumps(settings))
    return False


def _check(corpus: Corpus) -> None:
    """Raises `errors.InputError` for impossible settings."""
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
    """Split -> number of clips."""
    return {
        scenes.TRAIN: corpus.train_weak_clips + corpus.train_strong_clips,
        scenes.EVAL: corpus.eval_clips,
    }


def _num_selected(corpus: Corpus, split: str) -> int:
    """Clips with strong labels, the first of a split; see `scenes.make_scene`."""
    return corpus.train_strong_clips if split == scenes.TRAIN else corpus.eval_clips


def read_settings(output_dir: str) -> Corpus:
    """The settings of a finished corpus.

    Args:
      output_dir: of the corpus.

    Raises:
      errors.InputError: no finished corpus is there, or one of another version.
    """
    path = pathlib.Path(output_dir) / MARKER
    try:
        settings = files.read_json(path)
        version = settings.pop("version")
        corpus = Corpus(**settings)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.InputError(
            f"{output_dir}: no finished corpus (no readable {MARKER}); make_corpus writes one"
        ) from error
    if version != VERSION:
        raise errors.InputError(
            f"{path}: a corpus of version {version}, but this version makes {VERSION}; make it "
            "again in another directory"
        )
    return corpus


def rated_scenes(corpus: Corpus, split: str) -> Iterator[tuple[scenes.Scene, scenes.Ratings]]:
    """Draws the scenes of a split and their labels, in the order of their numbers.

    Args:
      corpus: the settings.
      split: `scenes.TRAIN` or `scenes.EVAL`.

    Yields:
      Each scene with its labels.
    """
    num_selected = _num_selected(corpus, split)
    for index in range(_sizes(corpus)[split]):
        scene = scenes.make_scene(
            corpus.seed,
            split,
            index=index,
            num_classes=corpus.num_classes,
            selected=index < num_selected,
        )
        yield (
            scene,
            scenes.rate(
                corpus.seed, split, index=index, scene=scene, num_classes=corpus.num_classes
            ),
        )


def _write_audio(out: pathlib.Path, corpus: Corpus, num_workers: int) -> None:
    """Renders all clips in worker processes."""
    sizes = _sizes(corpus)
    context = multiprocessing.get_context("spawn")
    workers = num_workers or os.cpu_count() or 1
    pool = pebble.ProcessPool(workers, context=context, initializer=exit_with_parent)
    with progress.Bar("making corpus", sum(sizes.values()), unit="clip") as bar, pool:
        pending = [
            pool.schedule(
                scenes.write_audio,
                args=(corpus.seed, split),
                kwargs={
                    "indices": range(begin, min(begin + _CHUNK, size)),
                    "num_classes": corpus.num_classes,
                    "num_selected": _num_selected(corpus, split),
                    "directory": str(out / "audio" / split),
                },
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
    _write_classes(directory, classes, weak_mids)
    for split in _sizes(corpus):
        num_selected = _num_selected(corpus, split)
        drawn, ratings = zip(*rated_scenes(corpus, split), strict=True)
        weak_name = "weak_train.csv" if split == scenes.TRAIN else "eval_weak.csv"
        _write_weak(directory / weak_name, drawn, ratings, mids=weak_mids)
        _write_strong(
            directory,
            split,
            drawn=drawn[:num_selected],
            ratings=ratings[:num_selected],
            weak_mids=weak_mids,
        )
    eval_files = metadata_files.MetadataFiles(
        strong_tsvs=(str(directory / "eval_strong.tsv"),),
        negatives=(str(directory / "eval_negatives.tsv"),),
    )
    framed_labels.frame_files(eval_files, str(directory / "eval_strong_framed_posneg.tsv"))


def _write_classes(
    directory: pathlib.Path, classes: Sequence[sounds.SoundClass], weak_mids: Sequence[str]
) -> None:
    """Writes the class lists of the weak and the strong labels, and the ontology."""
    names = [sound.name for sound in classes] + list(sounds.FAMILIES)
    lines = ["index,mid,display_name"]
    lines += [
        f'{i},{mid},"{name}"' for i, (mid, name) in enumerate(zip(weak_mids, names, strict=True))
    ]
    _write_lines(directory / "class_labels_indices.csv", lines)
    metadata_writing.write_rows(
        str(directory / "mid_to_display_name.tsv"),
        None,
        sorted((leaf_mid(i), sound.name) for i, sound in enumerate(classes)),
    )
    _write_lines(directory / "ontology.json", [json.dumps(_ontology(classes), indent=2)])


def _write_strong(
    directory: pathlib.Path,
    split: str,
    *,
    drawn: Sequence[scenes.Scene],
    ratings: Sequence[scenes.Ratings],
    weak_mids: Sequence[str],
) -> None:
    """Writes the strong labels and the explicit negatives of a split."""
    name = "strong_train.tsv" if split == scenes.TRAIN else "eval_strong.tsv"
    by_clip_id = sorted(zip(drawn, ratings, strict=True), key=lambda pair: pair[0].clip_id)
    metadata_writing.write_rows(
        str(directory / name),
        metadata.STRONG_HEADER,
        (
            (
                scene.clip_id,
                metadata_writing.seconds(start),
                metadata_writing.seconds(end),
                leaf_mid(label),
            )
            for scene, rating in by_clip_id
            for start, end, label in rating.segments
        ),
    )
    metadata_writing.write_rows(
        str(directory / f"{split}_negatives.tsv"),
        metadata.NEGATIVES_HEADER,
        (
            (scene.clip_id, weak_mids[label])
            for scene, rating in by_clip_id
            for label in rating.negatives
        ),
    )


def _ontology(classes: Sequence[sounds.SoundClass]) -> list[dict]:
    """The nodes of `ontology.json`: a root, the families, and their leaf classes."""

    def node(mid: str, name: str, children: list[str], *, abstract: bool = False) -> dict:
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
    nodes = [node("/m/sy999", "Synthetic sounds", families, abstract=True)]
    for i, family in enumerate(sounds.FAMILIES):
        kinds = [leaf_mid(j) for j, sound in enumerate(classes) if sound.family == family]
        nodes.append(node(family_mid(i), family, kinds))
    return nodes + [node(leaf_mid(i), sound.name, []) for i, sound in enumerate(classes)]


def _write_weak(
    path: pathlib.Path,
    drawn: Sequence[scenes.Scene],
    ratings: Sequence[scenes.Ratings],
    *,
    mids: Sequence[str],
) -> None:
    """Writes the weak labels of a split, with the comments that the release's files begin with."""
    labels = collections.Counter(label for rating in ratings for label in rating.weak)
    lines = [
        "# Segments csv of a synthetic corpus",
        f"# num_ytids={len({scene.ytid for scene in drawn})}, num_segs={len(drawn)}, "
        f"num_unique_labels={len(labels)}, num_positive_labels={labels.total()}",
        "# YTID, start_seconds, end_seconds, positive_labels",
    ]
    rows = []
    for scene, rating in zip(drawn, ratings, strict=True):
        start_ms = 1000 * scene.start_s
        end_ms = start_ms + scene.duration_ms
        clip_mids = [mids[label] for label in rating.weak]
        rows.append(metadata_writing.weak_line(scene.ytid, start_ms, end_ms, clip_mids))
    _write_lines(path, lines + sorted(rows))


def _write_lines(path: pathlib.Path, lines: Sequence[str]) -> None:
    with files.writing(path):
        files.write_text(path, "\n".join(lines) + "\n")
