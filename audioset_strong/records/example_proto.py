"""The message `tf.train.Example` without TensorFlow, whose import takes seconds.

Protobuf needs no more of a message than the numbers and types of its fields. They are those of
`example.proto` and `feature.proto` in TensorFlow (tensorflow/core/example), so messages are written
to the same bytes and read from them. The definition has a pool of its own, where TensorFlow's does
not meet it.
"""

import functools
from typing import Any

_DEFINITION = """
name: "example.proto"
syntax: "proto3"
message_type {
  name: "Example"
  field { name: "features" number: 1 type: TYPE_MESSAGE type_name: ".Features" }
}
message_type {
  name: "Features"
  nested_type {
    name: "FeatureEntry"
    field { name: "key" number: 1 type: TYPE_STRING }
    field { name: "value" number: 2 type: TYPE_MESSAGE type_name: ".Feature" }
    options { map_entry: true }
  }
  field {
    name: "feature" number: 1 label: LABEL_REPEATED
    type: TYPE_MESSAGE type_name: ".Features.FeatureEntry"
  }
}
message_type {
  name: "Feature"
  oneof_decl { name: "kind" }
  field {
    name: "bytes_list" number: 1 type: TYPE_MESSAGE type_name: ".BytesList" oneof_index: 0
  }
  field {
    name: "float_list" number: 2 type: TYPE_MESSAGE type_name: ".FloatList" oneof_index: 0
  }
  field {
    name: "int64_list" number: 3 type: TYPE_MESSAGE type_name: ".Int64List" oneof_index: 0
  }
}
message_type {
  name: "BytesList"
  field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES }
}
message_type {
  name: "FloatList"
  field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_FLOAT }
}
message_type {
  name: "Int64List"
  field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 }
}
"""


@functools.cache
def message_class() -> Any:
    """The class of the message, to be used as `tf.train.Example` is.

    >>> example = message_class()()
    >>> example.features.feature["a"].int64_list.value.extend([1, 300])
    >>> message_class().FromString(example.SerializeToString()) == example
    True
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    definition = text_format.Parse(_DEFINITION, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(definition.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Example"))
