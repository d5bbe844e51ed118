"""What to convert: the settings of a conversion as one value."""

import dataclasses
import os

from audioset_strong.audio import decoding, features
from audioset_strong.conversion import splitting
from audioset_strong.core import choices, errors
from audioset_strong.labels.metadata_files import MetadataFiles
from audioset_strong.records import clip_records

SHARD_BYTES = 10**9  # about, where no number of shards is given
MAX_SHARDS = 99_999  # their names have five digits
DEFAULT_SAMPLE_RATE = features.DEFAULT_FRONT_END.sample_rate


@dataclasses.dataclass(frozen=True)
class ConversionRequest:
    """What to convert; the fields are the flags of `tools/convert.py`.

    Attributes:
      audio_dirs: folders, archives and glob patterns of the audio files, see `finding.AudioIndex`.
      metadata: the metadata files. Weak and strong files name the clips; framed files and negatives
        are read for the explicit negatives of these clips. The class lists make the vocabulary. The
        ontology is for label smearing: what it implies for the classes goes into the dataset's
        info, the records stay as they are.
      output_dir: the dataset goes to `output_dir/name`; local, or on any file system that
        `tf.io.gfile` knows.
      name: of the dataset.
      select: which clips: those named by "all" (any) of the files, by a "weak" or a "strong" file,
        or by "both" kinds.
      audio_pattern: how the audio files are named, see `finding.AudioIndex`.
      labels_from_archive: take the weak labels from the archives, not from weak CSVs, see
        `archive_labels`.
      num_shards: of the dataset; None for shards of about 1 GB, see `shard_layout`.
      sample_rate: of the records' audio, in Hz.
      encoding: of the audio, see `clip_records.ENCODINGS`.
      front_end: the settings of the log-mel for the encoding "log_mel", None for the default front
        end. The other encodings keep the audio, and training computes its own log-mel.
      decoder: what decodes common formats, see `decoding.load`.
      num_workers: decoding processes; 0 for one per core.
      runner: an Apache Beam runner, such as "DirectRunner", instead of local processes.
      beam_options: flags for that runner.
      validation_share: share of the videos, by a hash of their id, that goes to
        `output_dir/name_validation` instead.
      split_by: what the split keeps together instead of videos, see `splitting.groups`.
      min_seconds: shorter audio is left out as too short.
      clip_timeout_s: decoding of a clip is given up after this time.
      overwrite: replace another conversion of that name.
      command: the command line, to be recorded in the dataset's info.
    """

    audio_dirs: tuple[str, ...]
    metadata: MetadataFiles
    output_dir: str
    name: str
    select: str = choices.ALL
    audio_pattern: str | None = None
    labels_from_archive: bool = False
    num_shards: int | None = None
    sample_rate: int = DEFAULT_SAMPLE_RATE
    encoding: str = clip_records.PCM16
    front_end: features.FrontEnd | None = None
    decoder: str = decoding.LIBSNDFILE
    num_workers: int = 0
    runner: str | None = None
    beam_options: tuple[str, ...] = ()
    validation_share: float = 0.0
    split_by: str | None = None
    min_seconds: float = 0.1
    clip_timeout_s: float = 60.0
    overwrite: bool = False
    command: str = ""

    @property
    def log_mel_front_end(self) -> features.FrontEnd | None:
        """The front end that records of encoding "log_mel" are made with; None for other ones."""
        if self.encoding != clip_records.LOG_MEL:
            return None
        return self.front_end or features.DEFAULT_FRONT_END

    def check(self) -> None:
        """Refuses settings that are impossible whatever the files contain.

        Raises:
          errors.InputError: naming the setting, its value, and what would be right.
        """
        if not self.audio_dirs:
            raise errors.InputError("no --audio given")
        self._check_labels()
        self.metadata.check()
        known_values = {
            "select": choices.SELECTIONS,
            "encoding": clip_records.ENCODINGS,
            "decoder": decoding.DECODERS,
        }
        for field, known in known_values.items():
            value = getattr(self, field)
            if value not in known:
                raise errors.InputError(f"{field} {value!r}: must be one of {', '.join(known)}")
        decoding.check_decoder(self.decoder)
        if not self.name or os.path.basename(self.name) != self.name or self.name[0] == ".":
            raise errors.InputError(f"name {self.name!r}: must be the name of a directory")
        if self.num_shards is not None and not 1 <= self.num_shards <= MAX_SHARDS:
            raise errors.InputError(f"num_shards {self.num_shards}: must lie in [1, {MAX_SHARDS}]")
        if self.num_workers < 0:
            raise errors.InputError(f"num_workers {self.num_workers}: must not be negative")
        if not 0.0 <= self.validation_share < 1.0:
            raise errors.InputError(f"validation_share {self.validation_share}: must lie in [0, 1)")
        if self.split_by is not None:
            if not self.validation_share:
                raise errors.InputError("--split_by: nothing is split without --validation_share")
            splitting.check(self.split_by)
        if self.min_seconds < 0:
            raise errors.InputError(f"min_seconds {self.min_seconds}: must not be negative")
        if not self.clip_timeout_s > 0:
            raise errors.InputError(f"clip_timeout_s {self.clip_timeout_s}: must be positive")
        self._check_sample_rate()

    def _check_labels(self) -> None:
        if self.labels_from_archive and self.metadata.weak_csvs:
            raise errors.InputError(
                "--labels_from_archive takes the place of "
                f"--weak_csv={self.metadata.weak_csvs[0]}: give one of them"
            )
        if self.labels_from_archive and self.audio_pattern is not None:
            raise errors.InputError(
                "--labels_from_archive: with an --audio_pattern, names do not tell which clip a "
                "member is; give a --weak_csv"
            )
        sources = self.metadata.weak_csvs, self.metadata.strong_tsvs, self.labels_from_archive
        if not any(sources):
            raise errors.InputError(
                "no clips named: give --weak_csv or --strong_tsv, or --labels_from_archive"
            )

    def _check_sample_rate(self) -> None:
        rate = self.sample_rate
        if rate % 1000 or not decoding.MIN_RATE <= rate <= decoding.MAX_RATE:
            raise errors.InputError(
                f"sample_rate {rate}: must be a multiple of 1000 Hz in "
                f"[{decoding.MIN_RATE}, {decoding.MAX_RATE}]"
            )
        if self.front_end and self.encoding != clip_records.LOG_MEL:
            raise errors.InputError(
                f"encoding {self.encoding!r} keeps the audio and takes no FrontEnd bindings: give "
                f"them to training, or take --encoding={clip_records.LOG_MEL}"
            )
        front_end = self.log_mel_front_end
        if front_end and front_end.sample_rate != rate:
            raise errors.InputError(
                f"FrontEnd.sample_rate = {front_end.sample_rate}: must be the sample rate of the "
                f"dataset, --sample_rate={rate}"
            )
