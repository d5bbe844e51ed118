"""Draws what each augmentation does to patches of a dataset.

Example:
  plot_augmentation.py --data_dir=data/train_strong --output=augmentation.png \\
      --gin_param='Augmentation.gain_db = 12' --gin_param='Augmentation.mixup_alpha = 0.5' \\
      --gin_param='Augmentation.time_masks = 2' --gin_param='Augmentation.frequency_masks = 2'

A column is a clip; the first row shows it as it is, each other one a single augmentation.
"""

from absl import flags

from audioset_strong.core import cli

_DATA_DIR = flags.DEFINE_string("data_dir", None, "A converted dataset.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "PNG to write.", required=True)
_SEED = flags.DEFINE_integer("seed", 0, "Of what is drawn.", lower_bound=0)
_GIN_FILE = flags.DEFINE_multi_string("gin_file", [], "Gin file; may be repeated.")
_GIN_PARAM = flags.DEFINE_multi_string(
    "gin_param", [], "Gin binding, e.g. 'Augmentation.time_masks = 2'; may be repeated."
)


def main(argv: list[str]) -> None:
    """Reads the first clips of the dataset and draws them."""
    del argv
    import itertools
    import pathlib

    from audioset_strong.analysis import augmentation_figure
    from audioset_strong.configuration import gin_files
    from audioset_strong.core import drawing
    from audioset_strong.inputs import augmentation
    from audioset_strong.records import clip_records, dataset_info

    gin_files.parse(_GIN_FILE.value, _GIN_PARAM.value)
    augment = augmentation.Augmentation()
    info = dataset_info.DatasetInfo.load(_DATA_DIR.value)
    clips = itertools.chain.from_iterable(
        clip_records.read_clips(path, info.encoding) for path in info.shard_paths(_DATA_DIR.value)
    )
    first = list(itertools.islice(clips, 4))
    figure = augmentation_figure.draw(first, augment, _SEED.value)
    drawing.save(figure, pathlib.Path(_OUTPUT.value))
    print(f"wrote {_OUTPUT.value}")


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
