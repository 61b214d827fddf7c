"""The Python API: a loaded model that scores texts, record batches and any Arrow data."""

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

#: Rows per batch: enough tweets of each length to fill the graph's runs, few enough to keep memory small.
BATCH_ROWS = 32_768
#: The same for a GPU, whose runs are that much larger.
_CUDA_BATCH_ROWS = 262_144
#: Minimum number of rows for which an extra thread pays off.
_FEWEST_ROWS = 1024
#: Number of scorers that a model keeps, one per combination of settings.
_MOST_SCORERS = 64
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model to load and how to run it: the arguments of ``sentstream.load`` as one value.

    Attributes:
        model: The name of a model that ships, or the path of a bundle; None is the default model.
        provider: ``"cpu"``, ``"cuda"``, or ``"auto"``: CUDA if it works, otherwise the CPU.
        threads: Number of scoring threads; None is one per CPU available to this process.
        max_chars: Number of characters to read of each text; None is the model's own limit.
        device: The CUDA device number; None is 0.
        gpu_memory: Maximum size in bytes of ONNX Runtime's arena in GPU memory; None is no limit.
    """

    model: str | os.PathLike[str] | None = None
    provider: Provider = "auto"
    threads: int | None = None
    max_chars: int | None = None
    device: int | None = None
    gpu_memory: int | None = None


class Model:
    """A verified model that is ready to score; created by ``sentstream.load``. It is thread-safe.

    A pickle holds the model's name or path, its digest and its settings. Unpickling loads the model from the
    local files, which must be the same (else ``BundleDigestError``). Copying returns the same object.

    Example:
        >>> import sentstream
        >>> sentstream.load("sentiment140", provider="cpu", threads=1)
        <sentstream.Model sentiment140 ... sha256:... on cpu>

    Args:
        bundle: The verified bundle.
        session: Its open graph.
        threads: Number of scoring threads, limited to the number of CPUs.

    Attributes:
        threads: Number of scoring threads in use.
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
        """Load and verify a model; takes the arguments of ``sentstream.load``."""
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
        """The same model, but loaded with one thread and this provider when it is unpickled in a worker.

        Args:
            provider: The provider in the worker.
            gpu_memory: Maximum size in bytes of ONNX Runtime's arena in the worker's GPU memory.
        """
        model = Model(self.bundle, self.session, 1)
        memory = gpu_memory if provider == "cuda" else None
        model._options = replace(self._options, provider=provider, threads=1, gpu_memory=memory)
        return model

    @property
    def options(self) -> ModelOptions:
        """The options it was opened with, which a pickle keeps."""
        return self._options

    @property
    def source(self) -> str:
        """The name or path that a pickle of it is loaded from."""
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
        """SHA-256 digest that covers every file of the model: ``sha256:…``."""
        return self.bundle.digest

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the probability columns."""
        return self.bundle.labels

    @property
    def provider(self) -> Literal["cpu", "cuda"]:
        """The provider in use."""
        return self.session.provider

    @property
    def fallback(self) -> str | None:
        """Why the CPU runs it although CUDA is available but does not work; otherwise None."""
        return self.session.fallback

    @property
    def placement(self) -> Placement | None:
        """On CUDA, which provider ran each node of the graph; otherwise None."""
        return self.session.placement

    @property
    def batch_rows(self) -> int:
        """Default maximum number of rows that it scores at a time."""
        on_gpu = self.session.device is not None or self._options.provider == "cuda"
        return _CUDA_BATCH_ROWS if on_gpu else BATCH_ROWS

    def __repr__(self) -> str:
        return f"<sentstream.Model {self.name} {self.version} {self.bundle.short_digest} on {self.provider}>"

    def _repr_html_(self) -> str:
        """HTML for notebooks."""
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
        """A scorer of record batches with these settings; see ``Scorer``."""
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
        """Score one record batch in the calling thread.

        Args:
            batch: The rows.
            text_column: The text column, or the path of a struct field such as ``data.text``.
            prefix: Name of the label column and prefix of the other added columns.
            abstain: Rows with a score below this value get the label ``uncertain``.

        Returns:
            The same rows and columns, followed by ``sentiment`` (string), ``sentiment_score`` (float32, the
            highest probability) and one ``sentiment_prob_<label>`` (float32) per label. All added values are
            null if the text is null, empty or only whitespace.

        Raises:
            UsageError: ``abstain`` is not in (0, 1], or the model already has a label ``uncertain``.
            InputError: The column does not exist or is not text, or an added column already exists.

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
            data: A text, an iterable of ``str`` or None, an Arrow array of text, or any object with
                ``__arrow_c_stream__`` or ``__arrow_c_array__`` (pyarrow, polars, pandas, duckdb …).
                Lone surrogates are replaced by U+FFFD; other rows are not affected.
            text_column: The text column, or the path of a struct field such as ``data.text``; for plain
                texts, the name of the column in the result.
            prefix: Name of the label column and prefix of the other added columns.
            abstain: Rows with a score below this value get the label ``uncertain``.

        Returns:
            The same rows in the same order, with the columns that ``score_batch`` adds.

        Raises:
            UsageError: ``abstain`` is not in (0, 1], or the model already has a label ``uncertain``.
            InputError: The column does not exist or is not text, or an added column already exists.
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
        if isinstance(batches, list):  # the number of rows is known: divide them among the threads
            rows = sum(map(len, batches))
            size = min(size, max(_FEWEST_ROWS, -(-rows // threads)))
            threads = min(threads, max(1, -(-rows // size)))
        scored = scorer.score_stream(_cut(batches, size), threads)
        return pa.Table.from_batches((part.batch for part in scored), output)

    def _scorer(self, text_column: str, prefix: str, abstain: float | None) -> Scorer:
        """The scorer with these settings, created once."""
        key = text_column, prefix, abstain
        scorer = self._scorers.get(key)
        if scorer is None:
            scorer = self.scorer(text_column=text_column, prefix=prefix, abstain=abstain)
            if len(self._scorers) < _MOST_SCORERS:
                self._scorers[key] = scorer
        return scorer


def open_model(options: ModelOptions) -> Model:
    """Open and verify a model; all callers use this function.

    Args:
        options: The model to load and how to run it.

    Raises:
        UsageError: An option has an invalid value.
        BundleError: The model does not exist or is not valid.
        ProviderError: ``"cuda"`` was requested but cannot run here, or not on this device.
        MissingExtraError: ONNX Runtime is not installed.
    """
    if options.threads is not None and options.threads < 1:
        raise UsageError(f"threads must be a positive integer, not {options.threads}")
    name = DEFAULT_MODEL if options.model is None else options.model
    bundle = load_bundle(name, max_chars=options.max_chars)
    session = Session(bundle, options.provider, device=options.device, gpu_memory=options.gpu_memory)
    model = Model(bundle, session, options.threads or usable_cpus())
    # A model that ships is identified by its name, wherever it is installed; any other by its path.
    source = str(name) if name in list_models() else str(bundle.path.resolve())
    model._options = replace(options, model=source)
    return model


@lru_cache(maxsize=4)
def open_same(options: ModelOptions, digest: str) -> Model:
    """Load a pickled model. The most recent ones stay open, since a worker gets one with each task.

    Raises:
        BundleError: The model does not exist or is not valid.
        BundleDigestError: The files differ from those of the pickled model.
    """
    model = open_model(options)
    if model.digest != digest:
        raise BundleDigestError(
            f"{options.model} is {model.digest} here, but the pickled model is {digest}",
            hint="use the same files on every machine, and do not change them while workers run",
        )
    return model


def _batches(data: Any, text_column: str) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    """The data as record batches with one schema."""
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
    """The texts of any data that ``Model.score`` takes, as ``large_string`` with valid UTF-8.

    Args:
        data: Texts, or a table with a column named ``text``.

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
        except (TypeError, pa.ArrowException):  # a stream of plain values, such as a polars Series
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
    """Python texts as an Arrow column; a single ``str`` is one row. Lone surrogates become U+FFFD.

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
    except (UnicodeEncodeError, pa.ArrowInvalid):  # lone surrogates, which UTF-8 cannot encode
        return pa.array([text and _SURROGATES.sub("\ufffd", text) for text in texts], pa.string())


def _texts(column: pa.Array | pa.ChunkedArray, name: str) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    if isinstance(column, pa.Array):
        foreign = isinstance(column.type, pa.BaseExtensionType)  # not hashable
        schema = pa.schema([(name, column.type)]) if foreign else _schema(name, column.type)
        batch = pa.RecordBatch.from_arrays([column], schema=schema)
        return batch.schema, [batch]
    table = pa.table({name: column})
    return table.schema, table.to_batches()


@lru_cache(maxsize=64)
def _schema(name: str, kind: pa.DataType) -> pa.Schema:
    """The schema of one column, cached: a service then reuses the scorer's schemas of the last call."""
    return pa.schema([(name, kind)])


def _cut(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """Batches of a bounded size."""
    for batch in batches:
        for start in range(0, len(batch), size):
            yield batch.slice(start, size)
