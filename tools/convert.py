"""Converts audio files and AudioSet metadata to TFRecord shards.

Example, the strongly labelled training clips with both kinds of labels:
  convert.py --audio=audio/train --weak_csv=unbalanced_train_segments.csv \\
    --strong_tsv=audioset_train_strong.tsv --select=strong \\
    --class_labels=class_labels_indices.csv --class_labels=mid_to_display_name.tsv \\
    --output_dir=data --name=train_strong

Writes OUTPUT_DIR/NAME/: shards, dataset_info.json, and manifest.csv with a row for every requested
clip. The same command resumes an interrupted conversion; a finished one is not repeated.
"""

import shlex
import sys
from typing import TYPE_CHECKING

from absl import flags

from audioset_strong.core import choices, cli, workers

if TYPE_CHECKING:
    from audioset_strong.audio.features import FrontEnd

_AUDIO = flags.DEFINE_multi_string(
    "audio",
    [],
    "Folder with audio files and archives, searched with its subfolders; an archive (.parquet, "
    ".tar, .zip; .h5, .hdf5 and .hdf with the extra hdf5); a glob pattern; or any of these that "
    "tf.io.gfile reads (gs://; s3://, az:// and hdfs:// with the extra io). May be repeated.",
)
flags.DEFINE_alias("audio_dir", "audio")  # its name when there were only folders
_LABELS_FROM_ARCHIVE = flags.DEFINE_bool(
    "labels_from_archive",
    False,
    "Take the weak labels from the archives, instead of from a --weak_csv: a column labels of "
    "Parquet, JSON files beside the members of tar and zip, the target of HDF5.",
)
_AUDIO_PATTERN = flags.DEFINE_string(
    "audio_pattern",
    None,
    "How the files are named, if not in one of the usual ways: a format string of ytid, start_ms, "
    "end_ms, start_s and end_s, such as '{ytid:.2}/{ytid}_{start_s:.0f}.wav'.",
)
_METADATA = cli.metadata_flags(
    *cli.METADATA_FLAGS,
    descriptions={
        "framed_tsv": "Framed label TSV, read for its explicit negatives",
        "ontology": "ontology.json: lets training and evaluation propagate labels to ancestors.",
    },
)
_SELECT = flags.DEFINE_enum(
    "select",
    choices.ALL,
    choices.SELECTIONS,
    "Which clips: those named by any of the files, by a weak one, by a strong one, or by both "
    "kinds.",
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "Parent of the dataset: local, or anything that tf.io.gfile writes, as --audio.",
    required=True,
)
_NAME = flags.DEFINE_string("name", None, "Name of the dataset.", required=True)
_NUM_SHARDS = flags.DEFINE_integer(
    "num_shards", None, "Shards to write; by default as many as make about 1 GB each."
)
_SAMPLE_RATE = flags.DEFINE_integer(
    "sample_rate", None, "Sample rate of the records in Hz; 16000 by default."
)
_ENCODING = flags.DEFINE_enum(
    "encoding",
    choices.PCM16,
    choices.ENCODINGS,
    "How the records keep the audio. log_mel keeps the spectrogram of the front end that the "
    "FrontEnd bindings describe, and no audio.",
)
_GIN = cli.gin_flags("FrontEnd.upper_hz = 8000")
_DECODER = flags.DEFINE_enum(
    "decoder",
    choices.LIBSNDFILE,
    choices.DECODERS,
    "tensorflow_io decodes 16-bit wav, ogg and mp3 to the same samples; libsndfile or FFmpeg "
    "decodes everything else. Needs the extra io.",
)
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 0, "Decoding processes; 0 for one per core.")
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
_SPLIT_BY = flags.DEFINE_string(
    "split_by",
    None,
    "What --validation_share keeps on one side, instead of videos: FILE.csv:COLUMN, a table whose "
    "first column holds clip or video ids; or a regular expression that is searched in the path of "
    r"each audio file, such as 'site\d+'.",
)
_MIN_SECONDS = flags.DEFINE_float("min_seconds", 0.1, "Shorter audio is left out.")
_CLIP_TIMEOUT_S = flags.DEFINE_float(
    "clip_timeout_s", 60.0, "Decoding of a clip is given up after this time."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace another conversion of that name.")


def main(argv: list[str]) -> None:
    """Converts, then prints a summary."""
    del argv
    if not _RUNNER.value:  # both take seconds, so they import at the same time
        workers.start_fork_server("audioset_strong.conversion.shard_writing")
    from audioset_strong.conversion import converter, request
    from audioset_strong.labels.metadata_files import MetadataFiles
    from audioset_strong.records import manifest

    rate = request.DEFAULT_SAMPLE_RATE if _SAMPLE_RATE.value is None else _SAMPLE_RATE.value
    infos = converter.convert(
        request.ConversionRequest(
            audio_dirs=tuple(_AUDIO.value),
            metadata=MetadataFiles(**_METADATA()),
            output_dir=_OUTPUT_DIR.value,
            name=_NAME.value,
            select=_SELECT.value,
            audio_pattern=_AUDIO_PATTERN.value,
            labels_from_archive=_LABELS_FROM_ARCHIVE.value,
            num_shards=_NUM_SHARDS.value,
            sample_rate=rate,
            encoding=_ENCODING.value,
            front_end=_front_end(),
            decoder=_DECODER.value,
            num_workers=_NUM_WORKERS.value,
            runner=_RUNNER.value,
            beam_options=tuple(_BEAM_OPTION.value),
            validation_share=_VALIDATION_SHARE.value,
            split_by=_SPLIT_BY.value,
            min_seconds=_MIN_SECONDS.value,
            clip_timeout_s=_CLIP_TIMEOUT_S.value,
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
        statuses = ", ".join(f"{count} {status}" for status, count in info.statuses.items())
        print(f"  {statuses}: see {_OUTPUT_DIR.value}/{info.name}/{manifest.FILE_NAME}")
        for source, count in info.archive_labels.items():
            print(f"  weak labels of {count} clips from archives: {source}")
        if info.files_on_both_sides:
            print(f"  {info.files_on_both_sides} audio files have clips in the other split, too")


def _front_end() -> "FrontEnd | None":
    """The front end that gin files and bindings describe; None without any."""
    gin_files_given, bindings_given = _GIN()
    if not (gin_files_given or bindings_given):
        return None
    from audioset_strong.configuration import bindings, gin_files

    gin_files.parse(gin_files_given, bindings_given)
    return bindings.front_end()


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
