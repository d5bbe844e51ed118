"""Where the value of a feature lies, for any Example that protobuf can write."""

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from audioset_strong.records import wire_format

NAMES = st.text(max_size=6)
VALUES = st.one_of(st.binary(max_size=300), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4))


@given(st.dictionaries(NAMES, VALUES, max_size=5), NAMES, st.binary(max_size=40_000))
def test_the_value_lies_where_it_is_found(others, name, value):
    example = tf.train.Example()
    for other, values in (others | {name: value}).items():
        feature = example.features.feature[other]
        if isinstance(values, bytes):
            feature.bytes_list.value.append(values)
        else:
            feature.int64_list.value.extend(values)
    content = example.SerializeToString()
    begin = wire_format.find_bytes(content, name)
    assert content[begin : begin + len(value)] == value
    # And nowhere else: with its first byte changed the message holds another value.
    if value:
        spoilt = bytearray(content)
        spoilt[begin] ^= 0xFF
        read = tf.train.Example.FromString(bytes(spoilt)).features.feature[name]
        assert read.bytes_list.value[0] == bytes([value[0] ^ 0xFF]) + value[1:]


def test_what_does_not_hold_the_value_is_refused():
    example = tf.train.Example()
    example.features.feature["audio"].bytes_list.value.append(bytes(1000))
    content = example.SerializeToString()
    with pytest.raises(ValueError, match="no feature 'video'"):
        wire_format.find_bytes(content, "video")
    for other in (b"", b"junk", bytes(50), b"\xff" * 50, *(content[:size] for size in range(15))):
        with pytest.raises(ValueError, match=r"cut off|no f"):
            wire_format.find_bytes(other, "audio")
