"""Metadata files of the release's size, read and used: seconds and peak memory.

Example:
  metadata.py --weak_rows=2100000 --strong_rows=1000000

The files are made up, in a temporary directory; the clips of the strong TSV are in the weak CSV.
Each reader runs in a process of its own. A bare `pandas.read_csv` of the same file, which checks
nothing, tells how fast the machine is: the ratios hold elsewhere, the seconds do not. Then
frame_labels and label_stats run once each; with an older checkout on PYTHONPATH they tell what a
change has gained. Seconds are of the processor, so that other work on the machine counts little.
"""

import functools
import importlib
import multiprocessing
import os
import resource
import string
import tempfile
import time
from collections.abc import Callable

import numpy as np
from absl import flags

from audioset_strong.core import cli

_WEAK_ROWS = flags.DEFINE_integer("weak_rows", 2_100_000, "Clips of the weak CSV.", lower_bound=1)
_STRONG_ROWS = flags.DEFINE_integer(
    "strong_rows", 1_000_000, "Segments of the strong TSV.", lower_bound=1
)
_REPEATS = flags.DEFINE_integer("repeats", 3, "Runs of each reader; the fastest counts.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of what is in the files.")

_MIDS = [f"/m/0{i:04x}" for i in range(527)]
_YTID_CHARACTERS = np.array(list(string.ascii_letters + string.digits + "-_"))


def _ytids(rng: np.random.Generator, count: int) -> list[str]:
    return ["".join(row) for row in rng.choice(_YTID_CHARACTERS, (count, 11))]


def _strong_clips(rows: int, seed: int) -> list[str]:
    """The videos of a strong TSV, which has nine segments a clip on average."""
    return _ytids(np.random.default_rng(seed), max(rows // 9, 1))


def _write_weak(path: str, rows: int, seed: int, *, strong_rows: int) -> None:
    """A weak CSV. One list of labels in four is new, as in the release's own small files."""
    rng = np.random.default_rng(seed)
    lists = [
        ",".join(_MIDS[i] for i in rng.choice(len(_MIDS), size, replace=False))
        for size in rng.integers(1, 5, max(rows // 4, 1))
    ]
    chosen = rng.integers(0, len(lists), rows)
    starts = rng.integers(0, 60, rows) * 10
    ytids = _ytids(rng, rows)
    shared = _strong_clips(strong_rows, seed)[:rows]
    ytids[: len(shared)], starts[: len(shared)] = shared, 30
    with open(path, "w") as file:
        file.write("# Segments csv\n# num_segs\n# YTID, start_seconds, end_seconds, labels\n")
        for ytid, start, i in zip(ytids, starts, chosen, strict=True):
            file.write(f'{ytid}, {start}.000, {start + 10}.000, "{lists[i]}"\n')


def _write_strong(path: str, rows: int, seed: int) -> None:
    """A strong TSV."""
    rng = np.random.default_rng(seed)
    clips = _strong_clips(rows, seed)
    starts = rng.integers(0, 9_900, rows)
    ends = np.minimum(starts + rng.integers(1, 10_000, rows), 10_000)
    labels = rng.integers(0, 456, rows)
    lines = (
        f"{clips[i * len(clips) // rows]}_30000\t{starts[i] / 1000}\t{ends[i] / 1000}\t"
        f"{_MIDS[labels[i]]}\n"
        for i in range(rows)
    )
    with open(path, "w") as file:
        file.write("segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n")
        file.writelines(dict.fromkeys(lines))  # a row that is there twice is an error


def _bare_weak(path: str) -> object:
    import pandas as pd

    return pd.read_csv(path, skiprows=3, header=None, skipinitialspace=True)


def _bare_strong(path: str) -> object:
    import pandas as pd

    return pd.read_csv(path, sep="\t")


def _read_weak(path: str) -> object:
    from audioset_strong.labels import metadata

    return metadata.read_weak_csv(path)


def _read_strong(path: str) -> object:
    from audioset_strong.labels import metadata

    return metadata.read_strong_tsv(path)


def _frame_labels(directory: str) -> None:
    from audioset_strong.labels import framed_labels, metadata_files

    files = metadata_files.MetadataFiles(strong_tsvs=[os.path.join(directory, "strong.tsv")])
    framed_labels.frame_files(files, os.path.join(directory, "framed.tsv"))


def _label_stats(directory: str) -> None:
    from audioset_strong.analysis import label_report
    from audioset_strong.labels import metadata_files

    files = metadata_files.MetadataFiles(
        weak_csvs=[os.path.join(directory, "weak.csv")],
        strong_tsvs=[os.path.join(directory, "strong.tsv")],
    )
    label_report.write(label_report.LabelStatsRequest(files, os.path.join(directory, "stats")))


def _measure(
    function: Callable[[str], object], path: str, repeats: int, module: str = "pandas"
) -> tuple[float, float]:
    """(seconds of the fastest run, peak MB above what the imports take), in this process."""
    importlib.import_module(module)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        function(path)
        seconds.append(time.process_time() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return min(seconds), (peak - before) / 1024


def main(argv: list[str]) -> None:
    """Makes the files, reads and uses them, prints a table."""
    del argv
    context = multiprocessing.get_context("spawn")

    def in_a_process(function: Callable, *arguments: object) -> object:
        # Also the writing: a process begins with the peak memory of the one that starts it.
        with context.Pool(1) as pool:
            return pool.apply(function, arguments)

    write_weak = functools.partial(_write_weak, strong_rows=_STRONG_ROWS.value)
    cases = (
        ("weak.csv", write_weak, _WEAK_ROWS.value, _bare_weak, _read_weak),
        ("strong.tsv", _write_strong, _STRONG_ROWS.value, _bare_strong, _read_strong),
    )
    print("file        rows       MB   reader              s   ratio   peak MB   ratio")
    with tempfile.TemporaryDirectory() as directory:
        for name, write, rows, bare, read in cases:
            path = os.path.join(directory, name)
            in_a_process(write, path, rows, _SEED.value)
            size = os.path.getsize(path) / 1e6
            baseline = None
            for label, reader in (("bare pandas", bare), (read.__name__[1:], read)):
                seconds, peak = in_a_process(_measure, reader, path, _REPEATS.value)
                baseline = baseline or (seconds, peak)
                print(
                    f"{name:<10} {rows:>9,} {size:>6.0f}   {label:<12} {seconds:>8.2f} "
                    f"{seconds / baseline[0]:>7.1f} {peak:>9.0f} {peak / baseline[1]:>7.1f}"
                )
        for tool, module in (
            (_frame_labels, "audioset_strong.labels.framed_labels"),
            (_label_stats, "audioset_strong.analysis.label_report"),
        ):
            seconds, peak = in_a_process(_measure, tool, directory, 1, module)
            print(f"{tool.__name__[1:]:<42} {seconds:>8.2f} {'':>7} {peak:>9.0f}")


def run() -> None:
    """Entry point."""
    cli.run(main)


if __name__ == "__main__":
    run()
