"""Windows cut out of whole records, read in-graph through TensorFlow's own file systems.

Ten times the bytes of `window_reader`, but a graph can be sent elsewhere: to the workers of a
tf.data service, or to the host of a remote TPU, where no Python of this process runs.
"""

import tensorflow as tf

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import io_extra
from audioset_strong.inputs.indexed_clips import IndexedClips
from audioset_strong.records import clip_records, index_rows, window_cutting

_READS_AT_ONCE = 16


class RecordWindowReader:
    """Reads windows of clips; every record's checksum is compared."""

    def __init__(self, clips: IndexedClips, *, encoding: str, front_end: FrontEnd):
        """Takes the clips, the encoding of their records, and whose patches are read.

        Raises:
          errors.InputError: FLAC records without tensorflow-io.
        """
        if encoding == clip_records.FLAC:
            io_extra.load("train_patches.data_service, with records of encoding 'flac'")
        self._encoding, self._front_end = encoding, front_end
        with tf.device("CPU:0"):
            self._clip_id = clips.tensors["clip_id"]
            self._path = tf.constant([shard.path for shard in clips.shards])
            self._shard = tf.constant(clips.columns["shard"])
            # A reader of TFRecords begins with what stands before a record.
            self._offset = tf.constant(clips.columns["record_offset"] - index_rows.FRAME_BYTES)

    def read(self, rows: tf.Tensor, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads a window of each clip, in-graph; see `WindowReader.read`.

        Raises:
          tf.errors.DataLossError: when run, if a record is damaged.
          tf.errors.InvalidArgumentError: when run, if a shard is not what was indexed.
        """
        paths = tf.gather(self._path, tf.gather(self._shard, rows))
        places = tf.data.Dataset.from_tensor_slices((paths, tf.gather(self._offset, rows)))
        records = places.interleave(
            _record_at, cycle_length=_READS_AT_ONCE, num_parallel_calls=_READS_AT_ONCE
        )
        parsed = clip_records.parse(records.batch(rows.shape[0]).get_single_element())
        same = tf.reduce_all(parsed["clip_id"] == tf.gather(self._clip_id, rows))
        changed = tf.debugging.Assert(same, ["a shard is not what was indexed", paths])
        with tf.control_dependencies([] if changed is None else [changed]):
            return self._cut(parsed, start), tf.ones_like(rows, tf.bool)

    def _cut(self, parsed: dict[str, tf.Tensor], start: tf.Tensor) -> tf.Tensor:
        front_end = self._front_end
        if self._encoding == clip_records.LOG_MEL:
            return window_cutting.cut_log_mel(
                parsed,
                start // front_end.hop_samples,
                stft_frames=front_end.stft_frames_per_patch,
                num_bands=front_end.num_bands,
            )
        return window_cutting.crop(
            parsed,
            start,
            samples=front_end.patch_samples,
            encoding=self._encoding,
            portable=True,
        )


def _record_at(path: tf.Tensor, offset: tf.Tensor) -> tf.data.Dataset:
    """The one record that begins at an offset of a shard."""
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=path[tf.newaxis],
        compression_type="",
        buffer_size=0,
        byte_offsets=offset[tf.newaxis],
    )
    return tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string)).take(1)
