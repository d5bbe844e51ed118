"""What train_patches is compared with: bare reading, bare features, and pipelines of other kinds.

Each function makes an iterator over the sizes of its batches from a dataset's folder and a batch
size.
"""

import pathlib
from collections.abc import Callable, Iterator

import numpy as np

from tools.benchmarks import made_up_clips

_WINDOW, _HOP, _FFT, _BANDS, _PATCH, _FRAME = 400, 160, 512, 64, 15_600, 15_360


def patches_of(dataset) -> Iterator[int]:
    """The sizes of a dataset's batches."""
    for batch in dataset:
        values = batch.values() if isinstance(batch, dict) else [batch]
        yield int(next(iter(values)).shape[0])


def _paths(root: str) -> list[str]:
    return sorted(map(str, (pathlib.Path(root) / "pcm16").glob("*.tfrecord")))


def _records(root: str, *, direct: bool = False):
    import tensorflow as tf

    from audioset_strong.records import shard_reading

    paths = _paths(root)
    return tf.data.Dataset.from_tensor_slices(paths).interleave(
        shard_reading.record_reader(paths) if direct else tf.data.TFRecordDataset,
        cycle_length=8,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def read(*, direct: bool) -> Callable[[str, int], Iterator[int]]:
    """Bare reading of TFRecords, past the reader's buffer or through it."""

    def run(root: str, batch_size: int) -> Iterator[int]:
        import tensorflow as tf

        batches = _records(root, direct=direct).repeat().batch(batch_size)
        return patches_of(batches.prefetch(tf.data.AUTOTUNE))

    return run


def log_mel(root: str, batch_size: int) -> Iterator[int]:
    """Bare log-mel of patches in memory."""
    import tensorflow as tf

    from audioset_strong.audio import features

    del root
    waveform = tf.random.uniform([batch_size, _PATCH], -1, 1)
    batches = tf.data.Dataset.from_tensors(waveform).repeat()
    batches = batches.map(features.log_mel, num_parallel_calls=tf.data.AUTOTUNE)
    return patches_of(batches.prefetch(tf.data.AUTOTUNE))


def sequential(*, with_log_mel: bool) -> Callable[[str, int], Iterator[int]]:
    """A pipeline that reads records in order, as train_patches did before there was an index."""

    def run(root: str, batch_size: int) -> Iterator[int]:
        import tensorflow as tf

        from audioset_strong.audio import features, pcm
        from audioset_strong.labels import framing
        from audioset_strong.records import clip_records, window_cutting

        def windows(serialized):
            parsed = clip_records.parse(serialized)
            last = parsed["num_samples"] - _PATCH
            start = tf.random.uniform(tf.shape(last), 0, 2**31, tf.int64) % (last + 1)
            frames = framing.frame_labels(
                parsed["segment_start_ms"].to_tensor(-1) * 16,
                parsed["segment_end_ms"].to_tensor(-1) * 16,
                parsed["segment_label"].to_tensor(-1),
                frame_start=start[:, tf.newaxis],
                frame_length=_FRAME,
                num_classes=made_up_clips.CLASSES,
            )
            cut = window_cutting.cut(parsed, start, samples=_PATCH)
            return {"clip_id": parsed["clip_id"], "pcm": cut, "labels": frames[:, 0]}

        def finish(batch):
            samples = window_cutting.decode(batch["pcm"], _PATCH)
            made = {"labels": tf.cast(batch["labels"], tf.float32), "pcm": samples}
            if with_log_mel:
                made["log_mel"] = features.log_mel(pcm.tensor_to_float(made.pop("pcm")))
            return made

        parallel = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}
        data = _records(root, direct=True).repeat().batch(16).map(windows, **parallel).unbatch()
        data = data.shuffle(4096).batch(batch_size).map(finish, **parallel)
        options = tf.data.Options()
        options.threading.max_intra_op_parallelism = 1
        return patches_of(data.prefetch(tf.data.AUTOTUNE).with_options(options))

    return run


def whole_clip(root: str, batch_size: int) -> Iterator[int]:
    """Log-mel of whole clips, then a random crop."""
    import tensorflow as tf

    from audioset_strong.audio import features

    def patch(record):
        audio = tf.io.parse_single_example(record, {"audio": tf.io.FixedLenFeature([], tf.string)})
        pcm = tf.io.decode_raw(audio["audio"], tf.int16)
        log_mel = features.log_mel(tf.cast(pcm, tf.float32) / 32768)
        return tf.image.random_crop(log_mel, [96, _BANDS])

    patches = _records(root).repeat().map(patch, num_parallel_calls=tf.data.AUTOTUNE)
    return patches_of(patches.shuffle(1024).batch(batch_size).prefetch(tf.data.AUTOTUNE))


def _waveforms(batch_size: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (batch_size, _PATCH)).astype(np.float32)


def numpy_for_each(root: str, batch_size: int) -> Iterator[int]:
    """A front end in NumPy for each patch, without reading."""
    import tensorflow as tf

    del root
    mel = tf.signal.linear_to_mel_weight_matrix(_BANDS, _FFT // 2 + 1, 16_000, 125.0, 7500.0)
    mel = mel.numpy()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    waveforms = _waveforms(batch_size)
    while True:
        for waveform in waveforms:
            framed = np.lib.stride_tricks.sliding_window_view(waveform, _WINDOW)[::_HOP]
            spectrum = np.abs(np.fft.rfft(framed * window, _FFT))
            np.log(spectrum @ mel + 0.01)
        yield batch_size


def librosa_for_each(root: str, batch_size: int) -> Iterator[int]:
    """librosa's mel spectrogram for each patch, without reading."""
    import librosa

    del root
    waveforms = _waveforms(batch_size)
    while True:
        for waveform in waveforms:
            mel = librosa.feature.melspectrogram(
                y=waveform,
                sr=16_000,
                n_fft=_FFT,
                win_length=_WINDOW,
                hop_length=_HOP,
                center=False,
                power=1.0,
                n_mels=_BANDS,
                fmin=125.0,
                fmax=7500.0,
                htk=True,
                norm=None,
            )
            np.log(mel + 0.01)
        yield batch_size
