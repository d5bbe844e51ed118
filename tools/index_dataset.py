"""Makes the index of a dataset: where in its shards each clip lies, to read windows by offset.

convert.py writes it, and a dataset of an older version gets one when it is first used. This does it
beforehand, or makes anew an index that does not fit its shards. It reads all of the dataset once.

Example:
  index_dataset.py --dataset=data/train --dataset=data/eval
"""

from absl import flags

from audioset_strong.core import cli

_DATASET = flags.DEFINE_multi_string(
    "dataset", None, "Directory of a dataset; may be repeated.", required=True
)


def main(argv: list[str]) -> None:
    """Writes the index of each dataset."""
    del argv
    import os

    from audioset_strong.core import files
    from audioset_strong.records import clip_index, dataset_info

    infos = {path: dataset_info.DatasetInfo.load(path) for path in _DATASET.value}
    for directory, info in infos.items():
        path = os.path.join(directory, clip_index.FILE_NAME)
        tables = clip_index.build(directory, info)
        with files.writing(path):
            clip_index.write(directory, info, tables)
            size, _ = files.size_and_time(path)
        print(f"{path}: {info.num_clips} clips, {size / max(info.num_clips, 1):.0f} bytes each")


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
