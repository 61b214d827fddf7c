"""Compare outputs with their manifest."""

from __future__ import annotations

import hashlib
import os
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.dataset.formats.api import Source
from sentstream.dataset.formats.open import open_source, read_piece
from sentstream.dataset.formats.rows import take
from sentstream.dataset.jobs import Job, find_jobs, name_below
from sentstream.dataset.manifest.ledger import DIRECTORY, Done, load, printable, tail_hash
from sentstream.dataset.manifest.records import Header, Written
from sentstream.dataset.tables.api import TableOptions
from sentstream.dataset.where import Selection
from sentstream.errors import (
    ColumnNotFoundError,
    InputError,
    InputNotFoundError,
    ManifestError,
    ResumeError,
    UsageError,
)
from sentstream.model import Model
from sentstream.scorer import Scorer
from sentstream.scorer.added_columns import DIGEST_KEY, MODEL_KEY
from sentstream.storage.api import Storage, StoredFile
from sentstream.storage.names import is_uri
from sentstream.storage.open import open_storage

_BLOCK = 1 << 20
_BATCH_ROWS = 32_768


@dataclass(frozen=True)
class Finding:
    """A difference from the manifest.

    Attributes:
        name: The file.
        problem: What is wrong with it.
    """

    name: str
    problem: str


@dataclass
class Verification:
    """The result of a verification.

    Attributes:
        outputs: Number of files in the manifest.
        rows: Number of rows in them.
        bytes: Their total size in bytes.
        skipped: Number of inputs that were skipped, according to the manifest.
        sampled: Number of rows that were scored again.
        findings: All differences that were found.
    """

    outputs: int = 0
    rows: int = 0
    bytes: int = 0
    skipped: int = 0
    sampled: int = 0
    findings: list[Finding] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-serializable data."""
        return {
            "ok": not self.findings,
            "outputs": self.outputs,
            "rows": self.rows,
            "bytes": self.bytes,
            "skipped": self.skipped,
            "sampled": self.sampled,
            "findings": [{"file": finding.name, "problem": finding.problem} for finding in self.findings],
        }


def verify(
    output: str | os.PathLike[str],
    *,
    inputs: Sequence[str] | None = None,
    sample: int = 0,
    seed: int | None = None,
    model: str | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> Verification:
    """Compare the outputs of a run with its manifest: sizes, hashes, missing and extra files.

    Args:
        output: The ``--output`` of ``score``: a directory, or a file that was scored with ``--resume``.
        inputs: The inputs of that run. They are compared as well, and sampled rows are read from them.
        sample: Number of random rows to score again and compare bit by bit.
        seed: Seed of the random sample; by default it differs from run to run.
        model: The bundle to score the sample with, if it does not ship with sentstream.
        storage_options: Settings of object stores.

    Returns:
        The counts and all differences. Differences are not raised.

    Raises:
        InputNotFoundError: There is no manifest, or an input does not exist.
        InputError: A file cannot be read.
        UsageError: The sample cannot be scored: another model, or outputs without their texts.
    """
    name = os.fspath(output)
    storage = open_storage(name, storage_options)
    root, directory, only = _places(storage, name)
    result = Verification()
    try:
        done = load(storage, directory)
    except (ManifestError, ResumeError) as error:
        result.findings.append(Finding(directory, error.message))
        return result
    if done.header is None:
        raise InputNotFoundError(
            f"{name} has no manifest",
            hint="a run with --output DIRECTORY/ or --resume writes one",
        )
    _Verifier(storage, root, only, done, result).run()
    if inputs is not None:
        _compare_inputs(inputs, name, done, result, storage_options)
    if sample:
        drawn = _draw(done, result, sample, random.Random(seed))
        _score_again(storage, root, done.header, drawn, inputs, name, model, result, storage_options)
    return result


def _places(storage: Storage, name: str) -> tuple[str, str, str | None]:
    """Return the output directory, the manifest directory, and the output if it is a single one."""
    if storage.is_directory(name):
        name = name if is_uri(name) else os.path.realpath(name)
        return name, storage.join(name, DIRECTORY), None
    if not is_uri(name):
        name = os.path.realpath(name)
        parent, base = os.path.split(name)
    else:
        parent, _, base = name.rpartition("/")
    return parent, storage.join(parent, f"{DIRECTORY}/{base}"), base


class _Verifier:
    """Compares outputs with entries."""

    def __init__(
        self, storage: Storage, root: str, only: str | None, done: Done, result: Verification
    ) -> None:
        self._storage, self._root, self._only, self._done, self._result = storage, root, only, done, result
        self._owners = {one.sha256: one.name for entry in done.files.values() for one in entry.written}

    def run(self) -> None:
        """Compare all outputs."""
        result, done = self._result, self._done
        if not done.finished:
            self._find(self._only or self._root, "the run is not finished: continue with --resume")
        files = self._files()
        for below in sorted(done.files):
            entry = done.files[below]
            if entry.state == "skipped":
                result.skipped += 1
                if files.pop(below, None) is not None:
                    self._find(below, "exists, but its input was skipped")
            for one in entry.written:
                result.outputs += 1
                result.rows += one.rows
                result.bytes += one.size
                file = files.pop(one.name, None)
                if file is None:
                    self._find(one.name, "is missing")
                else:
                    self._compare(one, file)
        for below in sorted(files):
            self._find(below, "is not in the manifest")

    def _files(self) -> dict[str, StoredFile]:
        if self._only is None:
            return {printable(below): file for below, file in self._storage.walk(self._root)}
        file = self._storage.find(self._storage.join(self._root, self._only))
        return {} if file is None else {printable(self._only): file}

    def _compare(self, written: Written, file: StoredFile) -> None:
        below, sha256 = written.name, _sha256(file)
        if file.size == written.size and sha256 == written.sha256:
            return
        owner = self._owners.get(sha256)
        if owner is not None:
            self._find(below, f"has the contents of {owner}")
        elif (other := self._other_model(file)) is not None:
            self._find(below, f"was scored by a different model, {other}")
        elif file.size != written.size:
            self._find(below, f"has {file.size:,} bytes, but {written.size:,} were written")
        else:
            self._find(below, "differs from what was written")

    def _other_model(self, file: StoredFile) -> str | None:
        """Return the model in a file's metadata, if it is not the manifest's."""
        assert self._done.header is not None
        try:
            metadata = open_source(file).schema.metadata or {}
        except InputError:
            return None
        digest = metadata.get(DIGEST_KEY, b"").decode()
        if not digest or digest == self._done.header.model["digest"]:
            return None
        return f"{metadata.get(MODEL_KEY, b'').decode()} ({digest[:19]}…)"

    def _find(self, name: str, problem: str) -> None:
        self._result.findings.append(Finding(name, problem))


def _sha256(file: StoredFile) -> str:
    digest = hashlib.sha256()
    with file.open() as data:
        while block := data.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _outputs_of(
    inputs: Sequence[str], output: str, header: Header, options: Mapping[str, str] | None
) -> Iterator[tuple[str, Job]]:
    """Yield the jobs of the inputs, each with its output's path relative to the output directory."""
    storage = open_storage(output, options)
    directory = output if not storage.is_directory(output) or output.endswith("/") else f"{output}/"
    run_options = header.options
    tables = TableOptions(kind=run_options.get("--table"), pinned=run_options.get("--snapshot") or {})
    with find_jobs(
        inputs,
        directory,
        overwrite=True,
        format=run_options.get("--format"),
        output_format=run_options.get("--output-format"),
        options=options,
        keep=Selection(run_options.get("--where")).keep,
        tables=tables,
        is_file=lambda target: True,
    ) as jobs:
        for job in jobs:
            root = jobs.directory
            assert job.output is not None
            below = name_below(storage, root, job.output) if root else os.path.basename(job.output)
            yield printable(below), job


def _compare_inputs(
    inputs: Sequence[str],
    output: str,
    done: Done,
    result: Verification,
    options: Mapping[str, str] | None,
) -> None:
    """Check that the inputs have not changed and that all of them were scored."""
    left = {*done.files}
    header = done.header
    assert header is not None
    for below, job in _outputs_of(inputs, output, header, options):
        file = job.source
        entry = done.files[below] if below in left else None
        left.discard(below)
        if entry is None:
            result.findings.append(Finding(file.name, "has no output"))
        elif entry.state == "done" and (file.size, file.tag) != (entry.input.size, entry.input.tag):
            result.findings.append(Finding(file.name, "was modified after it was scored"))
        elif entry.state == "done" and tail_hash(file) != entry.input.tail:
            result.findings.append(Finding(file.name, "changed after it was scored"))
    for below in sorted(left):
        entry = done.files[below]
        result.findings.append(Finding(below, f"its input, {entry.input.name}, is not among the inputs"))


def _draw(done: Done, result: Verification, count: int, chance: random.Random) -> dict[str, list[int]]:
    """Draw random rows from the outputs without findings; return their indices in each."""
    bad = {finding.name for finding in result.findings}
    entries = (done.files[below] for below in sorted(done.files))
    outputs = [one for entry in entries for one in entry.written if one.name not in bad]
    total = sum(one.rows for one in outputs)
    indices = sorted(chance.sample(range(total), min(count, total)))
    drawn: dict[str, list[int]] = defaultdict(list)
    start, at = 0, 0
    for one in outputs:
        while at < len(indices) and indices[at] < start + one.rows:
            drawn[one.name].append(indices[at] - start)
            at += 1
        start += one.rows
    return drawn


def _score_again(
    storage: Storage,
    root: str,
    header: Header,
    drawn: Mapping[str, Sequence[int]],
    inputs: Sequence[str] | None,
    output: str,
    model: str | None,
    result: Verification,
    options: Mapping[str, str] | None,
) -> None:
    """Score sampled rows again and compare the bits; read them from the inputs if given and in row order."""
    scorer = _scorer(header, model)
    rearranged = header.options.get("--where") or header.options.get("--partition-by")
    from_inputs = inputs is not None and not rearranged
    sources = dict(_outputs_of(inputs or (), output, header, options)) if from_inputs else {}
    for below, indices in drawn.items():
        file = storage.find(storage.join(root, below))
        if file is None:
            continue
        written = _rows(open_source(file), indices)
        added = [field.name for field in scorer.added_fields() if field.name in written.schema.names]
        texts = written.drop_columns(added)
        if (job := sources.get(below)) is not None:
            texts = _rows(open_source(job.source, job.format, view=job.view), indices)
        try:
            again = scorer.score(texts).batch
        except ColumnNotFoundError as error:
            raise UsageError(
                f"{below} does not contain its texts, so its rows cannot be scored again",
                hint="leave out --sample" if rearranged else "give --inputs",
            ) from error
        for index, same in zip(indices, _same(written.select(added), again.select(added)), strict=True):
            if not same:
                result.findings.append(
                    Finding(
                        below, f"row {index:,} (from 0) gets a different result from the one that was written"
                    )
                )
        result.sampled += len(indices)


def _scorer(header: Header, model: str | None) -> Scorer:
    """Return the scorer that the manifest describes.

    Raises:
        UsageError: The model here is a different one.
        BundleError: There is no model of that name.
    """
    options = header.options
    loaded = Model.load(
        model or header.model["name"],
        provider=options.get("--provider", "cpu"),
        max_chars=options.get("--max-chars"),
    )
    if loaded.digest != header.model["digest"]:
        raise UsageError(
            f"the model {loaded.name} here is {loaded.digest[:19]}…, but the outputs are from "
            f"{header.model['digest'][:19]}…",
            hint="give the bundle that scored them with --model PATH",
        )
    return loaded.scorer(
        text_column=options["--text-column"],
        prefix=options["--prefix"],
        abstain=options.get("--abstain"),
        value=bool(options.get("--value")),
    )


def _rows(source: Source, indices: Sequence[int]) -> pa.RecordBatch:
    """Read some rows of a file, in order."""
    taken: list[pa.RecordBatch] = []
    wanted = np.asarray(indices)
    start = 0
    for batch in read_piece(source.whole(), None, _BATCH_ROWS):
        inside = wanted[(wanted >= start) & (wanted < start + len(batch))] - start
        if len(inside):
            taken.append(take(batch, inside))
        start += len(batch)
        if start > indices[-1]:
            break
    table = pa.Table.from_batches(taken).combine_chunks()
    (rows,) = table.to_batches()
    return rows


def _same(written: pa.RecordBatch, again: pa.RecordBatch) -> list[bool]:
    """Return which rows are equal, bit by bit."""
    columns = [_like(column, kind) for column, kind in zip(written.columns, again.schema.types, strict=True)]
    rows = zip(_bits(columns), _bits(again.columns), strict=True)
    return [one == other for one, other in rows]


def _like(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast a column from a text format to its original type: CSV has only text, JSON only doubles."""
    if pa.types.is_string(column.type):
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)  # CSV's null
    return column.cast(kind)


def _bits(arrays: Sequence[pa.Array]) -> list[tuple[Any, ...]]:
    columns = []
    for column in arrays:
        is_float = pa.types.is_float32(column.type)
        # As bits, NaN equals itself, and -0 differs from 0.
        columns.append((column.view(pa.int32()) if is_float else column).to_pylist())
    return list(zip(*columns, strict=True))
