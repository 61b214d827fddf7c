"""The protobuf reader: the same result as protobuf's, and an error where it would have to guess."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from effort import cases
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from sentstream.bundle.graph import GRAPH, MODEL, NODE, OPSET, TENSOR
from sentstream.bundle.wire import Message, Quota, signed
from sentstream.errors import BundleGraphError

INT64 = st.integers(-(2**63), 2**63 - 1)


def read(data: bytes) -> Message:
    return Message(memoryview(data))


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, kind: int, rest: bytes = b"") -> bytes:
    return varint(number << 3 | kind) + rest


def held(number: int, data: bytes) -> bytes:
    return field(number, 2, varint(len(data)) + data)


@settings(max_examples=cases(100), deadline=None)
@given(INT64, st.text(max_size=20), st.lists(INT64, max_size=6), st.binary(max_size=20))
def test_tensor_matches_protobuf(kind: int, name: str, dims: list[int], raw: bytes) -> None:
    tensor = TensorProto(data_type=kind % 2**31, name=name, dims=dims, raw_data=raw)
    message = read(tensor.SerializeToString())
    assert message.number(TENSOR.data_type) == tensor.data_type
    assert message.text(TENSOR.name) == tensor.name
    assert message.numbers(TENSOR.dims) == list(tensor.dims)
    assert bytes(message.data(TENSOR.raw_data) or b"") == raw
    assert message.size == tensor.ByteSize()


@settings(max_examples=cases(100), deadline=None)
@given(st.lists(INT64, max_size=8), st.lists(st.text(max_size=8), max_size=4))
def test_packed_and_plain_lists_are_equal(numbers: list[int], names: list[str]) -> None:
    plain = b"".join(field(7, 0, varint(number % 2**64)) for number in numbers)
    packed = held(7, b"".join(varint(number % 2**64) for number in numbers))
    for data in (plain, packed):
        assert read(data).numbers(7) == numbers == list(TensorProto.FromString(data).int64_data)
    assert read(packed + plain).numbers(7) == numbers * 2
    node = onnx.NodeProto(input=names)
    assert read(node.SerializeToString()).texts(NODE.input) == names


@settings(max_examples=cases(100), deadline=None)
@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=5), INT64)
def test_nested_messages_match_protobuf(nodes: list[tuple[str, str]], version: int) -> None:
    graph = onnx.GraphProto(node=[onnx.NodeProto(op_type=kind, domain=domain) for kind, domain in nodes])
    model = onnx.ModelProto(graph=graph, opset_import=[helper.make_opsetid("", 17)], ir_version=version)
    message = read(model.SerializeToString())
    assert message.number(MODEL.ir_version) == version
    inner = message.message(MODEL.graph)
    assert inner is not None
    assert [(n.text(NODE.op_type), n.text(NODE.domain)) for n in inner.messages(GRAPH.node)] == nodes
    assert [one.number(OPSET.version) for one in message.messages(MODEL.opset_import)] == [17]
    assert MODEL.functions not in message


def test_missing_fields_are_empty() -> None:
    empty = read(b"")
    assert (empty.number(1), empty.number(1, 7), empty.text(2), empty.texts(2), empty.numbers(3)) == (
        0,
        7,
        "",
        [],
        [],
    )
    assert empty.message(4) is None
    assert empty.data(4) is None
    assert list(empty.messages(4)) == []
    assert 4 not in empty


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0), (1, 1), (2**63 - 1, 2**63 - 1), (2**63, -(2**63)), (2**64 - 1, -1)]
)
def test_numbers_are_signed(value: int, expected: int) -> None:
    assert signed(value) == expected
    assert read(field(1, 0, varint(value))).number(1) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",  # a key without a value
        b"\x08\x80",  # a number that is cut off
        b"\x08" + b"\xff" * 10 + b"\x01",  # eleven bytes
        b"\x08" + b"\xff" * 9 + b"\x02",  # 65 bits
        b"\x0a\x05abcd",  # fewer bytes than announced
        b"\x0a" + b"\xff" * 9 + b"\x01",  # a length of 2**64 - 1
        b"\x09\x00",  # a fixed64 that is cut off
        b"\x0d\x00\x00",  # a fixed32 that is cut off
        b"\x0b\x0c",  # a group
        b"\x0e",  # wire type 6
        b"\x0f",  # wire type 7
        b"\x00\x00",  # field number 0
        b"\x02\x00",  # field number 0 with bytes
        varint((2**29 + 7) << 3 | 2) + b"\x00",  # protobuf drops the high bits and sees field 7
        varint(1 << 35 | 7 << 3 | 2) + b"\x00",
    ],
)
def test_malformed_bytes_are_an_error(data: bytes) -> None:
    with pytest.raises(BundleGraphError, match="malformed"):
        read(data)


def test_field_numbers_over_29_bits_are_rejected() -> None:
    """C++ protobuf keeps 32 bits of a key: what reads as field 2**29 + 13 here is field 13 there."""
    tensor = TensorProto(name="t").SerializeToString()
    with pytest.raises(BundleGraphError):
        read(tensor + held(2**29 + TENSOR.external_data, b""))


@pytest.mark.parametrize(
    ("data", "use"),
    [
        (held(1, b"abc"), lambda message: message.number(1)),
        (field(1, 1, b"\0" * 8), lambda message: message.number(1)),
        (field(1, 0, b"\x05"), lambda message: message.text(1)),
        (field(1, 1, b"\x08\x01" * 4), lambda message: message.message(1)),
        (field(1, 5, b"\x08\x01" * 2), lambda message: message.text(1)),
        (field(1, 5, b"\x08\x01" * 2), lambda message: message.numbers(1)),
        (field(1, 0, b"\x05"), lambda message: list(message.messages(1))),
        (field(1, 0, b"\x05"), lambda message: message.data(1)),
        (held(1, b"\xff"), lambda message: message.text(1)),
        (held(1, b"\x80"), lambda message: message.numbers(1)),
        (held(1, b"\x0b"), lambda message: message.message(1)),
        (held(1, b"a") * 2, lambda message: message.text(1)),
        (field(1, 0, b"\x05") * 2, lambda message: message.number(1)),
        (held(1, b"") * 2, lambda message: message.message(1)),
    ],
)
def test_wrong_wire_type_or_duplicate_is_an_error(data: bytes, use: Any) -> None:
    message = read(data)
    assert 1 in message
    with pytest.raises(BundleGraphError, match="malformed"):
        use(message)


def test_too_many_fields_are_rejected() -> None:
    with pytest.raises(BundleGraphError, match="more fields"):
        Message(memoryview(b"\x08\x01" * 50), Quota(49))
    with pytest.raises(BundleGraphError, match="more fields"):
        Message(memoryview(held(1, b"\x01" * 50)), Quota(49)).numbers(1)
    nested = Message(memoryview(held(1, b"\x08\x01" * 30) * 2), Quota(50))
    with pytest.raises(BundleGraphError, match="more fields"):
        list(nested.messages(1))
    with pytest.raises(BundleGraphError, match="more fields"):
        read(b"\x08\x01" * 5_000_000)


def walk(message: Message, depth: int = 0) -> None:
    """Read every field in every way."""
    for number in range(40):
        for use in (message.number, message.text, message.texts, message.numbers, message.data):
            try:
                use(number)
            except BundleGraphError:
                continue
        try:
            inner = list(message.messages(number))
        except BundleGraphError:
            continue
        for one in inner if depth < 5 else ():
            walk(one, depth + 1)


@settings(max_examples=cases(100), deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_accepted_or_rejected(data: bytes) -> None:
    try:
        message = read(data)
    except BundleGraphError:
        return
    walk(message)


@settings(max_examples=cases(100), deadline=None)
@given(st.binary(max_size=40), st.data())
def test_accepted_bytes_match_protobuf(data: bytes, draw: st.DataObject) -> None:
    """If both accept some bytes as a tensor, they agree on the fields we read."""
    base = TensorProto(dims=[2, 3], data_type=1, name="x", raw_data=data).SerializeToString()
    place = draw.draw(st.integers(0, len(base) - 1))
    changed = bytearray(base)
    changed[place] ^= draw.draw(st.integers(1, 255))
    try:
        message = read(bytes(changed))
        ours = (message.numbers(TENSOR.dims), message.number(TENSOR.data_type), message.text(TENSOR.name))
    except BundleGraphError:
        return
    try:
        theirs = TensorProto.FromString(bytes(changed))
    except Exception:  # protobuf is stricter in places, and may be: ONNX Runtime refuses the file, too
        return
    assert ours[0] == list(theirs.dims)
    assert ours[1] % 2**32 == theirs.data_type % 2**32
    assert ours[2] == theirs.name
