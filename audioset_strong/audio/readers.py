"""The samples of audio files, each at its time: the one way in which files are decoded.

libsndfile decodes the files that bear out the length in their header, see `structure`; it may seek
in them. FFmpeg, through PyAV, decodes all others from their beginning, and goes on where libsndfile
meets damage.

Where timestamps leave a hole, as a late start or a lost packet does, there is silence, so that what
follows keeps its time. Where a file is broken and nothing tells how much is missing, its sound
ends. `AudioFile.damage` says what was found.
"""

import io
import math
import mmap
import os
from collections.abc import Iterator

import soundfile

from audioset_strong.audio import ffmpeg, pcm, structure
from audioset_strong.audio.archives import members
from audioset_strong.audio.ffmpeg import AudioError, Block
from audioset_strong.core import errors, files


class AudioFile:
    """A file to be decoded. The sample rate and the number of channels may change within it.

    Attributes:
      path: of the file.
      exact_s: its length in seconds, if that is known without decoding; otherwise None.
      damage: what was wrong with what was decoded, in words; "" if nothing was.
      end_s: where the sound that was decoded last ends, in seconds.
      has_length: whether the file states how long it is; known when it was decoded to its end.
    """

    def __init__(self, path: str):
        """Looks at a file, without decoding it.

        Args:
          path: an audio or video file, local or of a file system that `tf.io.gfile` knows, or a
            `members.MemberPath`. Of a file that is not local, or a member, all bytes are read.

        Raises:
          AudioError: it cannot be read from its archive, or its header claims a rate or channels
            that no recording has.
          errors.InputError: the path's file system needs tensorflow-io, and there is none.
        """
        self.path = path
        self.exact_s: float | None = None
        self.damage = ""
        self.end_s = 0.0
        self.has_length = False
        self._content = _content(path)
        self._found: structure.Findings | None = None
        self._opened: soundfile.SoundFile | None = None  # for the first pass
        self._complaints: list[str] = []
        try:
            self._opened = file = self.soundfile()
            ffmpeg.check_format(file.samplerate, file.channels)
            if self._structure(file.format).exact:
                self.exact_s = file.frames / file.samplerate
                self.has_length = True
        except (AudioError, errors.InputError):
            raise
        except Exception as error:  # damaged bytes make decoders raise anything
            self._complaints.append(f"libsndfile: {ffmpeg.complaint(error)}")

    def content(self) -> bytes:
        """All bytes of the file."""
        return files.read_bytes(self.path) if self._content is None else self._content

    def soundfile(self) -> soundfile.SoundFile:
        """The file, opened by libsndfile, which raises whatever it likes."""
        if self._content is not None:
            return soundfile.SoundFile(io.BytesIO(self._content))
        return soundfile.SoundFile(os.fsencode(self.path))  # a name need not be UTF-8

    def blocks(self, begin_s: float = 0.0, end_s: float = math.inf) -> Iterator[Block]:
        """Decodes a part of the recording.

        Args:
          begin_s: where it begins, in seconds.
          end_s: where it ends. There is less where the recording, or what is undamaged of it, ends.

        Yields:
          The samples of the part, without a gap, at most about ten seconds at a time.

        Raises:
          AudioError: no decoder can read the file, or its samples have an implausible format.
        """
        if self.exact_s is not None:
            try:
                for block in self._soundfile_blocks(begin_s, end_s):
                    yield block
                    begin_s = (block.begin + len(block.samples)) / block.rate
                return
            except Exception as error:  # FFmpeg may read what libsndfile cannot
                self._complaints.append(f"libsndfile: {ffmpeg.complaint(error)}")
                self.exact_s = None
        yield from self._ffmpeg_blocks(begin_s, end_s)

    def lasts_beyond(self, time_s: float) -> bool:
        """Whether there is sound behind a time, in seconds; if not, `damage` may tell why.

        Raises:
          AudioError: see `blocks`.
        """
        if self.exact_s is None:
            return next(self.blocks(time_s, time_s + ffmpeg.BLOCK_S), None) is not None
        beyond = self.exact_s > time_s
        self.damage = self._found.cut_off if self._found and not beyond else ""
        return beyond

    def _soundfile_blocks(self, begin_s: float, end_s: float) -> Iterator[Block]:
        file, self._opened = self._opened or self.soundfile(), None
        with file:
            rate, total = file.samplerate, file.frames
            position = round(begin_s * rate)
            end = total if math.isinf(end_s) else min(round(end_s * rate), total)
            if 0 < position < end:
                file.seek(position)
            while position < end:
                size = min(round(ffmpeg.BLOCK_S * rate), end - position)
                if file.subtype == "PCM_16":  # the same values in a sixth of the time
                    samples = pcm.to_float(file.read(size, dtype="int16", always_2d=True))
                else:
                    samples = file.read(size, dtype="float32", always_2d=True)
                if len(samples) < size:
                    raise ValueError(f"ends after {position + len(samples)} of {total} samples")
                yield Block(position, samples, rate)
                position += size
        self.end_s = total / rate
        self.damage = self._found.cut_off if self._found and end_s > self.end_s else ""

    def _ffmpeg_blocks(self, begin_s: float, end_s: float) -> Iterator[Block]:
        source = self.path if self._content is None else self._content
        decoding = ffmpeg.Decoding(source, self._structure)
        try:
            yield from decoding.blocks(begin_s, end_s)
        except AudioError:
            raise
        except Exception as error:  # damaged bytes make decoders raise anything
            decoding.complaints.append(ffmpeg.complaint(error))
        self.end_s, self.damage = decoding.end_s, decoding.damage
        self.has_length = decoding.has_length
        complaints = [*self._complaints, *(f"FFmpeg: {words}" for words in decoding.complaints[:1])]
        if not self.end_s and decoding.complaints:
            raise AudioError(ffmpeg.UNDECODABLE, "; ".join(complaints))
        if end_s > self.end_s and self._found:
            self.damage = self.damage or self._found.cut_off

    def _structure(self, kind: str) -> structure.Findings:
        """What the structure of the file tells; it is followed once."""
        if self._found is None:
            if self._content is not None:
                self._found = structure.follow(self._content, kind.lower())
            elif not os.path.getsize(self.path):  # which cannot be mapped
                self._found = structure.Findings()
            else:
                with (
                    open(self.path, "rb") as file,
                    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
                ):
                    self._found = structure.follow(data, kind.lower())
        return self._found


def _content(path: str) -> bytes | None:
    """The bytes of a file that decoders cannot open by its path; None for other files."""
    if isinstance(path, members.MemberPath):
        from audioset_strong.audio.archives import catalogues  # takes a while, as pyarrow does

        try:
            return catalogues.read(path)
        except members.DamagedMemberError as error:
            raise AudioError(ffmpeg.UNDECODABLE, str(error)) from error
    return files.read_bytes(path) if files.is_remote(path) else None
