"""An annotator of the embedded corpus: its generator, which knows what sounds when."""

import os
import pathlib
from collections.abc import Collection

from audioset_strong.core import errors, files
from audioset_strong.synthetic import embedded_corpus, scenes, sounds


def mark_sounds(corpus_dir: str, clip_ids: Collection[str], output_dir: str) -> list[str]:
    """Marks all sounds of training clips, as the corpus's own strong labels mark them.

    Args:
      corpus_dir: a corpus that `embedded_corpus.make_corpus` has finished.
      clip_ids: the clips.
      output_dir: gets a label track of Audacity, CLIP_ID.txt, for each clip.

    Returns:
      The paths of the tracks, sorted.

    Raises:
      errors.InputError: no finished corpus, or a clip that is not among its training clips; then
        nothing is written.
    """
    corpus = embedded_corpus.read_settings(corpus_dir)
    wanted = set(clip_ids)
    tracks = {
        scene.clip_id: "".join(
            f"{start / 1000:.3f}\t{end / 1000:.3f}\t{sounds.CLASSES[label].name}\n"
            for start, end, label in ratings.segments
        )
        for scene, ratings in embedded_corpus.rated_scenes(corpus, scenes.TRAIN)
        if scene.clip_id in wanted
    }
    missing = wanted - tracks.keys()
    if missing:
        raise errors.InputError(f"{corpus_dir}: has no training clip {min(missing)}")
    with files.writing(output_dir):
        files.make_directory(output_dir)
        for clip_id, track in tracks.items():
            files.write_text(pathlib.Path(output_dir) / f"{clip_id}.txt", track)
    return sorted(os.path.join(output_dir, f"{clip_id}.txt") for clip_id in tracks)
