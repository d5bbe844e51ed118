"""Draws what each augmentation does to patches of a dataset.

Example:
  plot_augmentation.py --dataset=data/train_strong --output=augmentation.png \\
      --gin_param='Augmentation.gain_db = 12' --gin_param='Augmentation.mixup_alpha = 0.5' \\
      --gin_param='Augmentation.time_masks = 2' --gin_param='Augmentation.frequency_masks = 2'

Each column is a clip. The first row shows it unchanged, each other row a single augmentation.
"""

from absl import flags

from audioset_strong.core import cli

_DATASET = cli.dataset_flag()
_OUTPUT = flags.DEFINE_string("output", None, "PNG to write.", required=True)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of everything drawn at random.", lower_bound=0)
_GIN = cli.gin_flags("Augmentation.time_masks = 2")


def main(argv: list[str]) -> None:
    """Reads the first clips of the dataset and draws them."""
    del argv
    import itertools
    import pathlib

    from audioset_strong.analysis import augmentation_figure
    from audioset_strong.configuration import bindings, gin_files, training_bindings
    from audioset_strong.core import drawing
    from audioset_strong.records import dataset_info, inspection

    gin_files.parse(*_GIN())
    info = dataset_info.DatasetInfo.load(_DATASET.value)
    figure = augmentation_figure.draw(
        list(itertools.islice(inspection.clips(_DATASET.value, info), 4)),
        training_bindings.augmentation(),
        front_end=bindings.front_end(),
        seed=_SEED.value,
    )
    drawing.save(figure, pathlib.Path(_OUTPUT.value))
    print(f"wrote {_OUTPUT.value}")


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
