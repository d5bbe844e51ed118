"""Makes the embedded synthetic corpus: audio and metadata in the formats of AudioSet's release.

The same flags give the same files. An interrupted run is resumed by the same command.
"""

from absl import flags

from audioset_strong.core import cli

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Directory of the corpus.", required=True)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of everything that is drawn at random.")
_TRAIN_WEAK_CLIPS = flags.DEFINE_integer(
    "train_weak_clips", 2000, "Training clips with weak labels only."
)
_TRAIN_STRONG_CLIPS = flags.DEFINE_integer(
    "train_strong_clips", 600, "Training clips with weak and strong labels."
)
_EVAL_CLIPS = flags.DEFINE_integer(
    "eval_clips", 400, "Evaluation clips; they have all kinds of labels."
)
_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes", 24, "Specific classes, 6 to 24; 6 general ones are added to them."
)
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 0, "Processes; 0 for one per core.")


def main(argv: list[str]) -> None:
    """Makes the corpus."""
    del argv
    from audioset_strong.synthetic import embedded_corpus

    corpus = embedded_corpus.Corpus(
        seed=_SEED.value,
        train_weak_clips=_TRAIN_WEAK_CLIPS.value,
        train_strong_clips=_TRAIN_STRONG_CLIPS.value,
        eval_clips=_EVAL_CLIPS.value,
        num_classes=_NUM_CLASSES.value,
    )
    embedded_corpus.make_corpus(_OUTPUT_DIR.value, corpus, num_workers=_NUM_WORKERS.value)


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
