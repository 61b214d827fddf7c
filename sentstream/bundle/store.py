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
#: Maximum file sizes; 16 MiB for files not named here. Protobuf, and therefore ONNX, allows only files below
#: 2 GiB.
_MOST_BYTES = {MODEL: 2**31 - 1, WORDS: 256 * _MIB, PAIRS: 256 * _MIB, CONFIG: _MIB, SUMS: _MIB // 64}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHORT = len("sha256:") + 12


@dataclass(frozen=True)
class Bundle:
    """A verified model in memory.

    Attributes:
        path: Its directory.
        name: Name of the model.
        version: Version of the model.
        digest: ``sha256:`` and the hash of ``SHA256SUMS``, which covers every file of the bundle.
        labels: The labels, in the order of the graph's output.
        config: The contents of ``config.json``.
        card: The model card: Markdown with YAML front matter.
        text: The text path, from tweets to token ids.
        model: The contents of the ONNX file.
        size: Total size of its files in bytes.
        reference: The model's results on rows held out of its training; None if the bundle has none.
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
        """``sha256:`` and the first 12 hex digits of the digest."""
        return self.digest[:_SHORT]


def load_bundle(name_or_path: str | os.PathLike[str], *, max_chars: int | None = None) -> Bundle:
    """Load a bundle and verify it completely: hashes, schema, vocabulary, graph.

    Each file is read once, so the bytes that were hashed are the bytes that are used.

    Args:
        name_or_path: The name of a model that ships, or a directory. A name takes precedence over a
            directory of the same name; write ``./name`` for the directory.
        max_chars: Number of characters to read of each text, instead of the bundle's own limit.

    Raises:
        BundleNotFoundError: There is no such model or directory.
        BundleDigestError: A file is missing, outside the directory, too large, or does not match its
            checksum.
        BundleSchemaError: ``config.json`` or the vocabulary is malformed, or newer than this runtime.
        BundleGraphError: The graph is not self-contained and standard, or does not match the other files.
        UsageError: ``max_chars`` is not positive.
    """
    if max_chars is not None and max_chars < 1:
        raise UsageError(f"max_chars must be a positive integer, not {max_chars}")
    directory = _locate(name_or_path)
    with _naming(directory):
        files, digest = _read_sealed(directory)
        return _assemble(directory, files, digest, max_chars)


def list_models() -> list[str]:
    """The names of the models that ship, sorted. They are not verified; ``load_bundle`` does that."""
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
    """Write a bundle atomically.

    First, everything is verified as in loading. The files are then written and synced in a temporary
    directory next to the target, which is renamed to the target.

    Args:
        directory: The target; missing parent directories are created.
        model: The contents of the ONNX file.
        vocabulary: The words and pairs.
        config: The result of ``make_config``.
        card: The model card.
        overwrite: Replace an existing bundle or an empty directory. A directory with any other files is not
            replaced.

    Returns:
        The digest; equal arguments give equal digests.

    Raises:
        OutputExistsError: The target exists, and ``overwrite`` is not set or the target is not a bundle.
        OutputWriteError: The disk is full, or the location is not writable.
        BundleError: Loading the bundle would raise this error.
    """
    files = {MODEL: model, WORDS: vocabulary.words_bytes(), CONFIG: dump_config(config), CARD: _encoded(card)}
    pairs = vocabulary.pairs_bytes()
    if pairs is not None:
        files[PAIRS] = pairs
    return _seal(Path(directory).resolve(), files, overwrite)


def replace_card(directory: str | os.PathLike[str], card: str) -> str:
    """Replace a bundle's model card, atomically. The other model files keep their bytes.

    Args:
        directory: The bundle; it is verified first.
        card: The new card.

    Returns:
        The new digest, which covers the card.

    Raises:
        OutputExistsError: The directory contains other files.
        OutputWriteError: The disk is full, or the location is not writable.
        BundleError: The bundle or the card is not valid.
    """
    return _replace(directory, CARD, _encoded(card))


def replace_config(directory: str | os.PathLike[str], config: Mapping[str, Any]) -> str:
    """Replace a bundle's ``config.json``, atomically. The other model files keep their bytes.

    Args:
        directory: The bundle; it is verified first.
        config: The new config.

    Returns:
        The new digest.

    Raises:
        OutputExistsError: The directory contains other files.
        OutputWriteError: The disk is full, or the location is not writable.
        BundleError: The bundle is not valid, or the config does not match it.
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
    """Add the checksums, verify everything, write the bundle, and return its digest."""
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
    """Prefix errors with the bundle's path, and shorten them: they may quote its files."""
    try:
        yield
    except BundleError as error:
        raise type(error)(f"{directory}: {one_line(error.message)}", hint=error.hint) from error


def _read_sealed(directory: Path) -> tuple[dict[str, bytes], str]:
    """Read and verify every file listed in ``SHA256SUMS``; also return the bundle's digest."""
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
    digests = {match[2]: match[1] for match in matches if match}
    if len(digests) < len(lines) or list(digests) != sorted(digests) or SUMS in digests:
        raise BundleDigestError(f"{SUMS} is malformed")
    for name in _REQUIRED:
        if name not in digests:
            raise BundleDigestError(f"{SUMS} does not list {name}")
    return digests


def _read(directory: Path, name: str) -> bytes:
    """The bytes of a regular file inside the directory. Links are followed only within it."""
    try:
        path = (directory / name).resolve(strict=True)
        if not path.is_relative_to(directory.resolve()):
            raise BundleDigestError(
                f"{name} is a link that points outside the bundle", hint="copy the file into the bundle"
            )
        with open(path, "rb", opener=_open) as file:
            size = os.fstat(file.fileno()).st_size
            _check_size(name, size)
            data = file.read(size + 1)  # read() allocates the whole requested size
    except FileNotFoundError as error:
        raise BundleDigestError(f"{name} is missing", hint="is this a bundle directory?") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a cycle of links, up to Python 3.12
        raise BundleDigestError(f"{name} cannot be read: {error}") from error
    if len(data) != size:
        raise BundleDigestError(f"{name} is being written", hint="load the bundle when it is complete")
    return data


def _open(path: str, flags: int) -> int:
    """Open without following a link created since, and without blocking on a pipe."""
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
    """Check that the parts are valid and match each other."""
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
    """Compare the vocabulary's size with the declared one, before decompressing what could become large."""
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
    # Each word and pair has its own row in the graph's tables, and a row takes at least one byte.
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
    """Make the names in a directory durable, if the system supports it."""
    if os.name == "posix":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
