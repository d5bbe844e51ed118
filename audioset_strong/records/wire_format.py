"""Where in a serialized `tf.train.Example` the bytes of a feature lie.

Protobuf's own parser copies every value and does not say where it was. Whoever wants to read a part
of a large value later, straight from the file, needs its offset.
"""

from collections.abc import Iterator


def find_bytes(example: bytes, name: str) -> int:
    """Finds the one value of a bytes feature, on its way through the nested messages.

    An Example holds Features (field 1), a map (1) whose entries have a key (1) and a value (2); the
    value is a Feature with a BytesList (1) that holds the bytes (1).

    >>> find_bytes(b"\\x0a\\x0b\\x0a\\x09\\x0a\\x01a\\x12\\x04\\x0a\\x02\\x0a\\x00", "a")
    13

    Args:
      example: the serialized message.
      name: of the feature.

    Returns:
      The first byte of the value.

    Raises:
      ValueError: there is no such feature, or this is not an Example.
    """
    view = memoryview(example)
    try:
        features = _first(view, (0, len(view)), number=1)
        for entry in _fields(view, features, number=1):
            key_begin, key_end = _first(view, entry, number=1)
            if view[key_begin:key_end] == name.encode():
                for number in (2, 1, 1):
                    entry = _first(view, entry, number=number)
                return entry[0]
    except IndexError:
        raise ValueError("a message that is cut off") from None
    raise ValueError(f"no feature {name!r}")


def _first(view: memoryview, message: tuple[int, int], *, number: int) -> tuple[int, int]:
    for field in _fields(view, message, number=number):
        return field
    raise ValueError(f"no field {number} in bytes {message[0]} to {message[1]}")


def _fields(
    view: memoryview, message: tuple[int, int], *, number: int
) -> Iterator[tuple[int, int]]:
    """Begin and end of each field of a number, in a message all of whose fields have a length."""
    begin, end = message
    while begin < end:
        tag, begin = _varint(view, begin)
        length, begin = _varint(view, begin)
        if tag == number << 3 | 2:
            yield begin, begin + length
        begin += length


def _varint(view: memoryview, begin: int) -> tuple[int, int]:
    """(value, where it ends) of protobuf's integers of variable length."""
    value = shift = 0
    while view[begin] & 0x80:
        value |= (view[begin] & 0x7F) << shift
        begin, shift = begin + 1, shift + 7
    return value | view[begin] << shift, begin + 1
