"""Converts audio files and AudioSet metadata to TFRecord shards.

Example, the strongly labelled training clips with both kinds of labels:
  convert.py --audio_dir=audio/train --weak_csv=unbalanced_train_segments.csv \\
    --strong_tsv=audioset_train_strong.tsv --select=strong \\
    --class_labels=class_labels_indices.csv --class_labels=mid_to_display_name.tsv \\
    --output_dir=data --name=train_strong

Writes OUTPUT_DIR/NAME/: shards, dataset_info.json, and manifest.csv with a row for every clip asked
for. An interrupted conversion goes on where it was; a finished one is not done again.
"""

import shlex
import sys

from absl import flags

from audioset_strong.core import cli

_AUDIO_DIR = flags.DEFINE_multi_string(
    "audio_dir",
    [],
    "Directory with audio files, searched with its subfolders, a glob pattern, or what tf.io.gfile "
    "reads (gs://, s3://, ...); may be repeated.",
)
_AUDIO_PATTERN = flags.DEFINE_string(
    "audio_pattern",
    None,
    "How the files are named, where they are not found by themselves: ytid, start_ms, end_ms, "
    "start_s and end_s in a format string such as '{ytid:.2}/{ytid}_{start_s:.0f}.wav'.",
)
_WEAK_CSV = flags.DEFINE_multi_string("weak_csv", [], "Weak label CSV; may be repeated.")
_STRONG_TSV = flags.DEFINE_multi_string("strong_tsv", [], "Strong label TSV; may be repeated.")
_FRAMED_TSV = flags.DEFINE_multi_string(
    "framed_tsv", [], "Framed label TSV, read for its explicit negatives; may be repeated."
)
_NEGATIVES = flags.DEFINE_multi_string(
    "negatives", [], "TSV or CSV of segment id and absent label(s); may be repeated."
)
_CLASS_LABELS = flags.DEFINE_multi_string(
    "class_labels",
    [],
    "List of classes: class_labels_indices.csv, mid_to_display_name.tsv; may be repeated.",
)
_COMBINE_CLASS_LABELS = flags.DEFINE_enum(
    "combine_class_labels",
    "union",
    ["union", "intersection"],
    "The classes: those of any of the lists, or of all. Labels of others are left out and counted.",
)
_ONTOLOGY = flags.DEFINE_string(
    "ontology", None, "ontology.json: lets training and evaluation smear labels to ancestors."
)
_CLIPS = flags.DEFINE_string("clips", None, "File of segment ids: only these are converted.")
_SELECT = flags.DEFINE_enum(
    "select",
    "all",
    ["all", "weak", "strong", "both"],
    "Which clips: named by any of the files, by a weak one, by a strong one, or by both kinds.",
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "Parent of the dataset, local or what tf.io.gfile writes (gs://, s3://, ...).",
    required=True,
)
_NAME = flags.DEFINE_string("name", None, "Name of the dataset.", required=True)
_NUM_SHARDS = flags.DEFINE_integer("num_shards", 16, "Shards to write.")
_ENCODING = flags.DEFINE_enum(
    "encoding",
    "pcm16",
    ["pcm16", "flac", "log_mel"],
    "Of the records' audio; log_mel keeps the spectrogram instead, and windows begin every 10 ms.",
)
_DECODER = flags.DEFINE_enum(
    "decoder",
    "libsndfile",
    ["libsndfile", "tensorflow_io"],
    "tensorflow_io decodes wav of 16 bits, ogg and mp3 to the same samples; all else libsndfile "
    "decodes, or FFmpeg.",
)
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 0, "Decoding processes; 0: one a core.")
_RUNNER = flags.DEFINE_string(
    "runner",
    None,
    "Apache Beam runner, such as DirectRunner or FlinkRunner, instead of local processes (extra "
    "beam); its workers must see audio and output under the same paths.",
)
_BEAM_OPTION = flags.DEFINE_multi_string(
    "beam_option", [], "Flag for that runner, such as --direct_num_workers=4; may be repeated."
)
_VALIDATION_SHARE = flags.DEFINE_float(
    "validation_share", 0.0, "Share of the videos that goes to NAME_validation instead."
)
_MIN_SECONDS = flags.DEFINE_float("min_seconds", 0.1, "Shorter audio is left out.")
_CLIP_TIMEOUT_S = flags.DEFINE_float("clip_timeout_s", 60.0, "Time to decode one clip at most.")
_SKIP_BAD_ROWS = flags.DEFINE_bool(
    "skip_bad_rows", False, "Leave malformed metadata rows out, and list them."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace another conversion of that name.")


def main(argv: list[str]) -> None:
    """Converts, then says what came out."""
    del argv
    from audioset_strong.conversion import converter, plans

    infos = converter.convert(
        plans.Request(
            audio_dirs=tuple(_AUDIO_DIR.value),
            audio_pattern=_AUDIO_PATTERN.value,
            class_labels=tuple(_CLASS_LABELS.value),
            output_dir=_OUTPUT_DIR.value,
            name=_NAME.value,
            weak_csvs=tuple(_WEAK_CSV.value),
            strong_tsvs=tuple(_STRONG_TSV.value),
            framed_tsvs=tuple(_FRAMED_TSV.value),
            negatives=tuple(_NEGATIVES.value),
            combine_class_labels=_COMBINE_CLASS_LABELS.value,
            ontology=_ONTOLOGY.value,
            clip_list=_CLIPS.value,
            select=_SELECT.value,
            num_shards=_NUM_SHARDS.value,
            encoding=_ENCODING.value,
            decoder=_DECODER.value,
            num_workers=_NUM_WORKERS.value,
            runner=_RUNNER.value,
            beam_options=tuple(_BEAM_OPTION.value),
            validation_share=_VALIDATION_SHARE.value,
            min_seconds=_MIN_SECONDS.value,
            clip_timeout_s=_CLIP_TIMEOUT_S.value,
            skip_bad_rows=_SKIP_BAD_ROWS.value,
            overwrite=_OVERWRITE.value,
            command=shlex.join(sys.argv),
        )
    )
    for info in infos:
        print(
            f"{info.name}: {info.num_clips} clips, {info.hours:.2f} hours, {len(info.shards)} "
            f"shards; {info.weak_clips} with weak, {info.strong_clips} with strong labels, "
            f"{info.negative_clips} with explicit negatives"
        )
        told = ", ".join(f"{count} {status}" for status, count in info.statuses.items())
        print(f"  {told}: see {_OUTPUT_DIR.value}/{info.name}/{converter.MANIFEST}")


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
