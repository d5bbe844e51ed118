"""Audio files for tests: signals that are known exactly, in every container."""

import fractions

import av
import numpy as np
import soundfile

# How each extension is written: libsndfile's (format, subtype), or PyAV's codec.
SOUNDFILE = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".opus": ("OGG", "OPUS"),
    ".aiff": ("AIFF", "PCM_16"),
}
PYAV = {".m4a": "aac", ".aac": "aac", ".mp4": "aac", ".webm": "libopus", ".mkv": "flac"}


def tone(frequency, seconds, rate, amplitude=0.5):
    """A cosine, float64 `[samples]`."""
    return amplitude * np.cos(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def melody(seconds, rate, seed=0, note_s=0.05):
    """Notes of random pitches below 3 kHz: no lag but 0 correlates, and codecs keep it well."""
    notes = np.random.default_rng(seed).uniform(200, 3000, round(seconds / note_s) + 1)
    before = np.cumsum(notes * note_s) - notes * note_s  # cycles before each note
    time = np.arange(round(seconds * rate)) / rate
    note = (time / note_s).astype(int)
    return 0.4 * np.sin(2 * np.pi * (before[note] + notes[note] * (time - note * note_s)))


def write(path, waveform, rate, subtype=None, **options):
    """Writes float `[samples]` or `[samples, channels]` in the format of the path's extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in PYAV:
        _write_av(path, np.atleast_2d(waveform.T).astype(np.float32), rate, options)
    else:
        file_format, default = SOUNDFILE[path.suffix]
        channels = waveform.shape[1] if waveform.ndim == 2 else 1
        with soundfile.SoundFile(
            path, "w", rate, channels, subtype or default, format=file_format
        ) as file:
            for begin in range(0, len(waveform), rate):  # libsndfile crashes on long OGG writes
                file.write(waveform[begin : begin + rate])
    return path


def _write_av(path, channels, rate, options):
    layout = {1: "mono", 2: "stereo"}[len(channels)]
    with av.open(str(path), "w", options=options) as container:
        if path.suffix == ".mp4":  # as downloaded: pictures first, then the sound
            video = container.add_stream("mpeg4", rate=10)
            video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        stream = container.add_stream(PYAV[path.suffix], rate=rate, layout=layout)
        if path.suffix == ".mp4":
            for _ in range(channels.shape[1] * 10 // rate):
                picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
                container.mux(video.encode(picture))
            container.mux(video.encode(None))
        resampler = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, fractions.Fraction(1, rate)
        for given in (*resampler.resample(frame), None):
            container.mux(stream.encode(given))


def snr_db(got, want):
    """Signal-to-noise ratio of a waveform over the common length with the right one, unshifted."""
    length = min(len(got), len(want))
    got, want = got[:length].astype(float), want[:length]
    return 10 * np.log10(np.sum(want**2) / (np.sum((got - want) ** 2) + 1e-20))


def lag(got, want):
    """Samples by which `got` lags behind `want`."""
    size = 2 ** int(np.ceil(np.log2(len(got) + len(want))))
    spectrum = np.fft.rfft(got, size) * np.conj(np.fft.rfft(want, size))
    shift = int(np.argmax(np.fft.irfft(spectrum, size)))
    return shift - size if shift > size // 2 else shift
