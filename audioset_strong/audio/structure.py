"""Whether the structure of an audio file bears out the length that its header states.

Headers may lack a length, guess it, or lie: files are written to pipes, joined, cut off, or grow
beyond what a field can hold. Here the parts that a file consists of are followed from its beginning
to its end, without decoding them. Where they fit together, the length is exact and decoders may
seek; any other file has to be decoded from its beginning.

Sources: Microsoft's RIFF, EBU Tech 3306 (RF64), Sony's Wave64, Apple's AIFF, RFC 9639 (FLAC),
RFC 3533 (Ogg), ISO/IEC 11172-3 and 13818-3 (MPEG audio), ISO/IEC 13818-7 (ADTS).
"""

import dataclasses
import functools
import mmap
import struct
import zlib
from collections.abc import Callable

Bytes = bytes | mmap.mmap

_UNKNOWN_SIZE = 0xFFFFFFFF  # what is written to a pipe, or holds its size elsewhere (RF64)
_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
_W64_HEADER = 24  # bytes of a Wave64 chunk before its content; its size includes them
_READ_BYTES = 1 << 22  # looked at in one go
_TAGS = (b"TAG", b"ID3", b"APETAGEX")  # with which programs for music end any file
_FILES = (b"RIFF", b"RIFX", b"RF64", b"FORM")  # a whole file that another one was joined to
_MPEG_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_MPEG_KBITS = {  # by (whether MPEG-1, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_FLAC_BLOCKS = {
    1: 192,
    **{2 + i: 576 << i for i in range(4)},
    **{8 + i: 256 << i for i in range(8)},
}
_BIT_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclasses.dataclass(frozen=True)
class Findings:
    """What the structure of a file tells.

    Attributes:
      exact: whether the length that the header states is right.
      to_the_end: whether the samples last to the end of the file, whatever the header says.
      broken_at: the byte from which on nothing fits together, though sound follows: how much is
        missing there, and so the time of what follows, is not known. None where there is no such.
      starts_late: whether the beginning of the sound is missing, though timestamps tell its length.
      cut_off: what tells that the end of the file is missing, in words; "" if nothing does.
    """

    exact: bool = False
    to_the_end: bool = False
    broken_at: int | None = None
    starts_late: bool = False
    cut_off: str = ""


def follow(data: Bytes, kind: str) -> Findings:
    """Follows the structure of a file.

    Args:
      data: of the file.
      kind: of its container, as libsndfile or FFmpeg calls it, in lower case.

    Returns:
      What was found; nothing for kinds that are not known here.
    """
    return _FOLLOW.get(kind, lambda data: Findings())(data)


def _follow_wave(data: Bytes) -> Findings:
    """RIFF, RIFX, RF64 and BW64: chunks of name, size, content."""
    order = ">" if data[:4] == b"RIFX" else "<"
    position, size_64 = 12, None
    while position + 8 <= len(data):
        name, size = struct.unpack_from(f"{order}4sI", data, position)
        begin = position + 8
        if name == b"ds64" and begin + 16 <= len(data):
            (size_64,) = struct.unpack_from("<Q", data, begin + 8)
        if name == b"data":
            known = size != _UNKNOWN_SIZE
            if not known and size_64 is not None:
                size, known = size_64, True
            return _samples(data, begin, size, known=known, order=order)
        position = begin + size + size % 2
    return Findings()


def _follow_w64(data: Bytes) -> Findings:
    """Wave64: chunks of a GUID, a size of 64 bits and content, at multiples of 8 bytes."""
    position = len(_W64_RIFF) + 24
    while position + _W64_HEADER <= len(data):
        (size,) = struct.unpack_from("<Q", data, position + 16)
        begin = position + _W64_HEADER
        if data[position : position + 16] == _W64_DATA:
            size -= _W64_HEADER
            if size > len(data) - begin:
                return Findings(exact=True, cut_off=_claims(size, len(data) - begin))
            # Without a size the header cannot be told from one of an empty file.
            return Findings(exact=size > 0, to_the_end=size <= 0)
        if size < _W64_HEADER:
            break
        position += size + -size % 8
    return Findings()


def _follow_aiff(data: Bytes) -> Findings:
    position, stated = 12, 0
    while position + 16 <= len(data):
        name, size = struct.unpack_from(">4sI", data, position)
        if name == b"COMM":
            channels, frames, bits = struct.unpack_from(">hIh", data, position + 8)
            stated = channels * frames * -(-bits // 8)
        if name == b"SSND":
            (skipped,) = struct.unpack_from(">I", data, position + 8)
            if skipped and skipped + stated > size - 8:
                # Decoders skip these bytes, though the samples that are stated need them.
                return Findings(broken_at=position + 16)
            found = _samples(data, position + 8, size, known=True, order=">")
            # No decoder reads AIFF to its end whatever its header says.
            return dataclasses.replace(found, to_the_end=False)
        position += 8 + size + size % 2
    return Findings()


def _samples(data: Bytes, begin: int, size: int, *, known: bool, order: str) -> Findings:
    """What the size of the chunk of samples, which begins at a byte, is worth."""
    there = len(data) - begin
    if known and (size or not there) and size > there:
        return Findings(exact=True, cut_off=_claims(size, there))
    if known and any(_is_tail(data, begin + size + pad, order) for pad in {size % 2, 0}):
        return Findings(exact=True)
    return Findings(to_the_end=True)


def _claims(size: int, there: int) -> str:
    return f"cut off: the header claims {size} bytes of samples, there are {there}"


def _is_tail(data: Bytes, position: int, order: str) -> bool:
    """Whether chunks, tags or zeros follow, and nothing else, up to the end of the file."""
    while position < len(data):
        rest = data[position : position + 8]
        if rest.startswith(_TAGS) or not any(rest):
            return rest.startswith(_TAGS) or _is_zero(data, position)
        name, size = rest[:4], rest[4:]
        if len(rest) < 8 or name in _FILES or not all(32 <= letter < 127 for letter in name):
            return False
        position += 8 + struct.unpack(f"{order}I", size)[0]
        position += position % 2
    return position <= len(data) + 1  # the last chunk may lack its padding


def _is_zero(data: Bytes, position: int) -> bool:
    """Whether all bytes from a position on are zero; they may be gigabytes."""
    zeros = bytes(_READ_BYTES)
    for begin in range(position, len(data), _READ_BYTES):
        read = data[begin : begin + _READ_BYTES]
        if read != zeros[: len(read)]:
            return False
    return True


def _follow_flac(data: Bytes) -> Findings:
    """Exact if the last frame of the one stream ends where the header says that it does."""
    position = _behind_id3(data)
    if data[position : position + 4] != b"fLaC" or len(data) < position + 42:
        return Findings()
    fields = struct.unpack_from(">HH6sQ", data, position + 8)
    block, total = fields[1], fields[3] & (1 << 36) - 1
    last, position = False, position + 4
    while not last and position + 4 <= len(data):
        last = bool(data[position] & 0x80)
        position += 4 + int.from_bytes(data[position + 1 : position + 4], "big")
    candidate = len(data)
    if data.find(b"fLaC", position) >= 0:  # files that were joined
        return Findings()
    while total and (candidate := data.rfind(b"\xff", position, candidate)) >= 0:
        end = _flac_frame_end(data, candidate, block)
        if end is not None:
            return Findings(exact=end == total)
    return Findings()


def _flac_frame_end(data: Bytes, position: int, block: int) -> int | None:
    """The number of the sample behind a frame; None if no frame header is there."""
    head = bytes(data[position : position + 16])
    if len(head) < 6 or head[1] not in (0xF8, 0xF9) or head[3] & 1:
        return None
    code, rate_code = head[2] >> 4, head[2] & 15
    more = (f"{head[4]:08b}".find("0") or 1) - 1  # bytes of the number behind its first one
    if not 0 <= more <= 6 or code == 0 or rate_code == 15:
        return None
    number = head[4] & (0x7F if more == 0 else (1 << (6 - more)) - 1)
    for byte in head[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    rest = 5 + more
    size_bytes = {6: 1, 7: 2}.get(code, 0)
    samples = _FLAC_BLOCKS.get(code) or int.from_bytes(head[rest : rest + size_bytes], "big") + 1
    rest += size_bytes + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if rest >= len(head) or _crc8(head[:rest]) != head[rest]:
        return None
    return (number if head[1] & 1 else number * block) + samples


def _crc8(data: bytes) -> int:
    """The check sum of FLAC's frame headers: x^8 + x^2 + x + 1."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc << 1 ^ (0x107 if crc & 0x80 else 0)
    return crc


def _follow_ogg(data: Bytes) -> Findings:
    """Exact if there is one stream, of which no page is missing or damaged.

    In one stream timestamps tell how much is missing. Those of joined streams begin anew.
    """
    position, streams, broken_at = 0, 0, None
    sound = starts_late = False
    expected, flags = (0, 0), 0  # serial number and number of the next page
    while position < len(data):
        page = _ogg_page(data, position)
        if page is None:
            broken_at = position if broken_at is None else broken_at
            starts_late |= not sound
            position = data.find(b"OggS", position + 1)
            if position < 0:
                break
            continue
        begins_after_begin = flags & 2
        flags, serial, number, end = page
        if flags & 2 and begins_after_begin:  # sound and pictures side by side
            return Findings()
        streams += bool(flags & 2)
        if not flags & 2 and (serial, number) != expected:
            broken_at = position if broken_at is None else broken_at
            starts_late |= not sound
        sound |= int.from_bytes(data[position + 6 : position + 14], "little", signed=True) > 0
        expected, position = (serial, number + 1), end
    cut_off = "cut off: its last page is not whole or not marked as the last one"
    return Findings(
        exact=streams == 1 and broken_at is None,
        broken_at=broken_at if streams > 1 else None,
        starts_late=starts_late and streams == 1,
        cut_off="" if flags & 4 and position >= 0 else cut_off,
    )


def _ogg_page(data: Bytes, position: int) -> tuple[int, int, int, int] | None:
    """(flags, serial number, number of the page, byte behind it); None where there is no page."""
    if position + 27 > len(data):
        return None
    magic, _, flags, _, serial, number, crc, segments = struct.unpack_from(
        "<4sBBqIIIB", data, position
    )
    begin = position + 27
    end = begin + segments + sum(data[begin : begin + segments])
    if magic != b"OggS" or end > len(data):
        return None
    page = bytes(data[position:end])
    if _ogg_crc(page[:22] + bytes(4) + page[26:]) != crc:
        return None
    return flags, serial, number, end


def _ogg_crc(page: bytes) -> int:
    """zlib's check sum has the same polynomial, takes bits the other way round and inverts them."""
    crc = ~zlib.crc32(page.translate(_BIT_REVERSED), 0xFFFFFFFF) & 0xFFFFFFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(_BIT_REVERSED), "big")


def _follow_mp3(data: Bytes) -> Findings:
    """Exact if the first frame states the number of frames, and so many follow it to the end."""
    begin, frames, broken_at = _walk(data, _mpeg_frame)
    stated = None if begin is None else _stated_frames(data, begin)
    if stated is None or stated == frames - 1:
        return Findings(exact=stated is not None and broken_at is None, broken_at=broken_at)
    missing = stated > frames - 1 and broken_at is None
    words = f"cut off: the header claims {stated} frames, there are {frames - 1}"
    return Findings(broken_at=broken_at, cut_off=words * missing)


def _stated_frames(data: Bytes, begin: int) -> int | None:
    """The number of frames in the header named Xing or Info; None without one."""
    one, mono = data[begin + 1] >> 3 & 3 == 3, data[begin + 3] >> 6 == 3
    position = begin + 4 + ((17 if mono else 32) if one else (9 if mono else 17))
    if data[position : position + 4] not in (b"Xing", b"Info") or position + 12 > len(data):
        return None
    flags, frames = struct.unpack_from(">II", data, position + 4)
    return frames if flags & 1 else None


def _follow_adts(data: Bytes) -> Findings:
    return Findings(broken_at=_walk(data, _adts_frame)[2])


def _walk(
    data: Bytes, frame_bytes: Callable[[Bytes, int], int | None]
) -> tuple[int | None, int, int | None]:
    """(where the first frame is, number of frames, where they break off though more follow)."""
    begin = position = _next_frames(data, _behind_id3(data), frame_bytes)
    frames = 0
    while position is not None and position < len(data):
        size = frame_bytes(data, position)
        if size is not None:
            frames += position + size <= len(data)
            position += size
            continue
        behind = _behind_tags(data, position)
        if behind == position:
            more = _next_frames(data, position, frame_bytes)
            return begin, frames, None if more is None else position
        position = behind
    return begin, frames, None


def _next_frames(
    data: Bytes, position: int, frame_bytes: Callable[[Bytes, int], int | None]
) -> int | None:
    """The next byte at which two frames follow each other."""
    while (position := data.find(b"\xff", position)) >= 0:
        size = frame_bytes(data, position)
        if size is not None and frame_bytes(data, position + size) is not None:
            return position
        position += 1
    return None


def _behind_tags(data: Bytes, position: int) -> int:
    """The byte behind the tag or the zeros at a position."""
    if data[position : position + 3] == b"TAG":
        return position + 128
    if data[position : position + 8] == b"APETAGEX" and position + 24 <= len(data):
        size, _, flags = struct.unpack_from("<III", data, position + 12)
        return position + 32 + (size if flags >> 29 & 1 else 0)
    if data[position : position + 3] == b"ID3":
        return _behind_id3(data, position)
    while data[position : position + 1] == b"\0":
        position += 1
    return position


def _behind_id3(data: Bytes, position: int = 0) -> int:
    """The byte behind an ID3v2 tag, if there is one."""
    head = bytes(data[position : position + 10])
    if len(head) < 10 or head[:3] != b"ID3":
        return position
    size = functools.reduce(lambda size, byte: size << 7 | byte & 0x7F, head[6:], 0)
    return position + 10 + size + (10 if head[5] & 0x10 else 0)


def _mpeg_frame(data: Bytes, position: int) -> int | None:
    """Bytes of the MPEG audio frame at a position; None if none is there."""
    if position + 4 > len(data) or data[position] != 0xFF:
        return None
    return _mpeg_bytes(data[position + 1], data[position + 2])


@functools.cache
def _mpeg_bytes(second: int, third: int) -> int | None:
    """Bytes of a frame by the second and the third byte of its header."""
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    kbits, rate = third >> 4, third >> 2 & 3
    if second < 0xE0 or version == 1 or layer == 4 or kbits in (0, 15) or rate == 3:
        return None
    hz = _MPEG_RATES[version][rate]
    bits = 1000 * _MPEG_KBITS[version == 3, layer][kbits - 1]
    padding = third >> 1 & 1
    if layer == 1:
        return 4 * (12 * bits // hz + padding)
    samples = 576 if layer == 3 and version != 3 else 1152
    return samples // 8 * bits // hz + padding


def _adts_frame(data: Bytes, position: int) -> int | None:
    """Bytes of the ADTS frame at a position; None if none is there."""
    if position + 7 > len(data) or data[position] != 0xFF or data[position + 1] & 0xF6 != 0xF0:
        return None
    size = int.from_bytes(data[position + 3 : position + 6], "big") >> 5 & 0x1FFF
    return size if size >= 7 and data[position + 2] >> 2 & 15 < 13 else None


_FOLLOW: dict[str, Callable[[Bytes], Findings]] = {
    "wav": _follow_wave,
    "wavex": _follow_wave,
    "rf64": _follow_wave,
    "w64": _follow_w64,
    "aiff": _follow_aiff,
    "flac": _follow_flac,
    "ogg": _follow_ogg,
    "mp3": _follow_mp3,
    "mpeg": _follow_mp3,
    "aac": _follow_adts,
}
