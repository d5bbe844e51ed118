"""Windows of clips read by offset, a batch at a time: their own bytes and no more.

(Of FLAC records all of a clip's audio, of which a part is decoded.)

A window is read without the checksum of its record, which covers all of it. What guards it instead:
`clip_index.open_index` compares the shards with their index, every read checks that the shard has
not changed since, and `checksums` compares all of a clip's audio when the first of its windows is
read.
"""

import threading
import zlib

import numpy as np
import tensorflow as tf
from absl import logging

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import errors
from audioset_strong.inputs import damage
from audioset_strong.inputs.indexed_clips import IndexedClips
from audioset_strong.records import clip_records, flac
from audioset_strong.records.shard_files import ShardFiles


class WindowReader:
    """Reads windows of clips, from any thread."""

    def __init__(
        self,
        clips: IndexedClips,
        files: ShardFiles,
        *,
        encoding: str,
        front_end: FrontEnd,
        checksums: bool = False,
        skip_damaged: bool = False,
    ):
        """Takes the clips.

        Args:
          clips: of the datasets.
          files: their shards, in the order of `clips.shards`.
          encoding: of the records.
          front_end: whose patches are read.
          checksums: whether all of a clip's audio is read with its first window, and compared.
          skip_damaged: whether damaged clips are logged instead of being an error. With `checksums`
            no damage goes unnoticed.
        """
        self._clips, self._files = clips, files
        self._encoding, self._front_end = encoding, front_end
        self._checksums, self._skip = checksums, skip_damaged
        self._shard = clips.columns["shard"]
        self._offset, self._bytes = clips.columns["audio_offset"], clips.columns["audio_bytes"]
        self._crc32, self._num_samples = clips.columns["audio_crc32"], clips.columns["num_samples"]
        self._checked = np.zeros(len(self._shard), bool)
        self._damaged: set[int] = set()
        self._lock = threading.Lock()

    def read(self, rows: tf.Tensor, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads a window of each clip, in-graph.

        Args:
          rows: int64 `[batch]`, clips.
          start: int64 `[batch]`, first sample of each window; of log-mel, a multiple of the hop.

        Returns:
          int16 `[batch, width]`, the samples of a patch, or the bits of its float16 log-mel values,
          with zeros behind the clip's end; bool `[batch]`, false for clips that are damaged.
        """
        windows, sound = tf.numpy_function(
            self._read, [rows, start], [tf.int16, tf.bool], stateful=False
        )
        windows.set_shape([*rows.shape, self._width])
        sound.set_shape(rows.shape)
        return windows, sound

    @property
    def _width(self) -> int:
        if self._encoding == clip_records.LOG_MEL:
            return self._front_end.stft_frames_per_patch * self._front_end.num_bands
        return self._front_end.patch_samples

    def _read(self, rows: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        try:
            return self._windows(rows, start)
        except errors.InputError as error:
            damage.leave(error)
            raise

    def _windows(self, rows: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        windows = np.empty([len(rows), self._width], np.int16)
        whole = np.full(len(rows), self._encoding == clip_records.FLAC)
        if self._checksums:
            whole |= ~self._checked[rows]
        begin = self._first_byte(start)
        size = np.minimum(self._bytes[rows] - begin, 2 * self._width)
        flat, stride = windows.reshape(-1).view(np.uint8).data, 2 * self._width
        buffers = [
            memoryview(bytearray(self._bytes[rows[i]]))
            if whole[i]
            else flat[i * stride : i * stride + size[i]]
            for i in range(len(rows))
        ]
        offset = self._offset[rows] + np.where(whole, 0, begin)
        found = self._files.read(self._shard[rows], offset, buffers)
        for i in np.flatnonzero(size < stride).tolist():
            windows[i, size[i] // 2 :] = 0
        reasons = {
            i: f"ends after {found[i]:,} of {len(buffers[i]):,} bytes"
            for i in np.flatnonzero(found < list(map(len, buffers))).tolist()
        }
        for i in np.flatnonzero(whole).tolist():
            if i not in reasons:
                reason = self._cut(int(rows[i]), int(start[i]), buffers[i], into=windows[i])
                if reason:
                    reasons[i] = reason
        for i, reason in reasons.items():
            self._report(int(rows[i]), reason)
            windows[i] = 0
        sound = np.ones(len(rows), bool)
        sound[list(reasons)] = False
        return windows, sound

    def _first_byte(self, start: np.ndarray) -> np.ndarray:
        """Where in its clip's audio each window begins."""
        if self._encoding == clip_records.LOG_MEL:
            return start // self._front_end.hop_samples * 2 * self._front_end.num_bands
        return 2 * start

    def _cut(self, row: int, start: int, audio: memoryview, *, into: np.ndarray) -> str | None:
        """Cuts a window out of all of a clip's audio; returns what is wrong with the audio."""
        if self._checksums and not self._checked[row]:
            if zlib.crc32(audio) != self._crc32[row]:
                return "is not what was indexed (its checksum differs)"
            self._checked[row] = True
        wanted = len(into)
        if self._encoding == clip_records.FLAC:
            wanted = min(wanted, int(self._num_samples[row]) - start)
            try:
                window = flac.decode(bytes(audio), start, wanted)
            except ValueError as error:
                return f"is damaged: {errors.first_line(error)}"
            if len(window) < wanted:
                return f"can be decoded to sample {start + len(window):,} only"
        else:
            begin = int(self._first_byte(np.array(start)))
            window = np.frombuffer(audio, np.int16)[begin // 2 :][:wanted]
        into[: len(window)] = window
        into[len(window) :] = 0
        return None

    def _report(self, row: int, reason: str) -> None:
        """Tells of a damaged clip: as a warning where such are skipped, once for each.

        Raises:
          errors.InputError: they are not.
        """
        path = self._clips.shards[self._shard[row]].path
        text = f"{path}: the audio of {self._clips.clip_id(row)} {reason}"
        if not self._skip:
            raise errors.InputError(
                f"{text}; convert the dataset again, or bind "
                "train_patches.skip_corrupt_records = True"
            )
        with self._lock:
            new = row not in self._damaged
            self._damaged.add(row)
        if new:
            logging.warning("%s; skipped (damaged clips so far: %d)", text, len(self._damaged))
