"""HDF5 files of PANNs (waveforms) and PaSST (mp3 files), read with h5py (extra `hdf5`).

Both have a dataset `audio_name` with names such as Y--4gqARaEJE.wav. PANNs keeps `waveform`, int16
or in older files float32 `[clips, samples]`, with an attribute `sample_rate` of the file, and
`target`, bool `[clips, classes]`. PaSST keeps `mp3`, a file of any length for each clip, and packs
the classes of `target` into bits. A clip of PANNs that is shorter than the others ends in zeros;
one that was not downloaded has no name.

Sources: `utils/dataset.py` of github.com/qiuqiangkong/audioset_tagging_cnn, and
`audioset/prepare_scripts/create_h5pymp3_dataset.py` of github.com/kkoutini/PaSST.
"""

import functools
import io
from typing import Any

import numpy as np
import soundfile

from audioset_strong.audio.archives import members
from audioset_strong.core import errors, extras, files

_NAMES, _TARGETS, _WAVEFORMS = "audio_name", "target", "waveform"
_FILES = ("mp3", "audio", "flac")  # datasets of whole files
_ROWS_AT_ONCE = 8192


def catalogue(path: str, *, labels: bool) -> members.Catalogue | None:
    """Lists the clips of an HDF5 file.

    Args:
      path: of the file, local or remote.
      labels: whether to read the targets, if there are any; they are indices of classes.

    Returns:
      None if it holds no audio.

    Raises:
      errors.InputError: h5py is missing; it is no HDF5 file, or it is cut off; its waveforms have
        no known sample rate; its datasets differ in length.
      OSError: it cannot be read.
    """
    try:
        with _open(path) as file:
            if _NAMES not in file or _audio_dataset(file) is None:
                return None
            if _audio_dataset(file) == _WAVEFORMS and _sample_rate(file) is None:
                raise errors.InputError(
                    f"{path}: its waveforms have no known sample rate; set the attribute "
                    "sample_rate of the file, in Hz"
                )
            _check_lengths(path, file)
            found = members.Catalogue(labels_are="HDF5 dataset target")
            rows = []
            for row, name in enumerate(file[_NAMES][:]):
                text = name.decode(errors="surrogateescape") if isinstance(name, bytes) else name
                if text:
                    rows.append(row)
                    found.names.append(text)
            found.places = members.place_array([(members.HDF5_ROW, row) for row in rows])
            if labels:
                _add_labels(file, rows, found)
    except errors.InputError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise errors.InputError(
            f"{path}: not a whole HDF5 file ({errors.first_line(error)}); nothing of it can be read"
        ) from error
    return found


def _check_lengths(path: str, file: Any) -> None:
    """Raises if names, audio and targets are not of the same clips."""
    used = (_NAMES, _audio_dataset(file), *([_TARGETS] if _TARGETS in file else []))
    lengths = {name: len(file[name]) for name in used}
    if len(set(lengths.values())) > 1:
        counted = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise errors.InputError(f"{path}: its datasets differ in length ({counted})")


def _add_labels(file: Any, rows: list[int], found: members.Catalogue) -> None:
    """Adds the classes of each clip, as the decimal numbers of their indices."""
    if _TARGETS not in file or file[_TARGETS].ndim != 2:
        found.labels = [None] * len(rows)
        return
    target = file[_TARGETS]
    packed = target.dtype == np.uint8
    width = target.shape[1]
    found.classes = (8 * width - 7, 8 * width) if packed else (width, width)
    lists: list[members.Labels] = []
    for begin in range(0, len(target), _ROWS_AT_ONCE):
        block = target[begin : begin + _ROWS_AT_ONCE]
        block = np.unpackbits(block, axis=-1) if packed else block > 0
        lists += [tuple(map(str, np.flatnonzero(row).tolist())) or None for row in block]
    found.labels = [lists[row] for row in rows]


def read_row(path: str, row: int) -> bytes:
    """The audio of a clip as the bytes of a file.

    Raises:
      DamagedMemberError: it cannot be read.
    """
    try:
        file = _opened(path, members.version_of(path))
        name = _audio_dataset(file)
        value = file[name][row]
        if name != _WAVEFORMS:
            return np.asarray(value, np.uint8).tobytes()
        wav = io.BytesIO()
        subtype = "PCM_16" if value.dtype == np.int16 else "FLOAT"
        soundfile.write(wav, value, _sample_rate(file) or 0, format="WAV", subtype=subtype)
        return wav.getvalue()
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise members.DamagedMemberError(
            f"row {row} cannot be read ({errors.first_line(error)})"
        ) from error


@functools.lru_cache(4)
def _opened(path: str, version: tuple[int, int]) -> Any:
    del version
    return _open(path)


def _open(path: str) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise errors.InputError(f"{path}: HDF5 needs h5py; {extras.advice('hdf5')}") from error
    if files.is_remote(path):
        return h5py.File(members.open_file(path), "r")
    return h5py.File(path, "r", locking=False)  # the disk may be read-only


def _audio_dataset(file: Any) -> str | None:
    """The name of the dataset with the audio: waveforms, or files of any length."""
    if _WAVEFORMS in file and file[_WAVEFORMS].ndim == 2:
        return _WAVEFORMS
    for name in _FILES:
        if name in file and file[name].ndim == 1 and file[name].dtype.kind == "O":
            return name
    return None


def _sample_rate(file: Any) -> int | None:
    for attributes in (file.attrs, file[_WAVEFORMS].attrs):
        if "sample_rate" in attributes:
            return int(np.asarray(attributes["sample_rate"]).item())
    return None
