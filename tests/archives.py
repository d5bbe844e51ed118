"""Archives for tests, written with the libraries that those who publish audio use."""

import io
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
from pyarrow import parquet


def packed_tar(path, contents, **options):
    """A tar archive of name -> bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def packed_zip(path, contents, method=zipfile.ZIP_STORED):
    """A zip archive of name -> bytes."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def packed_parquet(path, contents, labels=None, **options):
    """The columns of AudioSet on Hugging Face, of name -> bytes; `labels` are lists of mids."""
    strings = pa.list_(pa.string())
    schema = pa.schema(
        {
            "video_id": pa.string(),
            "audio": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
            "labels": strings,
            "human_labels": strings,
        }
    )
    rows = [
        {
            "video_id": name.rpartition(".")[0],
            "audio": {"bytes": content, "path": name},
            "labels": labels[i] if labels else ["/m/0a"],
            "human_labels": ["A"],
        }
        for i, (name, content) in enumerate(contents.items())
    ]
    parquet.write_table(pa.Table.from_pylist(rows, schema), path, **options)
    return path


def packed_hdf5(path, contents, targets):
    """An HDF5 file as PaSST's, of name -> bytes and bool `[files, classes]`."""
    import h5py

    with h5py.File(path, "w") as file:
        file["audio_name"] = np.array([name.encode() for name in contents], "S60")
        kind = h5py.vlen_dtype(np.dtype("uint8"))
        files = file.create_dataset("mp3", (len(contents),), dtype=kind)
        for i, content in enumerate(contents.values()):
            files[i] = np.frombuffer(content, np.uint8)
        file["target"] = np.packbits(targets, axis=-1)
    return path


def packed_panns(path, names, waveforms, rate, targets=None):
    """An HDF5 file as PANNs', of int16 `[files, samples]`; a name is empty where one is missing."""
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("audio_name", data=np.array([name.encode() for name in names], "S20"))
        file.create_dataset("waveform", data=waveforms)
        if targets is not None:
            file.create_dataset("target", data=targets)
        if rate is not None:
            file.attrs.create("sample_rate", data=rate, dtype=np.int32)
    return path
