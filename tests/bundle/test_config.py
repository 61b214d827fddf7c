"""``config.json``: what it may contain; everything else is rejected."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from effort import cases
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.bundle.config import (
    MOST_CHARS,
    SCHEMA_VERSION,
    check_config,
    dump_config,
    load_config,
    make_config,
    with_reference,
)
from sentstream.drift.distribution import Distribution
from sentstream.drift.held_out import HeldOut
from sentstream.errors import BundleSchemaError
from sentstream.text import TextRules, Vocabulary


def good(**changes: Any) -> dict[str, Any]:
    """A config that is accepted, with some of its keys changed."""
    config = make_config(
        name="some-model",
        version="1.2.3",
        labels=("negative", "positive"),
        rules=TextRules(),
        vocabulary=Vocabulary(["<pad>", "<unk>", "hi"]),
    )
    return {**config, **changes}


def encoded(config: Any) -> bytes:
    return json.dumps(config).encode()


def test_round_trip() -> None:
    config = good()
    raw, read = load_config(dump_config(config))
    assert raw == config
    assert (read.name, read.version, read.labels) == ("some-model", "1.2.3", ("negative", "positive"))
    assert (read.words, read.pairs, read.inputs, read.output) == (3, 0, ("words",), "probabilities")
    assert (read.rules, read.max_chars, read.opset) == (TextRules(), 1000, 17)


def test_bytes_do_not_depend_on_key_order() -> None:
    config = good(metrics={"b": 1, "a": {"d": 2.5, "c": "ü"}})
    turned = dict(reversed(config.items()))
    assert dump_config(config) == dump_config(turned)
    assert "ü".encode() in dump_config(config)


@pytest.mark.parametrize("key", list(good()))
def test_every_key_is_required(key: str) -> None:
    config = good()
    del config[key]
    with pytest.raises(BundleSchemaError, match=key):
        load_config(encoded(config))


def held_out(*labels: str) -> HeldOut:
    counts = dict.fromkeys(labels, 700)
    scores = np.linspace(0.5, 1, 700 * len(labels), dtype=np.float32)
    return HeldOut("validation rows of a.csv", Distribution.of(counts, scores, 9_000, 100))


class TestReference:
    def test_config_without_reference_uses_the_old_schema(self) -> None:
        assert good()["schema_version"] == 1
        assert check_config(good()).reference is None
        assert check_config(good(schema_version=2)).reference is None

    def test_config_with_reference_uses_the_new_schema(self) -> None:
        config = with_reference(good(), held_out("positive", "negative"))
        assert config["schema_version"] == SCHEMA_VERSION == 2
        found = load_config(dump_config(config))[1].reference
        assert found is not None
        assert found.to_dict() == config["reference"]
        made = make_config(
            name="some-model",
            version="1.2.3",
            labels=("negative", "positive"),
            rules=TextRules(),
            vocabulary=Vocabulary(["<pad>", "<unk>", "hi"]),
            reference=held_out("positive", "negative"),
        )
        assert made == config

    def test_reference_can_be_replaced(self) -> None:
        before = with_reference(good(), held_out("positive", "negative"))
        other = HeldOut("other rows", held_out("positive", "negative").texts)
        assert with_reference(before, other)["reference"]["of"] == "other rows"

    def test_version_1_has_no_reference(self) -> None:
        config = {**with_reference(good(), held_out("positive", "negative")), "schema_version": 1}
        with pytest.raises(BundleSchemaError, match="unknown key 'reference'"):
            load_config(encoded(config))

    @pytest.mark.parametrize(
        ("reference", "message"),
        [
            (None, "reference: it is not an object"),
            ({}, "reference: of is not a line"),
            ({**held_out("positive", "negative").to_dict(), "words": -1}, "reference: words and unknown"),
            (held_out("positive", "neutral").to_dict(), "its labels differ from the model's"),
            (held_out("positive", "negative", "other").to_dict(), "its labels differ from the model's"),
        ],
    )
    def test_invalid_references(self, reference: Any, message: str) -> None:
        with pytest.raises(BundleSchemaError, match=message):
            load_config(encoded(good(schema_version=2, reference=reference)))


@pytest.mark.parametrize("place", ["", "limits", "vocabulary", "graph", "text"])
def test_unknown_key_is_rejected(place: str) -> None:
    config = copy.deepcopy(good())
    (config[place] if place else config)["surprise"] = 1
    with pytest.raises(BundleSchemaError, match=r"unknown.*surprise"):
        load_config(encoded(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": SCHEMA_VERSION + 1}, "upgrade sentstream"),
        ({"schema_version": 0}, "schema_version is 0"),
        ({"schema_version": "1"}, "schema_version is '1'"),
        ({"schema_version": 1.0}, "schema_version is 1.0"),
        ({"schema_version": True}, "schema_version is True"),
        ({"schema_version": None}, "schema_version is None"),
        ({"schema_version": 10**400}, "schema version 1000"),
        ({"name": ""}, "name is ''"),
        ({"name": "../up"}, "name is"),
        ({"name": "a/b"}, "name is"),
        ({"name": "new\nline"}, "name is"),
        ({"name": "a" * 101}, "name is"),
        ({"name": 3}, "name is 3"),
        ({"version": "v 1"}, "version is"),
        ({"version": 1}, "version is 1"),
        ({"labels": []}, "labels is not a list"),
        ({"labels": ["one"]}, "labels is not a list"),
        ({"labels": "ab"}, "labels is not a list"),
        ({"labels": [str(n) for n in range(1001)]}, "labels is not a list of 2 to 1000"),
        ({"labels": ["a", "a"]}, "duplicate"),
        ({"labels": ["a", ""]}, "empty, padded or not printable"),
        ({"labels": ["a", " b"]}, "empty, padded or not printable"),
        ({"labels": ["a", "\x1b[31mred"]}, "not printable"),
        ({"labels": ["a", "right\u202eleft"]}, "not printable"),
        ({"labels": ["a", 1]}, "not printable"),
        ({"text": []}, "text is not an object"),
        ({"text": {"version": 4}}, "upgrade sentstream"),
        ({"text": {"lowercase": "yes"}}, "lowercase"),
        ({"text": {"letter_repeats": True}}, "letter_repeats"),
        ({"limits": {"max_chars": 0}}, "max_chars is 0"),
        ({"limits": {"max_chars": True}}, "max_chars is True"),
        ({"limits": {"max_chars": 10.0}}, "max_chars is 10.0"),
        ({"limits": {"max_chars": MOST_CHARS + 1}}, "max_chars"),
        ({"limits": {"max_chars": 10**300}}, "max_chars"),
        ({"vocabulary": {"words": 1, "pairs": 0}}, "words is 1"),
        ({"vocabulary": {"words": 2**31, "pairs": 0}}, "words is 2147483648"),
        ({"vocabulary": {"words": 3, "pairs": -1}}, "pairs is -1"),
        ({"vocabulary": {"words": 3, "pairs": 1}}, "takes no pairs"),
        ({"vocabulary": {"words": 3}}, "vocabulary.pairs is missing"),
        ({"graph": {"opset": 17, "inputs": ["pairs"], "output": "probabilities"}}, "graph.inputs"),
        ({"graph": {"opset": 17, "inputs": "words", "output": "probabilities"}}, "graph.inputs"),
        ({"graph": {"opset": 17, "inputs": ["words"], "output": "logits"}}, "graph.output"),
        ({"graph": {"opset": "17", "inputs": ["words"], "output": "probabilities"}}, "opset"),
        ({"provenance": None}, "provenance is not an object"),
        ({"parity": []}, "parity is not an object"),
        ({"metrics": 0.8}, "metrics is not an object"),
    ],
)
def test_wrong_value_is_rejected_and_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleSchemaError) as caught:
        load_config(encoded(good(**change)))
    assert message.split(".*", maxsplit=1)[0] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "malformed"),
        (b"{", "malformed"),
        (b"\xff\xfe{}", "malformed"),
        (b"null", "not an object"),
        (b"[]", "not an object"),
        (b'{"a": 1, "a": 2}', "duplicate"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": -Infinity}', "-Infinity is not a number"),
        (b'{"a": 1e999}', "malformed"),
        (b'{"a": "\\ud800"}', "malformed"),
        (b'{"\\udfff": 1}', "malformed"),
        (b'{"a": ' + b"9" * 5000 + b"}", "malformed"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "malformed"),
        (b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", "nested more than 32 levels deep"),
        (b'{"a": ' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"}", "nested more than 32 levels deep"),
    ],
)
def test_non_standard_json_is_rejected(text: bytes, message: str) -> None:
    with pytest.raises(BundleSchemaError, match=message):
        load_config(text)


def test_nested_duplicate_key_is_rejected() -> None:
    text = encoded(good(metrics={"mark": 1})).replace(b'"mark": 1', b'"mark": 1, "mark": 2')
    with pytest.raises(BundleSchemaError, match="duplicate"):
        load_config(text)


@pytest.mark.parametrize("value", [math.nan, math.inf, "\ud800", object(), b"bytes", {1, 2}])
def test_values_without_json_form_are_not_written(value: Any) -> None:
    with pytest.raises(BundleSchemaError, match="cannot be written"):
        dump_config(good(provenance={"value": value}))


def test_make_config_checks_its_result() -> None:
    vocabulary = Vocabulary(["<pad>", "<unk>"])
    with pytest.raises(BundleSchemaError, match="name"):
        make_config(name="a b", version="1", labels=["a", "b"], rules=TextRules(), vocabulary=vocabulary)
    with pytest.raises(BundleSchemaError, match="max_chars"):
        make_config(
            name="a", version="1", labels=["a", "b"], rules=TextRules(), vocabulary=vocabulary, max_chars=0
        )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=cases(100), deadline=None)
@given(JSON)
def test_any_json_is_accepted_or_rejected(value: Any) -> None:
    with pytest.raises(BundleSchemaError):
        check_config(value)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(list(good())), JSON, st.booleans())
def test_any_nested_json_is_accepted_or_rejected(key: str, value: Any, inside: bool) -> None:
    config = copy.deepcopy(good())
    if inside and isinstance(config[key], dict) and config[key]:
        config[key][next(iter(config[key]))] = value
    else:
        config[key] = value
    try:
        raw, read = load_config(encoded(config))
    except BundleSchemaError:
        return
    assert raw == config
    assert isinstance(read.name, str)
    assert isinstance(read.max_chars, int)
    assert not isinstance(read.max_chars, bool)


@settings(max_examples=120, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_rejected(data: bytes) -> None:
    with pytest.raises(BundleSchemaError):
        load_config(data)


@pytest.mark.parametrize(
    "change", [lambda config: None, lambda config: config.update(metrics={"x": [1, {"y": None}]})]
)
def test_free_form_sections_accept_any_json(change: Callable[[dict[str, Any]], None]) -> None:
    config = good()
    change(config)
    assert load_config(dump_config(config))[0] == config
