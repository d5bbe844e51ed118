"""Sounds of the embedded corpus, synthesised from parameters drawn for each event.

Classes come in families of neighbours whose parameter ranges touch, so that they are hard to tell
apart, as AudioSet's classes are. Every generator takes a random generator and a number of samples,
and returns float64 `[samples]` of any level; `render_event` shapes and scales it. Worker processes
import this module, so it must not import TensorFlow.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np
import scipy.fft

SAMPLE_RATE = 16_000  # Hz, of the audio files

Generator = Callable[[np.random.Generator, int], np.ndarray]


@dataclasses.dataclass(frozen=True)
class SoundClass:
    """A leaf class of the corpus.

    Attributes:
      name: display name.
      family: name of its general class.
      seconds: shortest and longest event.
      generate: the synthesiser.
    """

    name: str
    family: str
    seconds: tuple[float, float]
    generate: Generator


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _time(samples: int) -> np.ndarray:
    return np.arange(samples) / SAMPLE_RATE


def _oscillate(frequency: np.ndarray | float, samples: int, harmonics: np.ndarray) -> np.ndarray:
    """A sum of harmonics of a frequency (Hz, constant or `[samples]`), those below Nyquist."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(frequency, samples)) / SAMPLE_RATE
    highest = float(np.max(frequency))
    wave = np.zeros(samples)
    for k, (amplitude, sine) in enumerate(zip(harmonics, _sines(phase), strict=False), 1):
        if k * highest > 7800:
            break
        wave += amplitude * sine
    return wave


def _sines(phase: np.ndarray) -> Iterator[np.ndarray]:
    """sin(k * phase) for k = 1, 2, ..., each from the two before it, which is faster than sin."""
    before, sine = np.zeros_like(phase), np.sin(phase)
    twice_cosine = 2 * np.cos(phase)
    while True:
        yield sine
        before, sine = sine, twice_cosine * sine - before


def _smooth_random(rng: np.random.Generator, samples: int, hz: float) -> np.ndarray:
    """A slowly wandering curve in about [-1, 1] that changes `hz` times a second."""
    points = max(int(samples / SAMPLE_RATE * hz) + 3, 4)
    curve = np.interp(
        np.linspace(0, points - 1, samples), np.arange(points), rng.normal(size=points)
    )
    return np.tanh(curve)


def coloured_noise(
    rng: np.random.Generator, samples: int, exponent: float, low: float = 20, high: float = 7900
) -> np.ndarray:
    """Noise of unit RMS with power falling as 1/f^exponent within a band."""
    # Rounded up to a length with a fast transform.
    size = scipy.fft.next_fast_len(max(samples, 2), real=True)
    log_frequency, band = _spectrum(size, low, high)
    gain = band * np.exp(-exponent / 2 * log_frequency)
    parts = rng.standard_normal(2 * len(gain), dtype=np.float32).view(np.complex64)
    noise = scipy.fft.irfft(gain * parts, size)[:samples].astype(np.float64)
    return noise / (np.sqrt(np.mean(noise**2)) + 1e-12)


@functools.lru_cache(16)
def _spectrum(size: int, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Log of each frequency of a transform, and the gain of a band: both float32 `[bins]`."""
    frequency = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    band = 1 / (1 + (low / np.maximum(frequency, 1e-3)) ** 8) / (1 + (frequency / high) ** 8)
    return np.log(np.maximum(frequency, 20.0)).astype(np.float32), band.astype(np.float32)


def _partials(rng: np.random.Generator, count: int, slope: float) -> np.ndarray:
    return np.arange(1, count + 1) ** -slope * rng.uniform(0.5, 1.0, count)


# Tones: a pitch that holds, that beats, that wavers; soft or brassy.


def _pitch(rng: np.random.Generator) -> float:
    return _log_uniform(rng, 180, 2200)


def _steady_tone(rng, samples):
    return _oscillate(_pitch(rng), samples, _partials(rng, rng.integers(1, 4), 2.0))


def _tremolo_tone(rng, samples):
    rate, depth = _log_uniform(rng, 4, 14), rng.uniform(0.3, 0.9)
    wave = _oscillate(_pitch(rng), samples, _partials(rng, rng.integers(1, 4), 2.0))
    return wave * (1 - depth * (0.5 + 0.5 * np.sin(2 * np.pi * rate * _time(samples))))


def _vibrato_tone(rng, samples):
    rate, depth = _log_uniform(rng, 4, 10), rng.uniform(0.015, 0.07)
    frequency = _pitch(rng) * (1 + depth * np.sin(2 * np.pi * rate * _time(samples)))
    return _oscillate(frequency, samples, _partials(rng, rng.integers(1, 4), 2.0))


def _horn(rng, samples):
    pitch = _log_uniform(rng, 180, 700)
    return _oscillate(pitch, samples, _partials(rng, 12, rng.uniform(0.2, 0.9)))


# Sweeps: pitches that travel.


def _travel(rng, samples, *, upward):
    low = _log_uniform(rng, 200, 900)
    ratio = _log_uniform(rng, 1.6, 5)
    position = np.linspace(0, 1, samples) ** rng.uniform(0.7, 1.4)
    frequency = low * ratio ** (position if upward else 1 - position)
    return _oscillate(frequency, samples, _partials(rng, rng.integers(1, 5), 1.5))


def _rising_sweep(rng, samples):
    return _travel(rng, samples, upward=True)


def _falling_sweep(rng, samples):
    return _travel(rng, samples, upward=False)


def _wail(rng, samples):
    rate = _log_uniform(rng, 0.6, 3)
    middle, span = _log_uniform(rng, 400, 1200), rng.uniform(0.2, 0.5)
    swing = np.sin(2 * np.pi * (rate * _time(samples) + rng.uniform()))
    return _oscillate(middle * (1 + span * swing), samples, _partials(rng, 4, 1.2))


def _chirps(rng, samples):
    rate = _log_uniform(rng, 3, 9)
    phase = (rate * _time(samples) + rng.uniform()) % 1.0
    duty = rng.uniform(0.3, 0.7)
    base, ratio = _log_uniform(rng, 1200, 3000), _log_uniform(rng, 1.3, 2.2)
    sign = rng.choice([-1, 1])
    within = np.clip(phase / duty, 0, 1)
    frequency = base * ratio ** (within if sign > 0 else 1 - within)
    gate = np.where(phase < duty, np.sin(np.pi * within), 0)
    return gate * _oscillate(frequency, samples, np.array([1.0, 0.2]))


# Noises.


def _hiss(rng, samples):
    return coloured_noise(rng, samples, rng.uniform(-0.7, 0.4), low=_log_uniform(rng, 900, 3500))


def _rumble(rng, samples):
    noise = coloured_noise(rng, samples, rng.uniform(0.8, 2.0), high=_log_uniform(rng, 200, 700))
    return noise * (1 + 0.5 * _smooth_random(rng, samples, 6))


def _whoosh(rng, samples):
    low = coloured_noise(rng, samples, 0.5, 200, _log_uniform(rng, 600, 1200))
    high = coloured_noise(rng, samples, 0.0, _log_uniform(rng, 1500, 3000))
    position = np.linspace(0, 1, samples)
    mix = position if rng.uniform() < 0.5 else 1 - position
    return (low * (1 - mix) + high * mix) * np.sin(np.pi * position) ** rng.uniform(0.5, 2)


def _crackle(rng, samples):
    density = _log_uniform(rng, 25, 160)  # a second
    impulses = np.where(
        rng.uniform(size=samples) < density / SAMPLE_RATE, rng.normal(size=samples), 0.0
    )
    length = int(rng.uniform(0.002, 0.006) * SAMPLE_RATE)
    kernel = rng.normal(size=length) * np.exp(-np.arange(length) / (length / 4))
    return np.convolve(impulses, kernel)[:samples] + 1e-3 * rng.normal(size=samples)


# Impulses, one or many.


def _strike(rng, samples, times, frequencies, amplitudes, decay_s):
    """The same damped partials, started at each of the times (s)."""
    length = min(int(6 * decay_s * SAMPLE_RATE) + 1, samples)
    t = _time(length)
    single = np.zeros(length)
    for k, (frequency, amplitude) in enumerate(zip(frequencies, amplitudes, strict=True)):
        decay = np.exp(-t * (1 + 0.4 * k) / decay_s)
        single += amplitude * np.sin(2 * np.pi * frequency * t) * decay
    wave = np.zeros(samples + length)
    for start in times:
        begin = int(start * SAMPLE_RATE)
        if begin < samples:
            wave[begin : begin + length] += rng.uniform(0.6, 1.0) * single
    return wave[:samples]


def _regular(rng, samples, rate, jitter):
    count = int(samples / SAMPLE_RATE * rate) + 1
    return np.maximum((np.arange(count) + jitter * rng.normal(size=count)) / rate, 0)


def _ticks(rng, samples):
    times = _regular(rng, samples, _log_uniform(rng, 2, 6.5), 0.03)
    return _strike(rng, samples, times, rng.uniform(2000, 6000, 3), [1, 0.7, 0.5], 0.004)


def _rattle(rng, samples):
    times = _regular(rng, samples, _log_uniform(rng, 9, 28), 0.25)
    return _strike(rng, samples, times, rng.uniform(1500, 6000, 4), [1, 0.8, 0.6, 0.6], 0.006)


def _knocks(rng, samples):
    times = _regular(rng, samples, _log_uniform(rng, 2, 6.5), 0.1)
    base = _log_uniform(rng, 120, 450)
    frequencies = base * np.array([1, 1.6, 2.7])
    return _strike(rng, samples, times, frequencies, [1, 0.5, 0.3], rng.uniform(0.02, 0.05))


def _bell(rng, samples):
    times = _regular(rng, samples, _log_uniform(rng, 0.7, 4), 0.05)
    frequencies = _log_uniform(rng, 500, 1600) * np.array([1, 2.0, 2.76, 4.07])
    amplitudes = rng.uniform(0.3, 1, 4)
    return _strike(rng, samples, times, frequencies, amplitudes, _log_uniform(rng, 0.12, 0.6))


# Voices: pulses through formants, in syllables.


def _syllables(rng, samples, rate):
    beat = np.sin(np.pi * (rate * _time(samples) + 0.25 * _smooth_random(rng, samples, 2)))
    return np.abs(beat) ** rng.uniform(0.5, 1.2)


def _voice(rng, samples, low, high, stretch, glide):
    pitch = _log_uniform(rng, low, high)
    pitch = pitch * (1 + glide * _smooth_random(rng, samples, 3))
    wave = np.zeros(samples)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    rate = rng.uniform(2.5, 6)
    # Two vowels that alternate: first and second formant, Hz.
    vowels = np.array([[730, 1090], [270, 2290], [570, 840], [530, 1840], [300, 870]])
    first, second = vowels[rng.choice(len(vowels), 2, replace=False)] * stretch
    mix = 0.5 + 0.5 * np.sin(np.pi * rate * _time(samples) + rng.uniform(0, 6))
    mean_pitch = float(pitch.mean())
    for k, sine in zip(range(1, int(min(4200 / mean_pitch, 32)) + 1), _sines(phase), strict=False):
        frequency = k * mean_pitch

        def gain(formants, frequency=frequency):
            return sum(
                weight / (1 + ((frequency - formant) / 110) ** 2)
                for formant, weight in zip((*formants, 2900 * stretch), (1, 0.6, 0.25), strict=True)
            )

        wave += (gain(first) * (1 - mix) + gain(second) * mix + 0.01) * sine
    return wave * _syllables(rng, samples, rate)


def _low_voice(rng, samples):
    return _voice(rng, samples, 85, 165, 1.0, 0.12)


def _high_voice(rng, samples):
    return _voice(rng, samples, 160, 320, 1.16, 0.15)


def _shout(rng, samples):
    return np.tanh(3 * _voice(rng, samples, 220, 520, 1.1, 0.25))


def _whisper(rng, samples):
    bands = rng.uniform(600, 2600, 2)
    noise = sum(coloured_noise(rng, samples, 0, centre * 0.75, centre * 1.35) for centre in bands)
    return noise * _syllables(rng, samples, rng.uniform(2.5, 6))


# Machines.


def _hum(rng, samples):
    mains = rng.choice([50.0, 60.0]) * rng.choice([2, 2, 4])
    return _oscillate(mains * rng.uniform(0.99, 1.01), samples, _partials(rng, 14, 0.7))


def _engine(rng, samples):
    firing = _log_uniform(rng, 20, 65) * (1 + 0.2 * _smooth_random(rng, samples, 0.8))
    wave = _oscillate(firing, samples, _partials(rng, 30, rng.uniform(0.4, 0.9)))
    return wave * (1 + 0.3 * rng.normal(size=samples)) + 0.3 * coloured_noise(rng, samples, 1.0)


def _buzzer(rng, samples):
    pitch = _log_uniform(rng, 150, 600)
    wave = np.sign(_oscillate(pitch, samples, np.array([1.0])))
    rate = _log_uniform(rng, 1, 4)
    gate = ((rate * _time(samples) + rng.uniform()) % 1.0) < rng.uniform(0.5, 0.95)
    return wave * gate


def _whir(rng, samples):
    pitch = _log_uniform(rng, 250, 900) * (1 + 0.25 * _smooth_random(rng, samples, 0.7))
    wave = _oscillate(pitch, samples, _partials(rng, 10, 0.5))
    return wave + rng.uniform(0.5, 1.5) * coloured_noise(rng, samples, 0.6, 300)


# Ordered so that the first n classes take from every family in turn.
CLASSES: tuple[SoundClass, ...] = tuple(
    SoundClass(name, family, seconds, generate)
    for name, family, seconds, generate in (
        ("Steady tone", "Tone", (0.6, 10.0), _steady_tone),
        ("Rising sweep", "Sweep", (0.6, 5.0), _rising_sweep),
        ("Hiss", "Noise", (0.3, 10.0), _hiss),
        ("Ticking", "Impulse", (0.9, 10.0), _ticks),
        ("Low voice", "Voice", (0.9, 10.0), _low_voice),
        ("Mains hum", "Machine", (3.0, 10.0), _hum),
        ("Tremolo tone", "Tone", (0.9, 10.0), _tremolo_tone),
        ("Falling sweep", "Sweep", (0.6, 5.0), _falling_sweep),
        ("Rumble", "Noise", (1.5, 10.0), _rumble),
        ("Rattle", "Impulse", (0.6, 7.5), _rattle),
        ("High voice", "Voice", (0.9, 10.0), _high_voice),
        ("Engine", "Machine", (3.0, 10.0), _engine),
        ("Vibrato tone", "Tone", (0.9, 10.0), _vibrato_tone),
        ("Wail", "Sweep", (2.4, 10.0), _wail),
        ("Whoosh", "Noise", (0.45, 3.75), _whoosh),
        ("Knocking", "Impulse", (0.3, 5.0), _knocks),
        ("Shout", "Voice", (0.3, 3.0), _shout),
        ("Buzzer", "Machine", (0.6, 7.5), _buzzer),
        ("Horn", "Tone", (0.3, 6.25), _horn),
        ("Chirping", "Sweep", (0.6, 10.0), _chirps),
        ("Crackle", "Noise", (0.9, 10.0), _crackle),
        ("Bell", "Impulse", (0.15, 7.5), _bell),
        ("Whisper", "Voice", (0.9, 10.0), _whisper),
        ("Motor whir", "Machine", (1.5, 10.0), _whir),
    )
)
FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(sound.family for sound in CLASSES))


def render_event(
    sound: SoundClass, rng: np.random.Generator, *, samples: int, rms: float
) -> np.ndarray:
    """Synthesises one event, faded in and out.

    Args:
      sound: the class.
      rng: draws the event's parameters.
      samples: its length.
      rms: its level, where full scale is 1.

    Returns:
      float64 `[samples]` at `SAMPLE_RATE`.
    """
    wave = sound.generate(rng, samples)
    fade = min(int(rng.uniform(0.004, 0.03) * SAMPLE_RATE), samples // 3)
    if fade > 0:
        ramp = np.linspace(0, 1, fade)
        wave[:fade] *= ramp
        wave[-fade:] *= ramp[::-1]
    return wave * (rms / (np.sqrt(np.mean(wave**2)) + 1e-9))
