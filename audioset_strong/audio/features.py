"""The log-mel front end: its settings as one value, and the one function that computes log-mel.

Source: Hershey et al. 2017, "CNN Architectures for Large-Scale Audio Classification", section 2,
https://arxiv.org/abs/1609.09430, with the constants of the released VGGish. Section 4 of the
strong-labels paper keeps them.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from audioset_strong.core import errors
from audioset_strong.core.lazy import tf
from audioset_strong.labels import framing

_FLOAT32 = np.finfo(np.float32)


@dataclasses.dataclass(frozen=True)
class FrontEnd:
    """How waveforms become log-mel patches. The defaults are VGGish's and the paper's.

    A patch covers one label frame of 0.96 s. Its STFT windows reach a little further: 96 windows of
    25 ms at a hop of 10 ms span 0.975 s.

    >>> FrontEnd().patch_shape
    (96, 64)
    >>> FrontEnd(hop_samples=320, num_bands=32).patch_shape
    (48, 32)

    Attributes:
      sample_rate: Hz; that of the converted datasets.
      window_samples: length of the periodic Hann window.
      hop_samples: samples between the starts of neighbouring STFT windows; divides 0.96 s.
      fft_length: points of the FFT; at least `window_samples`.
      num_bands: mel bands (HTK mel scale, triangles of height one, the DC bin left out).
      lower_hz: lower edge of the lowest band.
      upper_hz: upper edge of the highest band.
      offset: added to the mel magnitudes before the natural logarithm.

    Raises:
      errors.InputError: settings that describe no front end.
    """

    sample_rate: int = 16_000
    window_samples: int = 400
    hop_samples: int = 160
    fft_length: int = 512
    num_bands: int = 64
    lower_hz: float = 125.0
    upper_hz: float = 7500.0
    offset: float = 0.01

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.generic):  # a scalar of NumPy, which JSON would not take
                object.__setattr__(self, field.name, value.item())
        for name in ("sample_rate", "window_samples", "hop_samples", "fft_length", "num_bands"):
            errors.check_whole_number(f"FrontEnd.{name}", getattr(self, name))
        for name in ("lower_hz", "upper_hz", "offset"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise _wrong(name, value, "must be a number")
            if not math.isfinite(value):
                raise _wrong(name, value, "must be finite")
        if self.sample_rate % 1000:
            raise _wrong("sample_rate", self.sample_rate, "must be a multiple of 1000 Hz")
        if self.frame_samples % self.hop_samples:
            whole = f"must divide the {self.frame_samples} samples of a {framing.FRAME_MS} ms frame"
            raise _wrong("hop_samples", self.hop_samples, whole)
        if self.fft_length < self.window_samples:
            least = f"must be at least window_samples = {self.window_samples}"
            raise _wrong("fft_length", self.fft_length, least)
        if not 0.0 <= self.lower_hz < self.upper_hz:
            raise _wrong("lower_hz", self.lower_hz, f"must lie in [0, upper_hz = {self.upper_hz})")
        if self.upper_hz > self.sample_rate / 2:
            most = f"must be at most half the sample rate, {self.sample_rate / 2:g} Hz"
            raise _wrong("upper_hz", self.upper_hz, most)
        if not self.offset > 0:
            raise _wrong("offset", self.offset, "must be positive, because its logarithm is taken")
        if not _FLOAT32.tiny <= self.offset <= _FLOAT32.max:  # where the logarithm is infinite
            limits = f"[{_FLOAT32.tiny:.3g}, {_FLOAT32.max:.3g}], the range of float32"
            raise _wrong("offset", self.offset, f"must lie in {limits}")
        if self.num_bands > self.fft_length:  # a bin lies in two bands at most
            most = f"must be at most fft_length = {self.fft_length}; every band needs an FFT bin"
            raise _wrong("num_bands", self.num_bands, most)
        empty = self._first_empty_band()
        if empty is not None:
            remedy = f"band {empty} holds no FFT bin; take fewer bands or a longer fft_length"
            raise _wrong("num_bands", self.num_bands, remedy)

    def _first_empty_band(self) -> int | None:
        """The first mel band without an FFT bin inside it; its values would never change."""
        low, high = (1127.0 * math.log1p(hz / 700.0) for hz in (self.lower_hz, self.upper_hz))
        edges = 700.0 * np.expm1(np.linspace(low, high, self.num_bands + 2) / 1127.0)
        bins = edges * self.fft_length / self.sample_rate
        first = np.maximum(np.floor(bins[:-2]) + 1, 1)  # the first bin above a band's lower edge
        empty = np.flatnonzero(first >= bins[2:])
        return int(empty[0]) if len(empty) else None

    @property
    def samples_per_ms(self) -> int:
        """Samples of one millisecond."""
        return self.sample_rate // 1000

    @property
    def frame_samples(self) -> int:
        """Samples of one label frame of 0.96 s."""
        return framing.FRAME_MS * self.samples_per_ms

    @property
    def stft_frames_per_patch(self) -> int:
        """STFT frames of one patch."""
        return self.frame_samples // self.hop_samples

    @property
    def patch_shape(self) -> tuple[int, int]:
        """(STFT frames, bands) of one patch, which is the model's input."""
        return self.stft_frames_per_patch, self.num_bands

    @property
    def patch_samples(self) -> int:
        """Samples that one patch is computed from: 15,600 by default."""
        return (self.stft_frames_per_patch - 1) * self.hop_samples + self.window_samples

    @property
    def silence(self) -> float:
        """The log-mel value of digital silence."""
        return float(np.log(np.float32(self.offset)))

    @classmethod
    def at_sample_rate(cls, sample_rate: int) -> "FrontEnd":
        """The default front end at another sample rate: the same times, and edges that it allows.

        Example:
          >>> FrontEnd.at_sample_rate(16_000) == FrontEnd()
          True
          >>> FrontEnd.at_sample_rate(8_000).patch_shape
          (96, 64)

        Args:
          sample_rate: Hz, a multiple of 1000.

        Raises:
          errors.InputError: it is not such a rate.
        """
        per_ms = sample_rate // 1000
        return cls(
            sample_rate=sample_rate,
            window_samples=25 * per_ms,
            hop_samples=10 * per_ms,
            fft_length=32 * per_ms,
            upper_hz=min(cls.upper_hz, sample_rate / 2),
        )

    def to_json(self) -> dict[str, int | float]:
        """The settings by name; `from_json` reads them back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "FrontEnd":
        """Reads what `to_json` gave.

        Raises:
          errors.InputError: settings that are missing, unknown or impossible.

        Example:
          >>> FrontEnd.from_json({**FrontEnd().to_json(), "num_bands": 40}).patch_shape
          (96, 40)
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, Mapping) or set(values) != names:
            raise errors.InputError(f"front end {values!r}: must have {', '.join(sorted(names))}")
        return cls(**values)

    def difference(self, other: "FrontEnd") -> str | None:
        """The first setting that differs from another front end, in words; None where none does.

        >>> FrontEnd(offset=0.001).difference(FrontEnd())
        'offset = 0.001 instead of 0.01'
        """
        for name, value in self.to_json().items():
            if value != getattr(other, name):
                return f"{name} = {value} instead of {getattr(other, name)}"
        return None


DEFAULT_FRONT_END = FrontEnd()


def log_mel(waveform: "tf.Tensor", front_end: FrontEnd = DEFAULT_FRONT_END) -> "tf.Tensor":
    """Log-mel spectrogram of waveforms.

    >>> log_mel(tf.zeros([2, 15_600])).shape
    TensorShape([2, 96, 64])

    Args:
      waveform: floating point `[..., samples]` in [-1, 1] at `front_end.sample_rate`; at least
        `front_end.window_samples` samples.
      front_end: the settings.

    Returns:
      float32 `[..., stft_frames, num_bands]`, where stft_frames = 1 + (samples - window_samples) //
      hop_samples; a patch of 15,600 samples gives `[..., 96, 64]`.

    Raises:
      errors.InputError: a waveform of whole numbers, or one that is shorter than a window.
    """
    waveform = tf.convert_to_tensor(waveform)
    if not waveform.dtype.is_floating:
        raise errors.InputError(
            f"waveform of {waveform.dtype.name}: must be floating point, in [-1, 1]"
        )
    waveform = tf.cast(waveform, tf.float32)
    samples = waveform.shape[-1]
    if samples is not None and samples < front_end.window_samples:
        raise errors.InputError(
            f"waveform of {samples} samples: must have at least {front_end.window_samples}, those "
            "of an STFT window"
        )
    spectrum = tf.signal.stft(
        waveform,
        front_end.window_samples,
        front_end.hop_samples,
        front_end.fft_length,
        window_fn=tf.signal.hann_window,
    )  # [..., stft_frames, fft_length // 2 + 1]
    mel_weights = tf.signal.linear_to_mel_weight_matrix(
        front_end.num_bands,
        front_end.fft_length // 2 + 1,
        front_end.sample_rate,
        front_end.lower_hz,
        front_end.upper_hz,
    )
    # tf.abs guards against overflow with hypot, which takes more time than the FFT.
    magnitude = tf.sqrt(tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum)))
    return tf.math.log(tf.tensordot(magnitude, mel_weights, 1) + front_end.offset)


def _wrong(name: str, value: object, right: str) -> errors.InputError:
    return errors.InputError(f"FrontEnd.{name} = {value!r}: {right}")
