"""Protocol buffers whose messages are declared here: few fields of others' formats."""

from collections.abc import Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def message_class(name: str, fields: Sequence[tuple[str, str, str, str, int]]) -> Any:
    """The class of a message.

    `fields` are (message, label, type, name, number) of the fields to read, in this message and in
    those that it contains.
    """
    proto = descriptor_pb2.FieldDescriptorProto
    schema = descriptor_pb2.FileDescriptorProto(name="schema.proto")
    names = dict.fromkeys(message for message, *_ in fields)
    messages = {message: schema.message_type.add(name=message) for message in names}
    for message, label, kind, field_name, number in fields:
        field = messages[message].field.add(name=field_name, number=number)
        field.label = getattr(proto, f"LABEL_{label.upper()}")
        if kind in messages:
            field.type, field.type_name = proto.TYPE_MESSAGE, f".{kind}"
        else:
            field.type = getattr(proto, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(schema)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
