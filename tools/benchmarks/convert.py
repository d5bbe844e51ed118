"""Measures conversion: clips/s of each format on one core and on two, beside the bare cost.

Also measures the rate from archives beside that from the same loose files, the memory of archives
of several sizes, the cost of each encoding, the memory of conversions of several sizes, and the
index of audio files.

Example:
  python -m tools.benchmarks.convert --clips=300 --index_files=2000000

"Bare" is a loop in one process of what cannot be left out: soundfile (PyAV for m4a), the mean of
the channels (added up, because mean(axis=1) takes longer than everything else), soxr, and a
TFRecordWriter. The converter adds worker processes, checks, records and stamps; for wav it is
faster than bare because libsndfile reads 16 bits as integers for it. Each measurement runs in a
process of its own, bound to one core or two; clocks start when the first clips are converted, so
that the start of the workers does not count. The files are generated in a temporary directory. The
ratios hold on other machines, the rates do not.
"""

import concurrent.futures
import multiprocessing
import os
import pathlib
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from absl import flags

from audioset_strong.core import cli
from tools.benchmarks import packing

_CLIPS = flags.DEFINE_integer("clips", 300, "Clips of each format.", lower_bound=100)
_FORMATS = flags.DEFINE_list("formats", ["wav", "flac", "mp3", "m4a"], "Formats to measure.")
_MEMORY_CLIPS = flags.DEFINE_list(
    "memory_clips", ["1000", "10000"], "Numbers of clips for which to measure peak memory."
)
_ARCHIVE_FORMATS = flags.DEFINE_list(
    "archive_formats", ["wav", "flac"], "Formats to measure in archives; empty to skip this."
)
_ARCHIVE_KINDS = flags.DEFINE_list(
    "archive_kinds", ["parquet", "tar", "zip", "h5"], "Kinds of archives to measure."
)
_ARCHIVE_GB = flags.DEFINE_list(
    "archive_gb", ["0.25", "1"], "Sizes of tar and Parquet files for which to measure peak memory."
)
_INDEX_FILES = flags.DEFINE_integer("index_files", 200_000, "File names to index; 0 to skip this.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Runs of each measurement; the fastest is printed.")

_SECONDS = 10
_SUBTYPES = {".mp3": "MPEG_LAYER_III", ".ogg": "VORBIS"}  # of formats that do not hold 16 bits
_SAMPLED = 100  # clips of a large archive, to measure memory
_DISTINCT = 10  # files of each format; the others are links to them, or copies


def _write_audio(
    directory: str, suffix: str, clips: int, seconds: float, *, copies: bool = False
) -> None:
    """Writes noise and tones at 44.1 kHz in stereo, with names of clips."""
    import av
    import soundfile

    rate = 44_100
    rng = np.random.default_rng(0)
    time_s = np.arange(round(seconds * rate)) / rate
    folder = pathlib.Path(directory)
    folder.mkdir()
    for i in range(clips):
        path = folder / f"video{i:06d}_0{suffix}"
        if i >= _DISTINCT:
            original = folder / f"video{i % _DISTINCT:06d}_0{suffix}"
            if copies:
                shutil.copyfile(original, path)
            else:
                path.symlink_to(original)
            continue
        tones = sum(np.sin(2 * np.pi * f * time_s) for f in rng.uniform(100, 8000, 5))
        stereo = 0.05 * np.stack([tones, tones]) + 0.02 * rng.standard_normal((2, len(time_s)))
        if suffix != ".m4a":
            soundfile.write(path, stereo.T, rate, subtype=_SUBTYPES.get(suffix, "PCM_16"))
            continue
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=rate, layout="stereo")
            frame = av.AudioFrame.from_ndarray(stereo.astype(np.float32), "fltp", "stereo")
            frame.sample_rate = rate
            for given in (frame, None):
                container.mux(stream.encode(given))


def _bare(directory: str, clips: int, cores: int) -> tuple[float, float]:
    """(clips per second, CPU seconds per clip)."""
    import av
    import soundfile
    import soxr
    import tensorflow as tf

    del cores
    paths = sorted(map(str, pathlib.Path(directory).iterdir()))[:clips]
    with tf.io.TFRecordWriter(f"{directory}.tfrecord") as writer:
        begin, cpu = time.perf_counter(), time.process_time()
        for path in paths:
            if path.endswith(".m4a"):
                with av.open(path) as container:
                    rate = container.streams.audio[0].rate
                    frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
                samples = np.concatenate(frames, 1).T
            else:
                samples, rate = soundfile.read(path, dtype="float32")
            mono = soxr.resample((samples[:, 0] + samples[:, 1]) / 2, rate, 16_000)
            writer.write((mono * 32767).astype(np.int16).tobytes())
        return clips / (time.perf_counter() - begin), (time.process_time() - cpu) / clips


def _converter(place: str, clips: int, cores: int) -> tuple[float, float]:
    """(clips per second, CPU seconds of all processes per clip) from a folder or an archive."""
    rate, cpu, _, _ = _converted(place, clips, cores)
    return rate, cpu


def _archive_memory(place: str, clips: int, cores: int) -> tuple[float, float]:
    """Peak MB of the parent and of a worker, for some clips from all over an archive."""
    _, _, parent, worker = _converted(place, clips, cores, every=max(clips // _SAMPLED, 1))
    return parent, worker


def _converted(
    place: str, clips: int, cores: int, *, every: int = 1
) -> tuple[float, float, float, float]:
    """(clips/s, CPU seconds of all processes per clip, peak MB of the parent and of a worker)."""
    from audioset_strong.audio import decoding, finding
    from audioset_strong.conversion import plans, shard_writing, work_directory
    from audioset_strong.conversion.request import ConversionRequest
    from audioset_strong.labels.metadata_files import MetadataFiles

    request = ConversionRequest(audio_dirs=(), metadata=MetadataFiles(), output_dir="", name="")
    index = finding.AudioIndex([place])
    planned = [
        plans.PlannedClip(
            clip_id=f"video{i:06d}_0",
            start_ms=0,
            end_ms=10_000,
            weak_labels=(1,),
            segments=None,
            negatives=None,
            file=(index.find(f"video{i:06d}", 0, 10_000) or ("", True))[0],
            contents=decoding.CLIP,
        )
        for i in range(0, clips, every)
    ]
    clock = []
    peak_kb = 0

    def cpu_seconds() -> float:
        spent = resource.getrusage(resource.RUSAGE_SELF)
        ended = spent.ru_utime + spent.ru_stime
        for child in multiprocessing.active_children():
            fields = pathlib.Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
            ended += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return ended

    def peak() -> int:
        texts = [
            pathlib.Path(f"/proc/{child.pid}/status").read_text()
            for child in multiprocessing.active_children()
        ]
        return max(int(text.partition("VmHWM:")[2].split()[0]) for text in texts if "VmHWM" in text)

    def timed(pieces: Iterator[shard_writing.Piece]) -> Iterator[shard_writing.Piece]:
        nonlocal peak_kb
        done = 0
        for piece in pieces:
            done += len(piece.clips)
            clock.append((time.perf_counter(), cpu_seconds(), done))
            peak_kb = max(peak_kb, peak())
            yield piece

    folder = pathlib.Path(place).parent
    os.makedirs(work_directory.of(str(folder)), exist_ok=True)
    work_directory.begin(str(folder), "benchmark")
    scratch = work_directory.scratch(str(folder), "benchmark")
    shard = f"{place}.shard"
    chunks = shard_writing.chunks(shard, planned)
    pieces = shard_writing.convert_chunks(chunks, request, num_workers=cores, scratch=scratch)
    shard_writing.write_shard(
        shard,
        timed(pieces),
        fingerprint="benchmark",
        num_classes=527,
        sample_rate=request.sample_rate,
    )
    # From the time when each worker has done its first piece to the end of the last piece.
    (begin, cpu_begin, before), (end, cpu_end, done) = clock[cores - 1], clock[-1]
    rate, cpu = (done - before) / (end - begin), (cpu_end - cpu_begin) / (done - before)
    own_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return rate, cpu, own_kb / 1024, peak_kb / 1024


def _encoding(directory: str, clips: int, cores: int) -> list[tuple[str, float, float, float]]:
    """(encoding, kB per clip, CPU ms to write a clip, CPU ms to read a log-mel window) of each."""
    import tensorflow as tf

    from audioset_strong.audio import decoding, features, pcm
    from audioset_strong.records import clip_records, window_cutting

    front_end = features.DEFAULT_FRONT_END
    del cores
    paths = sorted(map(str, pathlib.Path(directory).iterdir()))[:clips]
    made = [
        clip_records.Clip(f"clip{i}_0", pcm.from_float(decoding.load(path)), front_end.sample_rate)
        for i, path in enumerate(paths)
    ]
    measured = []
    for encoding in clip_records.ENCODINGS:

        @tf.function
        def read(records: tf.Tensor, encoding: str = encoding) -> tf.Tensor:
            parsed = clip_records.parse(records)
            stft_frame = tf.fill([clips], tf.constant(400, tf.int64))
            if encoding == clip_records.LOG_MEL:
                return window_cutting.crop_log_mel(
                    parsed, stft_frame, stft_frames=front_end.stft_frames_per_patch
                )
            start = stft_frame * front_end.hop_samples
            window = window_cutting.crop(
                parsed, start, samples=front_end.patch_samples, encoding=encoding
            )
            return features.log_mel(pcm.tensor_to_float(window))

        clip_records.serialize(made[0], encoding)  # TensorFlow's first call takes longer
        begin = time.process_time()
        records = [clip_records.serialize(clip, encoding) for clip in made]
        written = time.process_time()
        read(tf.constant(records))
        warm = time.process_time()
        read(tf.constant(records))
        ended = time.process_time()
        size = sum(map(len, records)) / clips
        measured.append(
            (
                encoding,
                size / 1000,
                (written - begin) / clips * 1000,
                (ended - warm) / clips * 1000,
            )
        )
    return measured


def _memory(directory: str, clips: int, cores: int) -> float:
    """Peak MB of the process that plans and writes; a worker only holds a few clips."""
    from audioset_strong.conversion import converter
    from audioset_strong.conversion.request import ConversionRequest
    from audioset_strong.labels.metadata_files import MetadataFiles

    folder = pathlib.Path(directory)
    classes = folder.parent / "classes.csv"
    classes.write_text('index,mid,display_name\n0,/m/0a,"A"\n')
    weak = folder.parent / f"weak{clips}.csv"
    with open(weak, "w") as file:
        file.writelines(f'video{i:06d}, 0.000, 10.000, "/m/0a"\n' for i in range(clips))
    converter.convert(
        ConversionRequest(
            audio_dirs=(directory,),
            metadata=MetadataFiles(weak_csvs=(str(weak),), class_labels=(str(classes),)),
            output_dir=str(folder.parent),
            name=f"memory{clips}",
            num_shards=max(clips // 100, 1),
            num_workers=cores,
        )
    )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _index(directory: str, files: int, cores: int) -> tuple[float, float, float]:
    """(seconds to list the names, seconds to find every clip, MB of the index)."""
    from audioset_strong.audio import finding

    def resident_mb() -> float:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    del cores
    before, begin = resident_mb(), time.perf_counter()
    index = finding.AudioIndex([directory])
    listed, memory = time.perf_counter(), resident_mb() - before
    found = sum(index.find(f"video{i:06d}", 30_000, 40_000) is not None for i in range(files))
    if found != files:
        raise AssertionError(f"{found} of {files} files found")
    return listed - begin, time.perf_counter() - listed, memory


def _write_names(directory: str, files: int) -> None:
    """Makes empty files in 256 subfolders, as in layouts by hash."""
    folders = [pathlib.Path(directory) / f"{i:02x}" for i in range(256)]
    for folder in folders:
        folder.mkdir(parents=True)
    for i in range(files):
        os.mknod(folders[i % 256] / f"video{i:06d}_30000_40000.flac")


def _print_archives(root: str, measure: Callable[..., Any]) -> None:
    """Prints the rates from archives, and the memory of archives of several sizes."""
    clips = _CLIPS.value
    print("\nformat   where    cores   clips/s  of loose  CPU ms a clip")
    for name in _ARCHIVE_FORMATS.value:
        directory = os.path.join(root, f"packed_{name}")
        _write_audio(directory, f".{name}", clips, _SECONDS, copies=True)
        packed = [packing.pack(directory, kind, clips) for kind in _ARCHIVE_KINDS.value]
        for cores in (1, 2):
            best = dict.fromkeys([directory, *packed], (0.0, 0.0))
            for _ in range(_REPEATS.value):
                for place in best:
                    best[place] = max(best[place], measure(_converter, place, clips, cores))
            for place, (rate, cpu) in best.items():
                where = os.path.splitext(place)[1][1:] or "loose"
                print(
                    f"{name:<8} {where:<8} {cores:>5} {rate:>9.1f} "
                    f"{rate / best[directory][0]:>9.2f} {cpu * 1000:>14.2f}"
                )
        for place in packed:
            os.remove(place)
        shutil.rmtree(directory)
    directory = os.path.join(root, "large")
    _write_audio(directory, ".flac", _DISTINCT, _SECONDS)
    size = sum(path.stat().st_size for path in pathlib.Path(directory).iterdir()) / _DISTINCT
    print("\narchive      GB   peak MB of the parent, of a worker")
    for kind in ("tar", "parquet"):
        for gigabytes in map(float, _ARCHIVE_GB.value):
            count = round(gigabytes * 1e9 / size)
            place = packing.pack(directory, kind, count)
            parent, worker = measure(_archive_memory, place, count, 1)
            print(f"{kind:<8} {gigabytes:>6g} {parent:>12.0f} {worker:>12.0f}")
            os.remove(place)


def _bound(function: Callable, directory: str, clips: int, cores: int) -> Any:
    """Calls a measurement in a process that is bound to this many cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    return function(directory, clips, cores)


def main(argv: list[str]) -> None:
    """Makes the files, converts them, prints the tables."""
    del argv
    context = multiprocessing.get_context("spawn")

    def measure(function: Callable, *arguments: object) -> Any:
        # Workers of a multiprocessing.Pool are daemonic: they could not start the converter's own.
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(_bound, function, *arguments).result()

    clips = _CLIPS.value
    with tempfile.TemporaryDirectory() as root:
        print("format   what         cores   clips/s   of bare   CPU ms a clip")
        for name in _FORMATS.value:
            directory = os.path.join(root, name)
            _write_audio(directory, f".{name}", clips, _SECONDS)
            cases = [("bare", _bare, 1), ("converter", _converter, 1), ("converter", _converter, 2)]
            best = [(0.0, 0.0)] * len(cases)
            for _ in range(_REPEATS.value):  # in turn, so that other load slows all of them alike
                for i, (_, function, cores) in enumerate(cases):
                    best[i] = max(best[i], measure(function, directory, clips, cores))
            for (case, _, cores), (rate, cpu) in zip(cases, best, strict=True):
                print(
                    f"{name:<8} {case:<12} {cores:>5} {rate:>9.1f} {rate / best[0][0]:>9.2f} "
                    f"{cpu * 1000:>15.2f}"
                )
        if _ARCHIVE_FORMATS.value or _ARCHIVE_GB.value:
            _print_archives(root, measure)
        print("\nencoding  kB a clip  CPU ms to write it  CPU ms to read a window")
        directory = os.path.join(root, "encodings")
        _write_audio(directory, ".flac", 100, _SECONDS)
        for name, size, write, read in measure(_encoding, directory, 100, 1):
            print(f"{name:<9} {size:>9.0f} {write:>19.2f} {read:>24.2f}")
        print("\nclips    peak MB")
        for count in map(int, _MEMORY_CLIPS.value):
            directory = os.path.join(root, f"memory{count}_audio")
            _write_audio(directory, ".wav", count, 1.0)
            print(f"{count:<8} {measure(_memory, directory, count, 2):>7.0f}")
        if files := _INDEX_FILES.value:
            directory = os.path.join(root, "names")
            _write_names(directory, files)
            listing, finding, memory = measure(_index, directory, files, 1)
            print(f"\n{'names':<8} {'s to list':>10} {'s to find all':>14} {'MB':>5}")
            print(f"{files:<8} {listing:>10.1f} {finding:>14.1f} {memory:>5.0f}")


def run() -> None:
    """Entry point."""
    cli.run(main)


if __name__ == "__main__":
    run()
