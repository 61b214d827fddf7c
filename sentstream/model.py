"""The Python API: a loaded model that scores texts, batches and anything that speaks Arrow."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Literal

import pyarrow as pa

from sentstream.bundle import DEFAULT_MODEL, Bundle, list_models, load_bundle
from sentstream.cuda.placement import Placement
from sentstream.errors import BundleDigestError, ColumnTypeError, UsageError
from sentstream.scorer import Scorer
from sentstream.scorer.added_columns import PREFIX, TEXT_COLUMN
from sentstream.session import Provider, Session, usable_cpus
from sentstream.text.columns import find_text
from sentstream.text.storage import as_text

#: Rows a batch: enough tweets of each length to fill the graph's batches, few enough to stay small.
BATCH_ROWS = 32_768
#: The same for the runs of a GPU, which are as much larger.
_CUDA_BATCH_ROWS = 262_144
#: Rows that are worth a thread of their own.
_FEWEST_ROWS = 1024
#: Scorers that a model keeps, one for each way in which it was asked to score.
_MOST_SCORERS = 64
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and what runs it: all that ``sentstream.load`` can be asked for, as one value.

    Attributes:
        model: The name of a model that ships, or the path of a bundle; None is the default model.
        provider: ``"cpu"``, ``"cuda"``, or ``"auto"``: CUDA where it works, else the CPU.
        threads: Threads that share the work; None is one for each CPU of this process.
        max_chars: Characters of a text that are read; None is the model's own limit.
        device: The number of the CUDA device; None is 0.
        gpu_memory: The most bytes that ONNX Runtime's arena takes of the GPU's memory; None is no limit.
    """

    model: str | os.PathLike[str] | None = None
    provider: Provider = "auto"
    threads: int | None = None
    max_chars: int | None = None
    device: int | None = None
    gpu_memory: int | None = None


class Model:
    """A model, verified and ready to score; safe to use from several threads. ``sentstream.load`` makes one.

    In a pickle it is its name or path, its digest and its settings: where the pickle is read, it is loaded
    from the files that are there, which must be the same (``BundleDigestError``). A copy is the model itself.

    Example:
        >>> import sentstream
        >>> sentstream.load("sentiment140", provider="cpu", threads=1)
        <sentstream.Model sentiment140 ... sha256:... on cpu>

    Args:
        bundle: The verified bundle.
        session: Its open graph.
        threads: Threads that share the work, if there are as many CPUs.

    Attributes:
        threads: How many do.
    """

    def __init__(self, bundle: Bundle, session: Session, threads: int) -> None:
        self.bundle, self.session, self.threads = bundle, session, min(threads, usable_cpus())
        self._options = ModelOptions(model=str(bundle.path.resolve()), threads=threads)  # what a pickle holds
        self._scorers: dict[tuple[str, str, float | None], Scorer] = {}

    @classmethod
    def load(
        cls,
        name_or_path: str | os.PathLike[str] | None = None,
        *,
        provider: Provider = "auto",
        threads: int | None = None,
        max_chars: int | None = None,
        device: int | None = None,
        gpu_memory: int | None = None,
    ) -> Model:
        """What ``sentstream.load`` calls, with the same arguments."""
        return open_model(
            ModelOptions(
                model=name_or_path,
                provider=provider,
                threads=threads,
                max_chars=max_chars,
                device=device,
                gpu_memory=gpu_memory,
            )
        )

    def for_workers(self, provider: Literal["cpu", "cuda"], gpu_memory: int | None = None) -> Model:
        """The same model, which in other processes is loaded for one thread and for this provider.

        Args:
            provider: What runs it there.
            gpu_memory: The most bytes that ONNX Runtime's arena takes of a GPU there.
        """
        model = Model(self.bundle, self.session, 1)
        memory = gpu_memory if provider == "cuda" else None
        model._options = replace(self._options, provider=provider, threads=1, gpu_memory=memory)
        return model

    @property
    def options(self) -> ModelOptions:
        """What it was opened with, and what a pickle of it is opened with."""
        return self._options

    @property
    def source(self) -> str:
        """The name, or the path, that a pickle of it is loaded from."""
        return str(self._options.model)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_same, (self._options, self.digest)

    def __copy__(self) -> Model:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        return self

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.bundle.name

    @property
    def version(self) -> str:
        """Version of the model."""
        return self.bundle.version

    @property
    def digest(self) -> str:
        """What stands for every byte of the model: ``sha256:…``."""
        return self.bundle.digest

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the probability columns."""
        return self.bundle.labels

    @property
    def provider(self) -> Literal["cpu", "cuda"]:
        """What really runs it."""
        return self.session.provider

    @property
    def fallback(self) -> str | None:
        """Why the CPU runs it, where CUDA was to be had and does not work; else None."""
        return self.session.fallback

    @property
    def placement(self) -> Placement | None:
        """On CUDA, what ran each node of the graph, and which are left on the CPU; else None."""
        return self.session.placement

    @property
    def batch_rows(self) -> int:
        """The most rows of a batch that it scores at a time, unless it is told otherwise."""
        on_gpu = self.session.device is not None or self._options.provider == "cuda"
        return _CUDA_BATCH_ROWS if on_gpu else BATCH_ROWS

    def __repr__(self) -> str:
        return f"<sentstream.Model {self.name} {self.version} {self.bundle.short_digest} on {self.provider}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from sentstream.notebook import facts, show

        rows = [
            ("digest", self.digest),
            ("labels", ", ".join(self.labels)),
            ("runs on", self.provider),
            ("threads", str(self.threads)),
            ("characters read", f"{self.bundle.text.max_chars:,}"),
        ]
        if self.fallback:
            rows.append(("no CUDA", self.fallback))
        return show(facts(f"{self.name} {self.version}", rows))

    def scorer(
        self,
        *,
        text_column: str | Sequence[str] = TEXT_COLUMN,
        prefix: str | Sequence[str] | None = None,
        columns: list[str] | None = None,
        abstain: float | None = None,
        value: bool = False,
    ) -> Scorer:
        """A scorer of record batches with other settings than the default ones."""
        settings: dict[str, Any] = {
            "text_column": text_column,
            "prefix": prefix,
            "columns": columns,
            "abstain": abstain,
            "value": value,
        }
        scorer = Scorer(self.bundle, self.session, **settings)
        scorer.made_by = partial(self.scorer, **settings)
        return scorer

    def score_batch(
        self,
        batch: pa.RecordBatch,
        *,
        text_column: str = TEXT_COLUMN,
        prefix: str = PREFIX,
        abstain: float | None = None,
    ) -> pa.RecordBatch:
        """Score one record batch, in the calling thread.

        Args:
            batch: The rows.
            text_column: The column that holds the tweets, or a field in structs, as ``data.text``.
            prefix: What the names of the added columns begin with.
            abstain: Rows whose score is below this get the label ``uncertain``.

        Returns:
            The same rows and columns, then ``sentiment`` (string), ``sentiment_score`` (float32, the
            highest probability) and one ``sentiment_prob_<label>`` (float32) a label; all null
            where the text is null, empty or white space.

        Raises:
            UsageError: ``abstain`` is not above 0 and up to 1, or the model has a label ``uncertain``.
            InputError: No such column, not text, or an added column already exists.

        Example:
            >>> import pyarrow as pa
            >>> import sentstream
            >>> batch = pa.record_batch({"id": [7, 8], "text": ["what a lovely morning", " "]})
            >>> sentstream.load("sentiment140").score_batch(batch).select(["id", "sentiment"]).to_pylist()
            [{'id': 7, 'sentiment': 'positive'}, {'id': 8, 'sentiment': None}]
        """
        return self._scorer(text_column, prefix, abstain).score(batch).batch

    def score(
        self,
        data: Any,
        *,
        text_column: str = TEXT_COLUMN,
        prefix: str = PREFIX,
        abstain: float | None = None,
    ) -> pa.Table:
        """Score texts or a table.

        Args:
            data: A text, an iterable of ``str`` or None, an Arrow array of text, or anything with
                ``__arrow_c_stream__`` or ``__arrow_c_array__`` (pyarrow, polars, pandas, duckdb …).
                Lone surrogates become U+FFFD, in their own rows only.
            text_column: The column that holds the tweets, or a field in structs, as ``data.text``; for bare
                texts, the name it gets.
            prefix: What the names of the added columns begin with.
            abstain: Rows whose score is below this get the label ``uncertain``.

        Returns:
            The same rows in the same order with the columns that ``score_batch`` adds.

        Raises:
            UsageError: ``abstain`` is not above 0 and up to 1, or the model has a label ``uncertain``.
            InputError: No such column, not text, or an added column already exists.
            ColumnTypeError: ``data`` is neither texts nor a table, or an item is not text.

        Example:
            >>> import sentstream
            >>> model = sentstream.load("sentiment140")
            >>> model.score(["I love it!", None])["sentiment"].to_pylist()
            ['positive', None]
            >>> model.score("I love it!")["sentiment"].to_pylist()
            ['positive']
        """
        scorer = self._scorer(text_column, prefix, abstain)
        schema, batches = _batches(data, text_column)
        few = min(_FEWEST_ROWS, self.batch_rows)
        if isinstance(batches, list) and len(batches) == 1 and 0 < len(batches[0]) <= few:
            return pa.Table.from_batches([scorer.score(batches[0]).batch])
        output = scorer.output_schema(schema)
        size, threads = self.batch_rows, self.threads
        if isinstance(batches, list):  # how many rows there are is known: each thread gets some
            rows = sum(map(len, batches))
            size = min(size, max(_FEWEST_ROWS, -(-rows // threads)))
            threads = min(threads, max(1, -(-rows // size)))
        scored = scorer.score_stream(_cut(batches, size), threads)
        return pa.Table.from_batches((part.batch for part in scored), output)

    def _scorer(self, text_column: str, prefix: str, abstain: float | None) -> Scorer:
        """The scorer of these settings, made once."""
        key = text_column, prefix, abstain
        scorer = self._scorers.get(key)
        if scorer is None:
            scorer = self.scorer(text_column=text_column, prefix=prefix, abstain=abstain)
            if len(self._scorers) < _MOST_SCORERS:
                self._scorers[key] = scorer
        return scorer


def open_model(options: ModelOptions) -> Model:
    """Open and verify a model: the one way to do it, whoever asks.

    Args:
        options: Which model, and what runs it.

    Raises:
        UsageError: An option is not what it must be.
        BundleError: There is no such model, or it is not sound.
        ProviderError: ``"cuda"`` was asked for and cannot run here, or not on this device.
        MissingExtraError: ONNX Runtime is not installed.
    """
    if options.threads is not None and options.threads < 1:
        raise UsageError(f"threads must be a positive integer, not {options.threads}")
    wanted = DEFAULT_MODEL if options.model is None else options.model
    bundle = load_bundle(wanted, max_chars=options.max_chars)
    session = Session(bundle, options.provider, device=options.device, gpu_memory=options.gpu_memory)
    model = Model(bundle, session, options.threads or usable_cpus())
    # A model that ships goes by its name, wherever it is installed; any other by where its files are.
    source = str(wanted) if wanted in list_models() else str(bundle.path.resolve())
    model._options = replace(options, model=source)
    return model


@lru_cache(maxsize=4)
def open_same(options: ModelOptions, digest: str) -> Model:
    """A model from a pickle; the last ones stay open, for a worker gets one with each task.

    Raises:
        BundleError: The model does not exist, or is not sound.
        BundleDigestError: The files are not those of the model that was pickled.
    """
    model = open_model(options)
    if model.digest != digest:
        raise BundleDigestError(
            f"{options.model} is {model.digest} here, but the pickled model is {digest}",
            hint="use the same files on every machine, and do not change them while workers run",
        )
    return model


def _batches(data: Any, text_column: str) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    """Whatever was given, as record batches of one schema."""
    if isinstance(data, pa.RecordBatch):
        return data.schema, [data]
    if isinstance(data, pa.Table):
        return data.schema, data.to_batches()
    if isinstance(data, pa.Array | pa.ChunkedArray):
        return _texts(data, text_column)
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        return _imported(data, text_column)
    if isinstance(data, Mapping) or not isinstance(data, Iterable):
        raise ColumnTypeError(
            f"a {type(data).__name__} is neither texts nor a table",
            hint="give a list of texts, or Arrow data: pyarrow, polars, pandas, duckdb",
        )
    return _texts(text_array(data), text_column)


def text_column(data: Any) -> pa.Array:
    """The texts of whatever ``Model.score`` takes, as ``large_string`` of valid UTF-8.

    Args:
        data: Texts, or a table with a column ``text``.

    Raises:
        InputError: As ``Model.score``.
    """
    schema, batches = _batches(data, TEXT_COLUMN)
    column = find_text(schema, TEXT_COLUMN)
    chunks = [as_text(column.texts(batch)) for batch in batches]
    return pa.concat_arrays(chunks) if chunks else pa.array([], pa.large_string())


def _imported(data: Any, text_column: str) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    """Data of another library, through the C data interface."""
    try:
        if not hasattr(data, "__arrow_c_stream__"):
            return _flat(pa.array(data), text_column)
        try:
            reader = pa.RecordBatchReader.from_stream(data)
        except (TypeError, pa.ArrowException):  # a stream of bare values, as of a polars Series
            return _texts(pa.chunked_array(data), text_column)
    except (TypeError, pa.ArrowException) as error:
        raise ColumnTypeError(f"a {type(data).__name__} is neither texts nor a table: {error}") from error
    return reader.schema, reader


def _flat(column: pa.Array, name: str) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    """A record batch comes through the C data interface as an array of structs."""
    if not pa.types.is_struct(column.type):
        return _texts(column, name)
    batch = pa.RecordBatch.from_struct_array(column)
    return batch.schema, [batch]


def text_array(items: Iterable[Any]) -> pa.Array:
    """Python texts as an Arrow column, one of them as a column of one row; lone surrogates become U+FFFD.

    Raises:
        ColumnTypeError: An item is not text.
    """
    if isinstance(items, bytes):
        raise ColumnTypeError("bytes are not text", hint="decode them, or give a list of texts")
    texts = [items] if isinstance(items, str) else list(items)
    for index, text in enumerate(texts):
        if text is not None and not isinstance(text, str):
            raise ColumnTypeError(f"item {index} is of type {type(text).__name__}, not text or None")
    try:
        return pa.array(texts, pa.string())
    except (UnicodeEncodeError, pa.ArrowInvalid):  # lone surrogates, which UTF-8 does not know
        return pa.array([text and _SURROGATES.sub("\ufffd", text) for text in texts], pa.string())


def _texts(column: pa.Array | pa.ChunkedArray, name: str) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    if isinstance(column, pa.Array):
        foreign = isinstance(column.type, pa.BaseExtensionType)  # which is not hashable
        schema = pa.schema([(name, column.type)]) if foreign else _schema(name, column.type)
        batch = pa.RecordBatch.from_arrays([column], schema=schema)
        return batch.schema, [batch]
    table = pa.table({name: column})
    return table.schema, table.to_batches()


@lru_cache(maxsize=64)
def _schema(name: str, kind: pa.DataType) -> pa.Schema:
    """One and the same for all texts of a service: so are the scorer's of the last call."""
    return pa.schema([(name, kind)])


def _cut(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """Batches of a bounded size."""
    for batch in batches:
        for start in range(0, len(batch), size):
            yield batch.slice(start, size)
