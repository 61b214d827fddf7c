"""Every Arrow type for text, through every interface: the same labels as plain strings, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle

from sentstream import Model
from sentstream.dataset import prepare, score_plan
from sentstream.dataset.formats.json.rows import json_objects
from sentstream.explanation import explain
from sentstream.text.storage import encoded, plain_values, value_type
from sentstream_train.data.labeled import read_labeled

TEXTS = ["I love it", None, "", " \t", "bad " * 400, "bad day", "I love it", "good morning, sunshine", "é 😀"]
TEXTS += ["bad day", None]
SHORT = [*TEXTS[:4], *TEXTS[7:9]]
BYTES = [None if text is None else text.encode() for text in TEXTS]
INDICES = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
STORED = [pa.string(), pa.large_string(), pa.string_view()]


class Marked(pa.ExtensionType):
    """A third-party extension type that is stored as text."""

    def __init__(self, storage: pa.DataType) -> None:
        super().__init__(storage, "tests.marked")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> Marked:
        return cls(storage)


def dictionary(texts: list[str | None], index: pa.DataType, kind: pa.DataType) -> pa.Array:
    """With a value that is stored twice, one that no row has, and a null among the values, too."""
    values = [*dict.fromkeys(texts), "never used"]
    indices = [values.index(text) for text in texts]
    if texts:
        values.append(texts[-1])
        indices[-1] = len(values) - 1
    if None in texts:  # once as a null index, otherwise as a null value
        indices[texts.index(None)] = None  # type: ignore[call-overload]
    return pa.DictionaryArray.from_arrays(pa.array(indices, index), pa.array(values, kind))


def runs(
    texts: list[str | None], values: Callable[[list[str | None]], pa.Array], kind: pa.DataType
) -> pa.Array:
    """The first half in runs of one, the second half with runs of what is equal."""
    ends = [row + 1 for row, text in enumerate(texts) if row < 3 or texts[row + 1 : row + 2] != [text]]
    starts = [texts[end - 1] for end in ends]
    return pa.RunEndEncodedArray.from_arrays(pa.array(ends, kind), values(starts))


def marked(storage: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(Marked(storage.type), storage)


def opaque(storage: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(pa.opaque(storage.type, "citext", "PostgreSQL"), storage)


def json(storage: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(pa.json_(storage.type), storage)


def forms() -> Iterator[tuple[str, Callable[[list[str | None]], pa.Array]]]:
    """Pairs of a name and a function that stores texts in that form."""
    for kind in STORED:
        plain = lambda texts, kind=kind: pa.array(texts, kind)  # noqa: E731 - one of many small ones
        yield str(kind), plain
        for index in INDICES:
            yield f"dictionary {index} {kind}", lambda texts, i=index, k=kind: dictionary(texts, i, k)
        for end in (pa.int16(), pa.int32(), pa.int64()):
            yield f"runs {end} {kind}", lambda texts, e=end, p=plain: runs(texts, p, e)
        yield (
            f"runs of dictionary {kind}",
            lambda texts, k=kind: runs(texts, lambda some: dictionary(some, pa.int8(), k), pa.int32()),
        )
        for wrap in (marked, opaque, json):
            yield f"{wrap.__name__} {kind}", lambda texts, w=wrap, p=plain: w(p(texts))
        yield (
            f"marked dictionary {kind}",
            lambda texts, k=kind: marked(dictionary(texts, pa.int32(), k)),
        )
    for kind in (pa.binary(), pa.large_binary(), pa.binary_view()):
        as_bytes = lambda texts, kind=kind: pa.array(  # noqa: E731
            [None if text is None else text.encode() for text in texts], kind
        )
        yield str(kind), as_bytes
        yield f"runs of {kind}", lambda texts, b=as_bytes: runs(texts, b, pa.int32())


FORMS = dict(forms())


@pytest.fixture(name="model", scope="module")
def _model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model.load(make_bundle(tmp_path_factory.mktemp("model") / "tiny"), threads=2)


def added(table: pa.Table | pa.RecordBatch) -> list[pa.Array]:
    """The added columns, which follow the text."""
    columns = [
        column for name, column in zip(table.schema.names, table.columns, strict=True) if name != "text"
    ]
    return [one.combine_chunks() if isinstance(one, pa.ChunkedArray) else one for one in columns]


def same(ours: pa.Table | pa.RecordBatch, plain: pa.Table | pa.RecordBatch) -> bool:
    """Whether two results are the same bit for bit."""
    pairs = zip(added(ours), added(plain), strict=True)
    return len(ours) == len(plain) and all(one.equals(other) for one, other in pairs)


@pytest.mark.parametrize("form", FORMS)
class TestMatrix:
    def test_whole(self, model: Model, form: str) -> None:
        column = FORMS[form](TEXTS)
        assert plain_values(column).to_pylist() in (TEXTS, BYTES)
        plain = model.score(pa.array(TEXTS))
        batch = pa.record_batch({"text": column})
        scored = model.score_batch(batch)
        assert scored.schema.field("text").type == column.type
        assert scored.column("text").equals(column)
        for ours in (
            scored,
            model.score(column),
            model.score(batch),
            model.score(pa.table({"text": column})),
        ):
            assert same(ours, plain)

    def test_sliced_chunked_and_streamed(self, model: Model, form: str) -> None:
        column = FORMS[form](TEXTS)
        first, second = column.slice(1, 6), FORMS[form](TEXTS[::-1]).slice(2)
        plain = model.score([*TEXTS[1:7], *TEXTS[::-1][2:]])
        assert same(model.score(pa.chunked_array([first, second])), plain)
        batches = [pa.record_batch({"text": chunk}) for chunk in (first, second)]
        assert same(model.score(pa.table({"text": pa.chunked_array([first, second])})), plain)
        stream = model.scorer().score_stream(batches, threads=2)
        parts = list(stream)
        assert same(pa.Table.from_batches([part.batch for part in parts]), plain)
        assert sum(part.tally.truncated for part in parts) == 2

    def test_few_rows_with_many_values(self, model: Model, form: str) -> None:
        column = FORMS[form](TEXTS).slice(4, 2)
        assert same(model.score(column), model.score(TEXTS[4:6]))

    @pytest.mark.parametrize(
        "texts", [[], [None], [None] * 20, ["", " "]], ids=["none", "null", "nulls", "blank"]
    )
    def test_no_labels_for_blank_values(self, model: Model, form: str, texts: list[str | None]) -> None:
        scored = model.score(pa.table({"text": FORMS[form](texts)}))
        assert scored["sentiment"].to_pylist() == [None] * len(texts)

    def test_invalid_utf8_does_not_affect_other_rows(self, model: Model, form: str) -> None:
        broken = pa.array([b"I love it", b"bad \xff day", None, b"bad day"])
        kind = value_type(FORMS[form](TEXTS).type)
        view = {pa.string_view(): pa.binary_view(), pa.large_string(): pa.large_binary()}.get(kind)
        values = broken.cast(view).view(kind) if view else broken.cast(kind, safe=False)
        if "dictionary" in form:
            column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 3], pa.int8()), values)
        elif "runs" in form:
            # pyarrow makes none of broken text, but of bytes.
            column = pa.RunEndEncodedArray.from_arrays(pa.array([1, 2, 3, 4], pa.int32()), broken)
        else:
            column = values
        assert same(model.score(column), model.score(["I love it", "bad \ufffd day", None, "bad day"]))

    def test_explanation(self, model: Model, form: str) -> None:
        if "binary" not in form:
            assert explain(model, FORMS[form](SHORT)) == explain(model, SHORT)
        assert explain(model, pa.table({"text": FORMS[form](SHORT)})) == explain(model, SHORT)

    def test_json_output(self, form: str) -> None:
        if "binary" not in form:
            assert json_objects(pa.record_batch({"text": FORMS[form](TEXTS)})) == json_objects(
                pa.record_batch({"text": pa.array(TEXTS)})
            )

    def test_file_is_scored_and_trained_on(self, model: Model, form: str, tmp_path: Path) -> None:
        table = pa.table({"text": FORMS[form](TEXTS), "label": [row % 2 for row in range(len(TEXTS))]})
        try:
            pq.write_table(table, tmp_path / "in.parquet")
        except (pa.ArrowNotImplementedError, pa.ArrowTypeError):
            pytest.skip("Parquet does not hold it, or pyarrow cannot write it")
        pq.write_table(table.set_column(0, "text", pa.array(TEXTS)), tmp_path / "plain.parquet")
        for name in ("in", "plain"):
            with prepare(
                [str(tmp_path / f"{name}.parquet")],
                output=str(tmp_path / f"{name}.out.parquet"),
                model=str(model.bundle.path),
            ) as plan:
                score_plan(plan)
        outputs = [pq.read_table(tmp_path / f"{name}.out.parquet") for name in ("in", "plain")]
        assert same(*outputs)
        rows = [read_labeled([tmp_path / f"{name}.parquet"]) for name in ("in", "plain")]
        assert rows[0].text.equals(rows[1].text)
        assert np.array_equal(rows[0].label, rows[1].label)


class TestForeign:
    """Data of other libraries."""

    KINDS = (pl.String, pl.Categorical, pl.Enum([text for text in dict.fromkeys(TEXTS) if text is not None]))

    @pytest.mark.parametrize("kind", KINDS, ids=str)
    def test_polars(self, model: Model, kind: Any) -> None:
        series = pl.Series("text", TEXTS, dtype=kind)
        plain = model.score(TEXTS)
        for data in (series, series.to_frame(), series.to_arrow(), pl.concat([series[:3], series[3:]])):
            assert same(model.score(data), plain)
        assert same(
            model.score(series.filter(pl.Series([row > 3 for row in range(len(TEXTS))]))), plain.slice(4)
        )
        assert model.score(series.clear())["sentiment"].to_pylist() == []
        assert explain(model, series[:3]) == explain(model, TEXTS[:3])

    def test_polars_file(self, model: Model, tmp_path: Path) -> None:
        for index, kind in enumerate(self.KINDS):
            path = tmp_path / f"{index}.parquet"
            pl.DataFrame({"text": pl.Series(TEXTS, dtype=kind)}).write_parquet(path)
            with prepare([str(path)], model=str(model.bundle.path)) as plan:
                score_plan(plan)
            assert same(pq.read_table(path.with_name(f"{index}.scored.parquet")), model.score(TEXTS))


class TestStorage:
    def test_long_dictionary_is_not_scanned_per_slice(self, model: Model) -> None:
        values = pa.array([f"I love it {number}" for number in range(50_000)], pa.string_view())
        column = pa.DictionaryArray.from_arrays(pa.array(range(50_000), pa.int32()), values)
        assert same(model.score(column), model.score(values))

    def test_shared_values_are_stored_once(self) -> None:
        values, indices = encoded(dictionary(["x" * 1000] * 5000, pa.int16(), pa.string()))
        assert indices is not None
        assert len(indices) == 5000
        assert len(values) <= 3

    def test_other_types(self) -> None:
        numbers = pa.array([1, 1, None, 4])
        assert plain_values(pc.run_end_encode(numbers)).equals(numbers)
        assert plain_values(numbers.dictionary_encode()).equals(numbers)
        assert plain_values(numbers) is numbers
