"""The message is TensorFlow's: equal bytes are written, and each reads what the other wrote."""

import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from audioset_strong.records import example_proto

VALUES = st.one_of(
    st.lists(st.binary(max_size=300), max_size=3),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    st.lists(st.floats(width=32, allow_nan=False), max_size=3),
)


def filled(example, values):
    for name, of_name in values.items():
        feature = example.features.feature[name]
        kind = {bytes: feature.bytes_list, int: feature.int64_list, float: feature.float_list}
        for value in of_name:
            kind[type(value)].value.append(value)
    return example


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=5))
def test_both_messages_have_the_same_bytes(values):
    ours, theirs = (
        filled(example_proto.message_class()(), values),
        filled(tf.train.Example(), values),
    )
    content = ours.SerializeToString(deterministic=True)
    assert content == theirs.SerializeToString(deterministic=True)
    assert tf.train.Example.FromString(content) == theirs
    assert example_proto.message_class().FromString(theirs.SerializeToString()) == ours
