"""Shows the clips of a dataset, counts its labels, verifies its shards, exports clips to WAV.

Examples:
  inspect_records.py --dataset=data/eval                          # a summary and the first clips
  inspect_records.py --dataset=data/eval --clip=R9_ZSCveAHg_0 --export_dir=wavs
  inspect_records.py --dataset=data/eval --counts                 # clips and segments of each class
  inspect_records.py --dataset=data/eval --verify                 # exit code 1 if it is damaged
"""

import sys

from absl import flags

from audioset_strong.core import cli

_DATASET = cli.dataset_flag()
_CLIP = flags.DEFINE_multi_string("clip", [], "Id of a clip to show; may be repeated.")
_FIRST = flags.DEFINE_integer("first", 3, "Clips to show if none is named.", lower_bound=0)
_EXPORT_DIR = flags.DEFINE_string("export_dir", None, "Write the shown clips there as WAV files.")
_COUNTS = flags.DEFINE_bool("counts", False, "Print a table of the labels of each class, as TSV.")
_VERIFY = flags.DEFINE_bool("verify", False, "Read every record and print what is wrong.")


def main(argv: list[str]) -> None:
    """Prints the counts, the problems, or some clips of a dataset."""
    del argv
    from audioset_strong.records import dataset_info, inspection

    info = dataset_info.DatasetInfo.load(_DATASET.value)
    if _COUNTS.value:
        print("mid\tdisplay_name\tweak_clips\tstrong_clips\tsegments\tnegative_clips")
        counts = (info.weak_counts, info.strong_counts, info.segment_counts, info.negative_counts)
        for row in zip(info.vocabulary.mids, info.vocabulary.names, *counts, strict=True):
            print(*row, sep="\t")
        return
    if _VERIFY.value:
        problems = inspection.verify(_DATASET.value, info)
        print(*problems, sep="\n", end="\n" * bool(problems))
        print(f"{info.name}: {len(problems)} problems in {len(info.shards)} shards")
        sys.exit(1 if problems else 0)
    print(
        f"{info.name} ({info.split}): {info.num_clips} clips, {info.hours:.2f} hours, "
        f"{len(info.shards)} shards of {info.encoding}, {len(info.vocabulary)} classes; "
        f"{info.weak_clips} with weak, {info.strong_clips} with strong labels, "
        f"{info.negative_clips} with explicit negatives"
    )
    if _CLIP.value:
        shown = inspection.find_clips(_DATASET.value, info, _CLIP.value)
    else:
        shown = inspection.first_clips(_DATASET.value, info, _FIRST.value)
    for clip in shown:
        print(inspection.describe_clip(clip, info.vocabulary))
        if _EXPORT_DIR.value:
            print(f"  -> {inspection.export_wav(clip, _EXPORT_DIR.value)}")


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
