"""Reading the text from a message's value, and writing the result into it."""

from __future__ import annotations

import gc
import json
import math
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from effort import cases
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.errors import (
    MessageClashError,
    MessageDecodeError,
    MessageError,
    MessageFieldError,
    UsageError,
)
from sentstream.kafka.messages.codec import TEXT_FIELDS, Codec

LABELS = ["negative", "neutral", "positive"]


def codec(format: Any = "json", field: str | None = None, prefix: str = "sentiment") -> Codec:
    return Codec(format, field=field, prefix=prefix, labels=LABELS)


def scored(codec: Codec, shares: Sequence[Sequence[float] | None]) -> pa.RecordBatch:
    """Columns like the scorer's, after a column of texts; None is an unlabeled row."""
    blank = np.array([row is None for row in shares], bool)
    table = np.array([row or (0.0, 0.0, 0.0) for row in shares], np.float32).reshape(-1, 3)
    names = [None if row is None else LABELS[int(np.argmax(row))] for row in shares]
    arrays = [pa.array(names, pa.string()), pa.array(table.max(axis=1), mask=blank)]
    arrays += [pa.array(np.ascontiguousarray(column), mask=blank) for column in table.T]
    texts = pa.array([None] * len(shares), pa.string())
    return pa.RecordBatch.from_arrays([texts, *arrays], ["tweet", *codec.added])


def one_output(codec: Codec, value: bytes, shares: Sequence[float] | None = (0.125, 0.25, 0.625)) -> bytes:
    (output,) = codec.outputs([value], [codec.text(value)], scored(codec, [shares]))
    return output


ADDED = (
    b'"sentiment":"positive","sentiment_score":0.625,"sentiment_prob_negative":0.125,'
    b'"sentiment_prob_neutral":0.25,"sentiment_prob_positive":0.625}'
)


class TestTextDetection:
    @pytest.mark.parametrize(
        ("message", "text"),
        [
            ({"text": "hello"}, "hello"),
            ({"id": 1, "text": ""}, ""),
            # v1.1, streaming: cut text beside the whole one.
            ({"text": "cut…", "truncated": True, "extended_tweet": {"full_text": "whole"}}, "whole"),
            ({"text": "short", "truncated": False, "retweeted_status": {"full_text": "no"}}, "short"),
            # v1.1, tweet_mode=extended.
            ({"full_text": "whole", "retweeted_status": {"text": "no"}}, "whole"),
            # v2, alone, within an envelope, and longer than 280 characters.
            ({"data": {"id": "7", "text": "enveloped"}, "includes": {}}, "enveloped"),
            ({"data": {"text": "cut…", "note_tweet": {"text": "long"}}}, "long"),
            ({"text": "cut…", "note_tweet": {"text": "long"}}, "long"),
            # What a writer leaves null is not there.
            ({"full_text": None, "extended_tweet": None, "text": "here", "data": None}, "here"),
            ({"text": None, "data": {"text": "here"}}, "here"),
            ({"text": None}, None),
            ({"full_text": None, "text": None}, None),
        ],
    )
    def test_common_tweet_shapes(self, message: dict[str, Any], text: str | None) -> None:
        assert codec().text(json.dumps(message).encode()) == text

    @pytest.mark.parametrize(
        "message",
        [{}, {"delete": {"status": {"id": 1}}}, {"data": [{"text": "one of many"}]}, {"data": None}],
    )
    def test_missing_text_error_lists_the_fields(self, message: dict[str, Any]) -> None:
        with pytest.raises(MessageFieldError) as caught:
            codec().text(json.dumps(message).encode())
        assert all(name in caught.value.message for name in (*TEXT_FIELDS, *map(repr, message)))
        assert "--text-field" in str(caught.value)

    @pytest.mark.parametrize(
        ("value", "kind"),
        [("5", "a number"), ("[1]", "an array"), ("{}", "an object"), ("true", "a boolean")],
    )
    def test_non_string_text_is_an_error(self, value: str, kind: str) -> None:
        with pytest.raises(MessageFieldError, match=f"^the text field 'text' holds {kind}, not text$"):
            codec().text(b'{"full_text":null,"text":' + value.encode() + b"}")
        with pytest.raises(MessageFieldError, match=f"'a.b' holds {kind}"):
            codec(field="a.b").text(b'{"a":{"b":' + value.encode() + b"}}")


class TestNamedField:
    @pytest.mark.parametrize(
        ("field", "message", "text"),
        [
            ("tweet", {"tweet": "hi", "text": "no"}, "hi"),
            ("payload.tweet.text", {"payload": {"tweet": {"text": "deep"}}}, "deep"),
            ("a.b", {"a.b": "literal", "a": {"b": "nested"}}, "literal"),
            ("a.b", {"a.b": None, "a": {"b": "nested"}}, None),
            ("after.text", {"before": {"text": "x"}, "after": None, "op": "d"}, None),
            ("größe", {"größe": "ja"}, "ja"),
        ],
    )
    def test_field_paths(self, field: str, message: dict[str, Any], text: str | None) -> None:
        assert codec(field=field).text(json.dumps(message).encode()) == text

    @pytest.mark.parametrize("message", [{"text": "x"}, {"a": {}}, {"a": "b"}, {"a": [{"b": "x"}]}])
    def test_missing_named_field_is_an_error(self, message: dict[str, Any]) -> None:
        with pytest.raises(MessageFieldError, match=r"^no field 'a\.b'; its fields: '(text|a)' \("):
            codec(field="a.b").text(json.dumps(message).encode())


class TestStrictJson:
    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (b"", "not JSON: the message is empty"),
            (b" \n", "not JSON: the message is empty"),
            (b"hello", "not JSON: expecting value at character 0"),
            (b'{"text":"a"', "not JSON: expecting ',' delimiter at character 11"),
            (b'{"text": }', "not JSON: expecting value at character 9"),
            (b"{'text':'a'}", "property name enclosed in double quotes at character 1"),
            (b'{"text":"a\nb"}', "not JSON: invalid control character at character 10"),
            (b'{"text":"a', "not JSON: unterminated string starting at character 8"),
            (b'{"text":"\\x"}', "not JSON: invalid \\escape at character 9"),
            (b'{"text":"a","x":NaN}', "not JSON: NaN is not a JSON number"),
            (b'{"text":"a","x":-Infinity}', "not JSON: -Infinity is not a JSON number"),
            (b'{"text":"a","x":01}', "not JSON"),
            (b'{"text":"a"} {"text":"b"}', "not one JSON object: extra data at character 13"),
            (b'{"text":"a"}x', "not one JSON object: extra data at character 12"),
            ('{"text":"a"}\ufeff'.encode(), "not one JSON object: extra data at character 12"),
            ('{"text":"a"}\u00a0'.encode(), "not one JSON object: extra data at character 12"),
            (b'[{"text":"a"}]', "the message is an array, not a JSON object"),
            (b'"text"', "the message is a string, not a JSON object"),
            (b"5", "the message is a number, not a JSON object"),
            (b"null", "the message is null, not a JSON object"),
            (b'{"text":"\xff"}', "not UTF-8: invalid start byte at byte 9"),
            (b'{"text":"\xed\xa0\xbd"}', "not UTF-8: invalid continuation byte at byte 9"),
            ('{"text":"a"}'.encode("utf-16"), "not UTF-8: invalid start byte at byte 0"),
            (b'{"text":' + b"[" * 100_000, "the message is nested too deeply"),
            (b'{"x":' * 100_000, "the message is nested too deeply"),
        ],
    )
    def test_non_object_is_an_error(self, value: bytes, message: str) -> None:
        with pytest.raises(MessageDecodeError) as caught:
            codec().text(value)
        assert message in caught.value.message

    def test_schema_registry_header_is_named(self) -> None:
        with pytest.raises(MessageDecodeError, match="Schema Registry"):
            codec().text(b'\0\0\0\0\1{"text":"a"}')

    @pytest.mark.parametrize(
        "number", ["9" * 50_000, "-" + "9" * 5000, "0." + "1" * 50_000, "1e999999", "-0"]
    )
    def test_long_numbers(self, number: str) -> None:
        value = b'{"text":"a","n":' + number.encode() + b"}"
        assert codec().text(value) == "a"
        assert one_output(codec(), value) == value[:-1] + b"," + ADDED

    def test_last_duplicate_field_wins(self) -> None:
        assert codec().text(b'{"text":"a","text":"b"}') == "b"

    def test_lone_surrogates_are_replaced_in_the_text_only(self) -> None:
        value = b'{"text":"a\\ud83d \\ud83d\\ude00 \\ude00"}'
        assert codec().text(value) == "a\ufffd \U0001f600 \ufffd"
        assert one_output(codec(), value) == value[:-1] + b"," + ADDED

    @settings(deadline=None)
    @given(st.binary(max_size=60) | st.text('{}[]":,\\ut0aNe-. \ufeff', max_size=30).map(str.encode))
    def test_any_bytes_give_text_or_a_short_printable_error(self, value: bytes) -> None:
        for reader in (codec(), codec(field="a.t"), codec("text")):
            (got,) = reader.texts([value])
            if isinstance(got, MessageError):
                assert str(got).isprintable()
                assert len(str(got)) < 300
            else:
                assert got is None or got.isascii() or got.encode()

    @settings(deadline=None)
    @given(st.dictionaries(st.text(), st.none(), max_size=20))
    def test_errors_quote_little_of_odd_keys(self, message: dict[str, None]) -> None:
        message = {f"{key}-": None for key in message}
        with pytest.raises(MessageFieldError) as caught:
            codec(field="text").text(json.dumps(message).encode())
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 100 + 8 * 10 * 45


class TestClash:
    @pytest.mark.parametrize(
        "name", [b"sentiment", b"sentiment_score", b"sentiment_prob_neutral", b"s\\u0065ntiment"]
    )
    def test_existing_output_field_is_an_error(self, name: bytes) -> None:
        value = b'{"text":"a","' + name + b'":null}'
        with pytest.raises(MessageClashError, match="choose another --prefix"):
            codec().text(value)
        assert codec(prefix="mood").text(value) == "a"

    def test_nested_field_does_not_clash(self) -> None:
        assert codec().text(b'{"text":"a","x":{"sentiment":1},"sentiments":2}') == "a"


class TestOutput:
    @pytest.mark.parametrize(
        ("value", "output"),
        [
            (b'{"text":"a"}', b'{"text":"a",' + ADDED),
            (b' {"text" : "a" , "id":12345678901234567890, "x":1.50e+3 }\r\n', None),
            (b'{"text":"a","x":{}}', b'{"text":"a","x":{},' + ADDED),
            (b'{"text":"a {"}', b'{"text":"a {",' + ADDED),
            (b'\xef\xbb\xbf{"text":"a"}\n', b'\xef\xbb\xbf{"text":"a",' + ADDED),
        ],
    )
    def test_original_bytes_are_kept(self, value: bytes, output: bytes | None) -> None:
        assert one_output(codec(), value) == (output or value.rstrip()[:-1] + b"," + ADDED)

    @pytest.mark.parametrize("value", [b"{}", b"{ }", b" {\n} \n", b"\xef\xbb\xbf{}"])
    def test_empty_object_gets_no_comma(self, value: bytes) -> None:
        made = codec()
        (output,) = made.outputs([value], [None], scored(made, [(0.125, 0.25, 0.625)]))
        assert output == value.rstrip()[:-1] + ADDED

    def test_unlabeled_message_has_null_fields(self) -> None:
        output = json.loads(one_output(codec(), b'{"text":null}', None))
        assert output == {"text": None, **dict.fromkeys(codec().added)}

    def test_plain_text_is_wrapped(self) -> None:
        value = 'a "quote"\n\0 \u2028 😀 \\'.encode()
        output = one_output(codec("text"), value)
        assert output.endswith(b"," + ADDED)
        assert json.loads(output)["text"].encode() == value
        assert "😀" in output.decode()

    def test_plain_text_may_be_empty_but_must_be_utf8(self) -> None:
        assert json.loads(one_output(codec("text"), b"", None))["text"] == ""
        with pytest.raises(MessageDecodeError, match="not UTF-8: invalid start byte at byte 1"):
            codec("text").text(b"a\xff")

    def test_no_rows(self) -> None:
        for made in (codec(), codec("text")):
            assert not made.texts([])
            assert not made.outputs([], [], scored(made, []))

    def test_sliced_columns(self) -> None:
        made = codec()
        batch = scored(made, [(1, 0, 0), (0.125, 0.25, 0.625), None]).slice(1, 1)
        assert made.outputs([b'{"text":"a"}'], ["a"], batch) == [b'{"text":"a",' + ADDED]

    def test_wrong_number_of_rows_is_rejected(self) -> None:
        for made in (codec(), codec("text")):
            with pytest.raises(ValueError, match="zip"):
                made.outputs([b"{}"] * 2, ["a"] * 2, scored(made, [None]))

    def test_non_finite_numbers_become_null(self) -> None:
        made = codec()
        batch = scored(made, [(math.nan, math.inf, -math.inf)])
        (output,) = made.outputs([b"{}"], [None], batch)
        added = json.loads(output, parse_constant=pytest.fail)
        assert [added[f"sentiment_prob_{label}"] for label in LABELS] == [None] * 3

    def test_unusual_names_are_escaped(self) -> None:
        made = Codec("json", field=None, prefix='a"\\é\n', labels=['x"', "\u2028"])
        columns = [pa.array(["\u2028"]), *(pa.array([0.5], pa.float32()) for _ in range(3))]
        (output,) = made.outputs([b"{}"], [None], pa.RecordBatch.from_arrays(columns, list(made.added)))
        assert json.loads(output) == dict(zip(made.added, ["\u2028", 0.5, 0.5, 0.5], strict=True))

    def test_uncertain_label_is_written(self) -> None:
        made = codec()
        columns = [pa.array(["uncertain", None, LABELS[0]]), *[pa.nulls(3, pa.float32())] * 4]
        batch = pa.RecordBatch.from_arrays(columns, list(made.added))
        outputs = made.outputs([b"{}"] * 3, [None] * 3, batch)
        assert [json.loads(one)["sentiment"] for one in outputs] == ["uncertain", None, LABELS[0]]

    @settings(deadline=None)
    @given(
        st.lists(
            st.floats(0, 1, width=32) | st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1
        )
    )
    def test_numbers_round_trip_as_float32(self, numbers: list[float]) -> None:
        made, rows = codec(), len(numbers)
        batch = scored(made, [(number, number, number) for number in numbers])
        outputs = made.outputs([b"{}"] * rows, [None] * rows, batch)
        read = [json.loads(output)["sentiment_score"] for output in outputs]
        assert np.array_equal(np.array(read, np.float64).astype(np.float32), np.array(numbers, np.float32))

    def test_numbers_are_shortest(self) -> None:
        made = codec()
        numbers = np.random.default_rng(7).random(2000, np.float32)
        batch = scored(made, [(number, number, number) for number in numbers.tolist()])
        outputs = made.outputs([b"{}"] * 2000, [None] * 2000, batch)
        shortest = [np.format_float_positional(number, unique=True) for number in numbers]
        for output, expected in zip(outputs, shortest, strict=True):
            spelled = output.partition(b'"sentiment_score":')[2].partition(b",")[0].decode()
            assert len(spelled) <= len(expected)


def jsons() -> st.SearchStrategy[Any]:
    """Any JSON value."""
    leaves = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text()
    )
    return st.recursive(
        leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12
    )


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """Any object that has a text or may lack it, in one of many spellings."""
    before = draw(st.dictionaries(st.text(), jsons(), max_size=4))
    after = draw(st.dictionaries(st.text(min_size=1), jsons(), max_size=4))
    message = {**before, "text": None, **after}
    message["text"] = draw(st.none() | st.text())
    space = draw(st.sampled_from(["", " ", "\n\t", "\r\n  "]))
    text = json.dumps(
        message,
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 0, 3])),
        separators=draw(st.sampled_from([(",", ":"), (" , ", " : ")])),
    )
    return f"{draw(st.sampled_from(['', chr(0xFEFF)]))}{space}{text}{space}".encode()


class TestProperties:
    @settings(max_examples=cases(25), deadline=None)
    @given(
        st.lists(st.tuples(objects(), st.none() | st.tuples(*[st.floats(0, 1, width=32)] * 3)), max_size=8),
        st.sampled_from(["sentiment", "s", "größe", 'q"', "data.x "]),
    )
    def test_output_is_the_object_with_fields_appended(
        self, rows: list[tuple[bytes, tuple[float, ...] | None]], prefix: str
    ) -> None:
        made = codec(prefix=prefix, field="text")
        values = [value for value, _ in rows]
        texts = made.texts(values)
        originals = [json.loads(value) for value in values]
        assert texts == [original["text"] for original in originals]
        batch = scored(made, [shares for _, shares in rows])
        outputs = made.outputs(values, [None] * len(rows), batch)
        added = batch.select(made.added).to_pylist()
        for value, original, output, fields in zip(values, originals, outputs, added, strict=True):
            body = value.decode().rstrip(" \t\r\n")[:-1].encode()
            assert output.startswith(body)
            read = json.loads(output)
            assert list(read) == [*original, *made.added]
            assert {name: read[name] for name in original} == original
            for name in made.added:
                number = read[name]
                assert (np.float32(number) if isinstance(number, float | int) else number) == fields[name]

    @settings(deadline=None)
    @given(st.lists(st.text()))
    def test_plain_text_round_trip(self, texts: list[str]) -> None:
        made = codec("text")
        values = [text.encode() for text in texts]
        assert made.texts(values) == texts
        outputs = made.outputs(values, texts, scored(made, [None] * len(texts)))
        assert [json.loads(output)["text"] for output in outputs] == texts

    @settings(deadline=None)
    @given(
        st.lists(st.sampled_from([b'{"text":"a"}', b'{"text":null}', b"{", b"{}", b'{"text":1}', b"\xff"]))
    )
    def test_batch_equals_single_messages(self, values: list[bytes]) -> None:
        made = codec()
        for value, got in zip(values, made.texts(values), strict=True):
            try:
                expected: object = made.text(value)
            except MessageError as error:
                expected = (type(error), str(error))
            assert ((type(got), str(got)) if isinstance(got, MessageError) else got) == expected


def test_errors_do_not_keep_batches_alive() -> None:
    class Values(list[bytes]):
        pass

    values = Values([b"{", b"\xff", b"[" * 100_000])
    errors = codec().texts(values)
    assert all(isinstance(error, MessageDecodeError) and error.__traceback__ is None for error in errors)
    gone = weakref.ref(values)
    gc.disable()
    try:
        del values
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("format", "field", "prefix"),
    [
        ("json", None, ""),
        ("json", "", "s"),
        ("text", "text", "s"),
        ("text", None, "text"),
        ("json", None, "\udcff"),
    ],
)
def test_invalid_settings(format: Any, field: str | None, prefix: str) -> None:
    with pytest.raises(UsageError):
        codec(format, field, prefix)
