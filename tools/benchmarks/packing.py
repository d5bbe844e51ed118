"""Archives of every kind that conversion reads, of any size, for its benchmark."""

import pathlib
import tarfile
import zipfile

import h5py
import numpy as np
import pyarrow as pa
from pyarrow import parquet

_ROW_GROUP = 100  # rows in which Hugging Face writes audio


def pack(directory: str, kind: str, clips: int) -> str:
    """Packs the files of a folder, again and again, into an archive beside it.

    Args:
      directory: the folder.
      kind: "tar", "zip" (deflated), "h5" (as PaSST) or "parquet" (as AudioSet on Hugging Face).
      clips: how many members to write.

    Returns:
      The path of the archive; its members are the clips video000000_0, video000001_0, ...
    """
    paths = sorted(pathlib.Path(directory).iterdir())
    sources = [(f"video{i:06d}_0", paths[i % len(paths)]) for i in range(clips)]
    target = f"{directory}.{kind}"
    if kind == "tar":
        with tarfile.open(target, "w") as tar:
            for name, path in sources:
                tar.add(path.resolve(), name + path.suffix)
    elif kind == "zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, path in sources:
                archive.write(path, name + path.suffix)
    elif kind == "h5":
        with h5py.File(target, "w") as file:
            file["audio_name"] = np.array([name.encode() for name, _ in sources])
            content = file.create_dataset("mp3", (clips,), dtype=h5py.vlen_dtype(np.uint8))
            for i, (_, path) in enumerate(sources):
                content[i] = np.fromfile(path, np.uint8)
    else:
        audio = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        schema = pa.schema({"video_id": pa.string(), "audio": audio})
        with parquet.ParquetWriter(target, schema) as writer:
            for i in range(0, clips, _ROW_GROUP):
                rows = [
                    {"video_id": name, "audio": {"bytes": path.read_bytes(), "path": path.name}}
                    for name, path in sources[i : i + _ROW_GROUP]
                ]
                writer.write_table(pa.Table.from_pylist(rows, schema))
    return target
