"""Files of known sound whose headers lack their length, guess it, or lie."""

import struct

import av
import numpy as np

from tests.audio_files import melody, write

RATE = 16_000


def wav(samples, size, *, name=b"RIFF", ds64=None):
    """A WAV file of int16 samples at 16 kHz whose header claims some size of them."""
    body = samples.astype("<i2").tobytes()
    form = struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    extra = b"" if ds64 is None else b"ds64" + struct.pack("<IQQQI", 28, 0, ds64, 0, 0)
    head = b"WAVE" + extra + b"fmt " + form + b"data" + struct.pack("<I", size)
    return name + struct.pack("<I", min(size + 36, 0xFFFFFFFF)) + head + body


def pcm16(waveform):
    return np.round(waveform * 32767).astype(np.int16)


def without_length(flac):
    """A FLAC file as it is written to a pipe: no number of samples, no check sum of all."""
    made = bytearray(flac)
    made[21] &= 0xF0
    made[22:42] = bytes(20)
    return bytes(made)


def mp3_without_header(mp3):
    """Frames alone: the first one, of 72 * 64,000 bit/s / 16 kHz bytes, holds their number."""
    assert b"Info" in mp3[:288] or b"Xing" in mp3[:288]
    return mp3[288:]


def broken_headers(folder):
    """(name, bytes, the sound in it, the SNR that its codec allows) of each kind of file."""
    sound = melody(20, RATE)
    halves = melody(10, RATE, 1), melody(10, RATE, 2)

    def bytes_of(name, waveform=sound, **options):
        return write(folder / "made" / name, waveform, RATE, **options).read_bytes()

    samples = pcm16(sound)
    yield "pipe.flac", without_length(bytes_of("a.flac")), sound, 50
    yield "pipe.wav", wav(samples, 0xFFFFFFFF), sound, 50
    yield "no_size.wav", wav(samples, 0), sound, 50
    yield "small_size.wav", wav(samples, 1000), sound, 50
    yield "rf64.wav", wav(samples, 0xFFFFFFFF, name=b"RF64", ds64=2 * len(samples)), sound, 50
    yield "rf64_no_size.wav", wav(samples, 0xFFFFFFFF, name=b"RF64", ds64=0), sound, 50
    yield "no_header.mp3", mp3_without_header(bytes_of("a.mp3")), sound, 15
    for name, quality in (("joined.mp3", 10), ("chained.ogg", 15), ("joined.flac", 50)):
        extension = name[-4:].strip(".")
        parts = [bytes_of(f"{i}.{extension}", half) for i, half in enumerate(halves)]
        yield name, b"".join(parts), np.concatenate(halves), quality
    opus = [
        write(folder / "made" / f"{i}.opus", melody(10, 48_000, i + 1), 48_000).read_bytes()
        for i in range(2)
    ]
    yield "chained.opus", b"".join(opus), np.concatenate(halves), 10


def plain_decode(path):
    """All that FFmpeg decodes of a file, in order: (float `[samples]`, Hz); None if it cannot."""
    blocks, rates = [], set()
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="fltp")
        for frame in container.decode(audio=0):
            rates.add(frame.sample_rate)
            blocks += [made.to_ndarray().mean(axis=0) for made in resampler.resample(frame)]
    return np.concatenate(blocks), rates.pop()
