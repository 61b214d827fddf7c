"""Bundles on disk: load, save, list."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sentstream.bundle.config import Config, dump_config, load_config
from sentstream.bundle.graph import check_graph
from sentstream.drift.held_out import HeldOut
from sentstream.errors import (
    BundleDigestError,
    BundleError,
    BundleNotFoundError,
    BundleSchemaError,
    OutputExistsError,
    OutputWriteError,
    UsageError,
    one_line,
)
from sentstream.text import TextPath, Vocabulary

DEFAULT_MODEL = "tweets"
#: The bundles that ship.
MODELS = Path(__file__).parent.parent / "models"

MODEL, CONFIG, CARD, SUMS = "model.onnx", "config.json", "README.md", "SHA256SUMS"
WORDS, PAIRS = "vocabulary.txt", "pairs.parquet"
_REQUIRED = (MODEL, WORDS, CONFIG, CARD)
_FILES = {*_REQUIRED, PAIRS, SUMS}
_SUM_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._-]*)")
_MIB = 2**20
#: Longest files that are read; what is not named here may have 16 MiB. Protobuf, and so ONNX, knows
#: no file of 2 GiB.
_MOST_BYTES = {MODEL: 2**31 - 1, WORDS: 256 * _MIB, PAIRS: 256 * _MIB, CONFIG: _MIB, SUMS: _MIB // 64}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHORT = len("sha256:") + 12


@dataclass(frozen=True)
class Bundle:
    """A model, verified and in memory.

    Attributes:
        path: Its directory.
        name: Name of the model.
        version: Version of the model.
        digest: ``sha256:`` and the hash of ``SHA256SUMS``, so of every file of the bundle.
        labels: The classes, in the order of the graph's output.
        config: All of ``config.json``.
        card: The model card: Markdown with YAML front matter.
        text: Tweets to token ids.
        model: The ONNX file.
        size: Bytes of all its files.
        reference: What the model makes of rows that were held out of its training; None: it does not say.
    """

    path: Path
    name: str
    version: str
    digest: str
    labels: tuple[str, ...]
    config: dict[str, Any] = field(repr=False)
    card: str = field(repr=False)
    text: TextPath = field(repr=False)
    model: bytes = field(repr=False)
    size: int = 0
    reference: HeldOut | None = field(default=None, repr=False)

    @property
    def short_digest(self) -> str:
        """The first 12 hex digits of the digest, ``sha256:`` in front."""
        return self.digest[:_SHORT]


def load_bundle(name_or_path: str | os.PathLike[str], *, max_chars: int | None = None) -> Bundle:
    """Load a bundle and verify all of it: hashes, schema, vocabulary, graph.

    Each file is read once: the bytes that were hashed are the bytes that are used.

    Args:
        name_or_path: The name of a model that ships, or a directory. A name wins over a directory
            of the same name; write ``./name`` for that.
        max_chars: Characters of a text that are read, instead of the bundle's own limit.

    Raises:
        BundleNotFoundError: Neither.
        BundleDigestError: A file is missing, lies elsewhere, is too large, or is not the one that was
            sealed.
        BundleSchemaError: ``config.json`` or the vocabulary is malformed, or newer than this runtime.
        BundleGraphError: The graph is not self-contained and standard, or does not fit the rest.
        UsageError: ``max_chars`` is not positive.
    """
    if max_chars is not None and max_chars < 1:
        raise UsageError(f"max_chars must be a positive integer, not {max_chars}")
    directory = _locate(name_or_path)
    with _naming(directory):
        files, digest = _read_sealed(directory)
        return _assemble(directory, files, digest, max_chars)


def list_models() -> list[str]:
    """The names of the models that ship, sorted; whether each is sound, ``load_bundle`` says."""
    if not MODELS.is_dir():
        return []
    return sorted(entry.name for entry in MODELS.iterdir() if _NAME.fullmatch(entry.name) and entry.is_dir())


def save_bundle(
    directory: str | os.PathLike[str],
    *,
    model: bytes,
    vocabulary: Vocabulary,
    config: Mapping[str, Any],
    card: str,
    overwrite: bool = False,
) -> str:
    """Write a bundle, whole or not at all.

    Everything that loading verifies is verified first. The files are written and synced in a
    temporary directory beside the target, which then gets the target's name.

    Args:
        directory: Where to; missing parents are made.
        model: The ONNX file.
        vocabulary: The words and pairs.
        config: What ``make_config`` made.
        card: The model card.
        overwrite: Replace a bundle (or an empty directory) that is there; a directory that holds
            anything else is left alone.

    Returns:
        The digest; equal arguments give the same.

    Raises:
        OutputExistsError: The target is there and ``overwrite`` was not given, or is not a bundle.
        OutputWriteError: The disk is full, or the place is not writable.
        BundleError: What loading would raise.
    """
    files = {MODEL: model, WORDS: vocabulary.words_bytes(), CONFIG: dump_config(config), CARD: _encoded(card)}
    pairs = vocabulary.pairs_bytes()
    if pairs is not None:
        files[PAIRS] = pairs
    return _seal(Path(directory).resolve(), files, overwrite)


def replace_card(directory: str | os.PathLike[str], card: str) -> str:
    """Give a bundle another model card, whole or not at all; no byte of its other files changes.

    Args:
        directory: The bundle; it is verified first.
        card: The new card.

    Returns:
        The digest, another one: it covers the card, too.

    Raises:
        OutputExistsError: The directory holds other files, too.
        OutputWriteError: The disk is full, or the place is not writable.
        BundleError: The bundle is not sound, or the card cannot be one.
    """
    return _replace(directory, CARD, _encoded(card))


def replace_config(directory: str | os.PathLike[str], config: Mapping[str, Any]) -> str:
    """Give a bundle another ``config.json``, whole or not at all; no byte of its other files changes.

    Args:
        directory: The bundle; it is verified first.
        config: The new config.

    Returns:
        The digest, another one.

    Raises:
        OutputExistsError: The directory holds other files, too.
        OutputWriteError: The disk is full, or the place is not writable.
        BundleError: The bundle is not sound, or the config does not fit it.
    """
    return _replace(directory, CONFIG, dump_config(config))


def _replace(directory: str | os.PathLike[str], name: str, data: bytes) -> str:
    target = Path(directory).resolve()
    with _naming(target):
        files, _ = _read_sealed(target)
    del files[SUMS]
    return _seal(target, {**files, name: data}, overwrite=True)


def _encoded(card: str) -> bytes:
    try:
        return card.encode()
    except UnicodeEncodeError as error:
        raise BundleSchemaError(f"{CARD} cannot be written as UTF-8: {error}") from error


def _seal(target: Path, files: dict[str, bytes], overwrite: bool) -> str:
    """Add the hashes, verify all of it, write it, return the digest."""
    for name, data in files.items():
        _check_size(name, len(data))
    files[SUMS] = "".join(f"{_sha256(files[name])}  {name}\n" for name in sorted(files)).encode()
    digest = f"sha256:{_sha256(files[SUMS])}"
    _assemble(target, files, digest, None)
    try:
        _check_target(target, overwrite)
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_directory(target, files)
    except OSError as error:
        raise OutputWriteError(f"{target} cannot be written: {error.strerror or error}") from error
    return digest


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _locate(name_or_path: str | os.PathLike[str]) -> Path:
    shipped = list_models()
    if isinstance(name_or_path, str) and name_or_path in shipped:
        return MODELS / name_or_path
    path = Path(name_or_path)
    if os.path.isdir(path):  # unlike Path.is_dir(), False for a name that is too long or not allowed
        return path
    if path.suffix == ".keras":
        hint = "export it first: sentstream export-onnx MODEL.keras --output BUNDLE"
    elif os.path.isfile(path):
        hint = "a bundle is a directory"
    elif near := difflib.get_close_matches(str(name_or_path), shipped, n=1):
        hint = f"did you mean {near[0]}?"
    else:
        hint = f"models that ship: {', '.join(shipped) or 'none'}"
    raise BundleNotFoundError(
        f"{name_or_path} is neither a model that ships nor a bundle directory", hint=hint
    )


@contextlib.contextmanager
def _naming(directory: Path) -> Iterator[None]:
    """Name the bundle in errors, and shorten them: they may repeat what is in its files."""
    try:
        yield
    except BundleError as error:
        raise type(error)(f"{directory}: {one_line(error.message)}", hint=error.hint) from error


def _read_sealed(directory: Path) -> tuple[dict[str, bytes], str]:
    """Every file that ``SHA256SUMS`` lists, hashed, and the bundle's digest."""
    sums = _read(directory, SUMS)
    files: dict[str, bytes] = {}
    for name, expected in _parse_sums(sums).items():
        files[name] = _read(directory, name)
        if _sha256(files[name]) != expected:
            raise BundleDigestError(f"{name} does not match its checksum", hint="fetch or export it again")
    files[SUMS] = sums
    return files, f"sha256:{_sha256(sums)}"


def _parse_sums(sums: bytes) -> dict[str, str]:
    lines = sums.decode("ascii", "replace").split("\n")
    if lines.pop():
        raise BundleDigestError(f"{SUMS} is truncated")
    matches = [_SUM_LINE.fullmatch(line) for line in lines]
    found = {match[2]: match[1] for match in matches if match}
    if len(found) < len(lines) or list(found) != sorted(found) or SUMS in found:
        raise BundleDigestError(f"{SUMS} is malformed")
    for name in _REQUIRED:
        if name not in found:
            raise BundleDigestError(f"{SUMS} does not list {name}")
    return found


def _read(directory: Path, name: str) -> bytes:
    """The bytes of a regular file inside the directory. A link may lead to one, but not out."""
    try:
        path = (directory / name).resolve(strict=True)
        if not path.is_relative_to(directory.resolve()):
            raise BundleDigestError(
                f"{name} is a link that points outside the bundle", hint="copy the file into the bundle"
            )
        with open(path, "rb", opener=_open) as file:
            size = os.fstat(file.fileno()).st_size
            _check_size(name, size)
            data = file.read(size + 1)  # memory is taken for all that is asked for
    except FileNotFoundError as error:
        raise BundleDigestError(f"{name} is missing", hint="is this a bundle directory?") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, up to Python 3.12
        raise BundleDigestError(f"{name} cannot be read: {error}") from error
    if len(data) != size:
        raise BundleDigestError(f"{name} is being written", hint="load the bundle when it is complete")
    return data


def _open(path: str, flags: int) -> int:
    """Neither follow what has become a link since, nor wait for a pipe's other end."""
    handle = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError("not a regular file")
    return handle


def _most_bytes(name: str) -> int:
    return _MOST_BYTES.get(name, 16 * _MIB)


def _check_size(name: str, size: int) -> None:
    if size > _most_bytes(name):
        raise BundleDigestError(
            f"{name} has {size:,} bytes, more than the {_most_bytes(name):,} allowed in a bundle"
        )


def _assemble(directory: Path, files: Mapping[str, bytes], digest: str, max_chars: int | None) -> Bundle:
    """Check that the parts are sound and fit each other."""
    raw, config = load_config(files[CONFIG])
    if ("pairs" in config.inputs) != (PAIRS in files):
        has = "has" if PAIRS in files else "lacks"
        raise BundleSchemaError(f"the bundle {has} {PAIRS}; its graph takes {' and '.join(config.inputs)}")
    _check_counts(files, config)
    vocabulary = Vocabulary.load(files[WORDS], files.get(PAIRS), escaped=config.rules.cuts)
    if vocabulary.pair_count != config.pairs:
        raise BundleSchemaError(f"{PAIRS} has {vocabulary.pair_count} pairs, not {config.pairs}")
    check_graph(
        files[MODEL],
        opset=config.opset,
        inputs=config.inputs,
        output=config.output,
        classes=len(config.labels),
        rows={"words": config.words, "pairs": config.pairs + 1},  # row 0: no pair
    )
    try:
        card = files[CARD].decode()
    except UnicodeDecodeError as error:
        raise BundleSchemaError(f"{CARD} is not UTF-8") from error
    return Bundle(
        path=directory,
        name=config.name,
        version=config.version,
        digest=digest,
        labels=config.labels,
        config=raw,
        card=card,
        text=TextPath(config.rules, vocabulary, max_chars or config.max_chars),
        model=files[MODEL],
        size=sum(map(len, files.values())),
        reference=config.reference,
    )


def _check_counts(files: Mapping[str, bytes], config: Config) -> None:
    """Compare the vocabulary's size with what is declared, before a small file can unfold to a large one."""
    words, pairs = files[WORDS].count(b"\n"), 0
    if PAIRS in files:
        try:
            pairs = int(pq.read_metadata(pa.BufferReader(files[PAIRS])).num_rows)
        except (pa.ArrowException, OSError) as error:
            raise BundleSchemaError(f"{PAIRS} cannot be read: {error}") from error
    if (words, pairs) != (config.words, config.pairs):
        raise BundleSchemaError(
            f"the vocabulary has {words} words and {pairs} pairs; "
            f"config.json declares {config.words} and {config.pairs}"
        )
    # Each has a row of its own in the graph's tables, and a row takes at least a byte.
    if words + pairs > len(files[MODEL]):
        raise BundleSchemaError(f"{words} words and {pairs} pairs do not fit in {MODEL}: it is too small")


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists():
        return
    if not overwrite:
        raise OutputExistsError(f"{target} already exists", hint="choose another name, or give --overwrite")
    if not target.is_dir() or not {entry.name for entry in target.iterdir()} <= _FILES:
        raise OutputExistsError(
            f"{target} is not a bundle, or has other files in it, and is not replaced",
            hint="choose another name",
        )


def _write_directory(target: Path, files: Mapping[str, bytes]) -> None:
    unique = f"{os.getpid()}-{secrets.token_hex(4)}"
    fresh, old = (target.with_name(f".{target.name}.{unique}.{end}") for end in ("tmp", "old"))
    try:
        fresh.mkdir()
        for name, data in files.items():
            with (fresh / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        _sync(fresh)
        try:
            if target.exists():
                target.rename(old)
            fresh.rename(target)
        except BaseException:
            if old.exists() and not target.exists():
                old.rename(target)
            raise
        _sync(target.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)


def _sync(directory: Path) -> None:
    """Make the names in a directory durable, where the system can."""
    if os.name == "posix":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
