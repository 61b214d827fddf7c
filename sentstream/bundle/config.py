"""``config.json``: a bundle's description of itself, and its validation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from sentstream.drift.held_out import HeldOut
from sentstream.errors import BundleSchemaError
from sentstream.text import DEFAULT_MAX_CHARS, TextRules, Vocabulary

#: Version 2 may contain a reference, which runtimes that support only version 1 would reject.
SCHEMA_VERSION = 2
#: Limits on declared values. Ids are int32, and pairs have one more id for "no pair".
MOST_IDS, MOST_CHARS, MOST_LABELS = 2**31 - 2, 1_000_000, 1000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,49}")
_SECTIONS = ("text", "limits", "vocabulary", "graph", "provenance", "parity", "metrics")
_KEYS = ("schema_version", "name", "version", "labels", *_SECTIONS)
_OUTPUT = "probabilities"
_MAX_DEPTH = 32
_INPUTS = (["words"], ["words", "pairs"])


@dataclass(frozen=True)
class Config:
    """The part of ``config.json`` that the runtime uses.

    Attributes:
        name: Name of the model.
        version: Version of the model.
        labels: The labels, in the order of the graph's output.
        rules: The text rules.
        max_chars: Number of characters to read of each text.
        words: Vocabulary size, including padding and the unknown word.
        pairs: Number of known word pairs.
        opset: Opset of the graph.
        inputs: ``("words",)`` or ``("words", "pairs")``.
        output: Name of the graph's output.
        reference: The model's results on rows held out of its training; None if the bundle has none.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    rules: TextRules
    max_chars: int
    words: int
    pairs: int
    opset: int
    inputs: tuple[str, ...]
    output: str
    reference: HeldOut | None


def make_config(
    *,
    name: str,
    version: str,
    labels: Sequence[str],
    rules: TextRules,
    vocabulary: Vocabulary,
    opset: int = 17,
    max_chars: int = DEFAULT_MAX_CHARS,
    provenance: Mapping[str, Any] | None = None,
    parity: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    reference: HeldOut | None = None,
) -> dict[str, Any]:
    """Create the contents of ``config.json`` for a model.

    Args:
        name: Name of the model: letters, digits, dots, dashes and underscores.
        version: Version of the model, such as ``1.0.0``.
        labels: The labels, in the order of the graph's output.
        rules: The text rules.
        vocabulary: The words and pairs.
        opset: Opset of the graph.
        max_chars: Number of characters to read of each text.
        provenance: Where the model comes from: data, settings, date.
        parity: How closely the graph agrees with the model it was exported from.
        metrics: Metrics, and the data they were measured on.
        reference: The model's results on rows held out of its training.

    Raises:
        BundleSchemaError: A value is not allowed in a bundle.
    """
    config = {
        "schema_version": 1,
        "name": name,
        "version": version,
        "labels": list(labels),
        "text": rules.to_dict(),
        "limits": {"max_chars": max_chars},
        "vocabulary": {"words": len(vocabulary), "pairs": vocabulary.pair_count},
        "graph": {
            "opset": opset,
            "inputs": list(_INPUTS[vocabulary.pairs is not None]),
            "output": _OUTPUT,
        },
        "provenance": dict(provenance or {}),
        "parity": dict(parity or {}),
        "metrics": dict(metrics or {}),
    }
    if reference is not None:
        return with_reference(config, reference)
    check_config(config)
    return config


def with_reference(config: Mapping[str, Any], reference: HeldOut) -> dict[str, Any]:
    """Return a copy of ``config.json`` with the reference added or replaced.

    Raises:
        BundleSchemaError: The reference is not allowed in a bundle.
    """
    extended = {**config, "schema_version": SCHEMA_VERSION, "reference": reference.to_dict()}
    check_config(extended)
    return extended


def dump_config(config: Mapping[str, Any]) -> bytes:
    """Return the bytes of ``config.json``; the same for equal configs.

    Raises:
        BundleSchemaError: JSON or UTF-8 cannot represent a value.
    """
    try:
        text = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False, sort_keys=True)
        return (text + "\n").encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BundleSchemaError(f"config.json cannot be written: {error}") from error


def load_config(data: bytes) -> tuple[dict[str, Any], Config]:
    """Read and check ``config.json``.

    Returns:
        The whole contents, and the part that the runtime uses.

    Raises:
        BundleSchemaError: It is not JSON, does not match the schema, or is from a newer sentstream.
    """
    try:
        config = json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
        _check_depth(config)
        # Lone surrogates cannot be printed or stored, and 1e999 is parsed as infinity.
        json.dumps(config, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise BundleSchemaError(f"config.json is malformed: {error}") from error
    return config, check_config(config)


def _check_depth(value: Any, left: int = _MAX_DEPTH) -> None:
    if not left:
        raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(inner, left - 1)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("duplicate key")
    return result


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number")


def check_config(config: Any) -> Config:
    """Validate the contents of a ``config.json``; return the part that the runtime uses.

    Raises:
        BundleSchemaError: The contents are not valid; the message names the first problem.
    """
    if not isinstance(config, Mapping):
        raise BundleSchemaError("config.json is not an object")
    version = config.get("schema_version")
    if not _is_int(version) or version < 1:
        raise BundleSchemaError(f"config.json: schema_version is {version!r}")
    if version > SCHEMA_VERSION:
        raise BundleSchemaError(
            f"config.json has schema version {version}; this runtime supports {SCHEMA_VERSION}",
            hint="upgrade sentstream",
        )
    _check_keys(config, "", _KEYS, ("reference",) if version > 1 else ())
    for section in _SECTIONS:
        if not isinstance(config[section], Mapping):
            raise BundleSchemaError(f"config.json: {section} is not an object")
    limits, vocabulary, graph = config["limits"], config["vocabulary"], config["graph"]
    _check_keys(limits, "limits.", ("max_chars",))
    _check_keys(vocabulary, "vocabulary.", ("words", "pairs"))
    _check_keys(graph, "graph.", ("opset", "inputs", "output"))
    inputs, output = graph["inputs"], graph["output"]
    if inputs not in _INPUTS:
        raise BundleSchemaError(
            f"config.json: graph.inputs is {inputs!r}, not ['words'] or ['words', 'pairs']"
        )
    if output != _OUTPUT:
        raise BundleSchemaError(f"config.json: graph.output is {output!r}, not {_OUTPUT!r}")
    pairs = _whole(vocabulary["pairs"], "vocabulary.pairs", 0, MOST_IDS)
    if pairs and "pairs" not in inputs:
        raise BundleSchemaError("config.json: vocabulary.pairs is not 0, but the graph takes no pairs")
    labels = _labels(config["labels"])
    return Config(
        name=_match(config["name"], "name", _NAME),
        version=_match(config["version"], "version", _VERSION),
        labels=labels,
        rules=TextRules.from_dict(config["text"]),
        max_chars=_whole(limits["max_chars"], "limits.max_chars", 1, MOST_CHARS),
        words=_whole(vocabulary["words"], "vocabulary.words", 2, MOST_IDS),
        pairs=pairs,
        opset=_whole(graph["opset"], "graph.opset", 1, MOST_IDS),
        inputs=tuple(inputs),
        output=output,
        reference=_reference(config, labels),
    )


def _check_keys(
    section: Mapping[str, Any], where: str, keys: Sequence[str], optional: Sequence[str] = ()
) -> None:
    for key in keys:
        if key not in section:
            raise BundleSchemaError(f"config.json: {where}{key} is missing")
    for key in section:
        if key not in keys and key not in optional:
            raise BundleSchemaError(f"config.json: unknown key {where + str(key)!r}")


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(value: Any, name: str, minimum: int, maximum: int) -> int:
    if not _is_int(value) or not minimum <= value <= maximum:
        raise BundleSchemaError(
            f"config.json: {name} is {value!r}, not an integer from {minimum} to {maximum}"
        )
    return int(value)


def _match(value: Any, name: str, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BundleSchemaError(f"config.json: {name} is {value!r}")
    return value


def _labels(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not 2 <= len(value) <= MOST_LABELS:
        raise BundleSchemaError(f"config.json: labels is not a list of 2 to {MOST_LABELS} labels")
    for label in value:
        # Labels become column names and table cells, so they must be visible, on one line and not padded.
        if not isinstance(label, str) or not label or not label.isprintable() or label != label.strip():
            raise BundleSchemaError(f"config.json: the label {label!r} is empty, padded or not printable")
    if len(set(value)) < len(value):
        raise BundleSchemaError("config.json: duplicate label")
    return tuple(value)


def _reference(config: Mapping[str, Any], labels: Sequence[str]) -> HeldOut | None:
    if "reference" not in config:
        return None
    try:
        held_out = HeldOut.from_dict(config["reference"])
    except ValueError as error:
        raise BundleSchemaError(f"config.json: reference: {error}") from error
    if set(held_out.texts.labels) != set(labels):
        raise BundleSchemaError("config.json: reference: its labels differ from the model's")
    return held_out
