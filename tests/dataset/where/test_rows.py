"""``--where`` keeps the same rows as DuckDB: random conditions on random rows."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentstream.dataset.where import Condition, RowFilter
from sentstream.errors import ColumnNotFoundError, ColumnTypeError, UsageError

WORDS = [
    "",
    "en",
    "EN",
    "de",
    "a%b",
    "a_b",
    "ab",
    "İi",
    "ß",
    "straße",
    "😂 x",
    "  pad ",
    "it's",
    'say "hi"',
    "x\ny",
]
NUMBERS = [-1, 0, 1, 7, 2**31 - 1, 2**53, 2**53 + 1, -(2**63), 2**63 - 1]
FLOATS = [0.0, -0.0, 0.7, 1.5, -2.25, 1e300, float("inf"), float("-inf"), float("nan")]
DAYS = [date(1969, 12, 31), date(2026, 8, 31), date(2026, 9, 1), date(2026, 9, 2)]
TIMES = [datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime(2026, 9, 1), datetime(2026, 9, 1, 12, 30)]
DECIMALS = [Decimal("0.00"), Decimal("1.50"), Decimal("-1.51"), Decimal("99999.99")]

SCHEMA = pa.schema(
    {
        "i8": pa.int8(),
        "i64": pa.int64(),
        "u64": pa.uint64(),
        "f32": pa.float32(),
        "f64": pa.float64(),
        "dec": pa.decimal128(7, 2),
        "text": pa.string(),
        "word": pa.dictionary(pa.int8(), pa.string()),
        "flag": pa.bool_(),
        "day": pa.date32(),
        "ts": pa.timestamp("us"),
        "tz": pa.timestamp("us", "UTC"),
        "data": pa.struct({"lang": pa.large_string(), "n": pa.int32()}),
    }
)


def maybe(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), st.sampled_from(values))


ROW = st.fixed_dictionaries(
    {
        "i8": maybe([-128, -1, 0, 1, 7, 127]),
        "i64": maybe(NUMBERS),
        "u64": maybe([0, 1, 7, 2**63, 2**64 - 1]),
        "f32": maybe([0.0, -0.0, 0.7, 1.5, float("inf"), float("nan")]),
        "f64": maybe(FLOATS),
        "dec": maybe(DECIMALS),
        "text": maybe(WORDS),
        "word": maybe(WORDS),
        "flag": maybe([True, False]),
        "day": maybe(DAYS),
        "ts": maybe(TIMES),
        "tz": maybe([one.replace(tzinfo=UTC) for one in TIMES]),
        "data": st.one_of(st.none(), st.fixed_dictionaries({"lang": maybe(WORDS), "n": maybe([-1, 0, 7])})),
    }
)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


TEXTS = ["text", "word", "data.lang", "lower(text)", "upper(word)", "trim(text)", "lower(trim(data.lang))"]
#: Columns, and constants that DuckDB compares them with exactly as they are written.
LITERALS: dict[str, tuple[list[str], list[str]]] = {
    "integers": (
        ["i8", "i64", "u64", "data.n", "length(text)", "length(data.lang)"],
        [
            "-1",
            "0",
            "1",
            "7",
            "127",
            "128",
            "2147483647",
            "9007199254740993",
            "9223372036854775807",
            "1.5",
            "7.0",
        ],
    ),
    "decimals": (["dec"], ["0", "1.5", "1.505", "-1.51", "99999.99", "100000", "1"]),
    "doubles": (["f64"], ["0", "1.5", "-2.25", "0.5", "100"]),
    "floats": (["f32"], ["0", "1.5", "0.7", "100"]),
    "texts": (TEXTS, [quoted(word) for word in WORDS]),
    "days": (["day"], ["DATE '2026-09-01'", "'2026-09-01'", "'1969-12-31'"]),
    "times": (
        ["ts"],
        [
            "TIMESTAMP '2026-09-01 12:30:00'",
            "'2026-09-01'",
            "'2026-09-01 12:30:00.000001'",
            "DATE '2026-09-01'",
        ],
    ),
    "zoned": (["tz"], ["'2026-09-01T12:30:00Z'", "'2026-09-01 14:30:00+02:00'", "'2026-09-01 00:00:00'"]),
    "flags": (["flag"], ["TRUE", "FALSE"]),
}
OPERATORS = st.sampled_from(["=", "<>", "!=", "<", "<=", ">", ">="])


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    columns, literals = draw(st.sampled_from(list(LITERALS.values())))
    column, literal = draw(st.sampled_from(columns)), st.sampled_from([*literals, "NULL"])
    match draw(st.integers(0, 4)):
        case 0:
            return f"{draw(literal)} {draw(OPERATORS)} {column}"
        case 1:
            items = ", ".join(draw(st.lists(literal, min_size=1, max_size=3)))
            return f"{column} {draw(st.sampled_from(['IN', 'NOT IN']))} ({items})"
        case 2:
            low, high = draw(literal), draw(literal)
            return f"{column} {draw(st.sampled_from(['BETWEEN', 'NOT BETWEEN']))} {low} AND {high}"
        case _:
            return f"{column} {draw(OPERATORS)} {draw(literal)}"


@st.composite
def likes(draw: st.DrawFn) -> str:
    operator = draw(st.sampled_from(["LIKE", "NOT LIKE", "ILIKE", "NOT ILIKE"]))
    pattern = draw(
        st.lists(st.sampled_from(["%", "_", "e", "N", "a", "!%", "ß", "İ", "😂", "\n", ".", "'"]), max_size=4)
    )
    escape = draw(st.booleans())
    text = quoted("".join(pattern)) + (" ESCAPE '!'" if escape else "")
    return f"{draw(st.sampled_from(TEXTS))} {operator} {text}"


others = st.sampled_from(
    [
        *(
            f"{name} IS {no}NULL"
            for name in ["i8", "text", "word", "data", "data.lang", "tz"]
            for no in ("", "NOT ")
        ),
        *("flag", "NOT flag", "flag IS TRUE", "flag IS NOT TRUE", "flag IS FALSE", "TRUE", "FALSE"),
        *(
            "i8 < i64",
            "i64 = u64",
            "u64 >= i8",
            "f64 > i8",
            "f32 = f64",
            "f64 <= f32",
            "dec < i8",
            "dec = f64",
        ),
        *(
            "text = word",
            "lower(text) < data.lang",
            "day <= ts",
            "ts > day",
            "data.n = length(word)",
            "f64 <> f64",
        ),
    ]
)
CONDITIONS = st.recursive(
    st.one_of(comparisons(), comparisons(), likes(), others),
    lambda inner: st.one_of(
        inner.map(lambda one: f"NOT ({one})"),
        st.tuples(inner, st.sampled_from(["AND", "OR", "and", "or"]), inner).map(
            lambda parts: f"({' '.join(parts)})"
        ),
        st.tuples(inner, inner, inner).map(lambda parts: "{} OR {} AND {}".format(*parts)),
    ),
    max_leaves=6,
)


@pytest.fixture(name="duck", scope="module")
def _duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def kept_by_duckdb(duck: duckdb.DuckDBPyConnection, table: pa.Table, where: str) -> list[int]:
    numbered = table.append_column("row", pa.array(range(len(table)), pa.int64()))
    duck.register("given", numbered)
    # A table of its own: what DuckDB pushes down into Arrow, Arrow would answer.
    duck.execute("CREATE OR REPLACE TEMP TABLE rows AS SELECT * FROM given")
    found = duck.execute(f"SELECT row FROM rows WHERE {where} ORDER BY row").fetchall()
    duck.unregister("given")
    return [row for (row,) in found]


def kept(table: pa.Table, where: str, batch: int = 3) -> list[int]:
    numbered = table.append_column("row", pa.array(range(len(table)), pa.int64()))
    found = RowFilter(Condition.parse(where)).filtered(numbered.to_batches(batch), 4)
    return [row for part in found for row in part["row"].to_pylist()]


class TestMatchesDuckDB:
    @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(rows=st.lists(ROW, max_size=12), where=CONDITIONS)
    def test_same_rows_as_duckdb(
        self, duck: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]], where: str
    ) -> None:
        table = pa.Table.from_pylist(rows, SCHEMA)
        assert kept(table, where) == kept_by_duckdb(duck, table, where)

    def test_every_comparison(self, duck: duckdb.DuckDBPyConnection) -> None:
        words, nulls = [*WORDS, None], [None] * 3
        columns: dict[str, list[Any]] = {
            "i8": [-128, -1, 0, 1, 7, 127],
            "i64": NUMBERS,
            "u64": [0, 1, 7, 2**63, 2**64 - 1],
            "f32": [0.0, -0.0, 0.7, 1.5, float("inf"), float("nan")],
            "f64": FLOATS,
            "dec": DECIMALS,
            "text": words,
            "word": words,
            "flag": [True, False],
            "day": DAYS,
            "ts": TIMES,
            "tz": [one.replace(tzinfo=UTC) for one in TIMES],
            "data": [*({"lang": word, "n": 7} for word in WORDS), {"lang": None, "n": None}],
        }
        longest = max(map(len, columns.values()))
        table = pa.table(
            {name: values + nulls + [None] * (longest - len(values)) for name, values in columns.items()},
            SCHEMA,
        )
        numbered = table.append_column("row", pa.array(range(len(table)), pa.int64()))
        duck.register("given", numbered)
        duck.execute("CREATE OR REPLACE TEMP TABLE rows AS SELECT * FROM given")
        for names, literals in LITERALS.values():
            for name in names:
                for literal in [*literals, "NULL"]:
                    for operator in ("=", "<>", "<", "<=", ">", ">="):
                        where = f"{name} {operator} {literal}"
                        found = duck.execute(f"SELECT row FROM rows WHERE {where} ORDER BY row").fetchall()
                        assert kept(table, where) == [row for (row,) in found], where


def some_rows() -> pa.Table:
    rows = [
        {"i8": 1, "text": "en", "day": date(2026, 9, 1), "data": {"lang": "en", "n": 1}},
        {"i8": None, "text": None, "day": None, "data": None},
        {"i8": 3, "text": "de", "day": date(2026, 8, 1), "data": {"lang": None, "n": 3}},
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


class TestOwnSyntax:
    @pytest.mark.parametrize(
        ("where", "rows"),
        [
            ('text = "en" and day >= "2026-09-01"', [0]),
            ("`text` = 'en'", [0]),
            ("`data`.`lang` is null", [1, 2]),
            ("i8 == '1'", [0]),
            ('i8 in ("1", "03")', [0, 2]),
            ("text <> 'en' -- a comment", [2]),
            ("len(text) = 2 and char_length(text) = 2", [0, 2]),
            ("text = 'e\\n'", []),
            ("day > '2026-08-01 12:00'", [0]),
            ("i8 > 1e400 or i8 > -1e300", [0, 2]),
            (" or ".join(f"i8 = {number}" for number in range(1500)), [0, 2]),
            ("i8 in (" + ", ".join(map(str, range(5000))) + ")", [0, 2]),
        ],
    )
    def test_rows(self, where: str, rows: list[int]) -> None:
        assert kept(some_rows(), where) == rows

    @pytest.mark.parametrize(
        ("where", "error", "message"),
        [
            ("i8 = 'x'", ColumnTypeError, "i8 = 'x': column 'i8' of type int8 is compared with 'x', text"),
            ("text = 5", ColumnTypeError, "is compared with 5, a number (compare it with text, in quotes)"),
            ("day = 20260901", ColumnTypeError, "a date as '2026-09-01'"),
            ("day = '2026-13-01'", ColumnTypeError, "'2026-13-01'"),
            ("text >= DATE '2026-09-01'", ColumnTypeError, "a date"),
            (
                "ts > '2026-09-01T00:00:00Z'",
                ColumnTypeError,
                "has no time zone, and '2026-09-01T00:00:00Z' has",
            ),
            ("tz > ts", ColumnTypeError, "do not both have a time zone"),
            ("flag = 'x'", ColumnTypeError, "TRUE or FALSE"),
            ("data = 1", ColumnTypeError, "of type struct cannot be compared"),
            ("text", ColumnTypeError, "is not a condition"),
            ("i8 AND flag", ColumnTypeError, "column 'i8' of type int8 is not a condition"),
            ("i8 LIKE 'x'", ColumnTypeError, "LIKE needs text"),
            ("length(i8) = 1", ColumnTypeError, "length() needs text"),
            ("text = i8", ColumnTypeError, "is compared with 'i8' of type int8"),
            ("txet = 'en'", ColumnNotFoundError, "no column 'txet'; did you mean 'text'"),
            ("data.lnag = 'en'", ColumnNotFoundError, "no column 'data.lnag'; did you mean 'data.lang'"),
            ('"text" = "en"', UsageError, "'text' = 'en' compares two constants"),
            ("", UsageError, "it is empty"),
            ("i8 =", UsageError, "something is missing near '='"),
            ("i8 = 1 and", UsageError, "something is missing near 'and'"),
            ("i8 = 1; drop table x", UsageError, "'drop' at character 9 is unexpected"),
            ("text = 'en", UsageError, "is a quote not closed?"),
            ("i8 + 1 = 2", UsageError, "i8 + 1 is not supported"),
            ("regexp_matches(text, 'x')", UsageError, "REGEXP_MATCHES(text, 'x') is not supported"),
            ("i8 IN (SELECT 1)", UsageError, "i8 IN (SELECT 1) is not supported"),
            ("i8 IN ()", UsageError, "not supported"),
            ("trim(both 'x' from text) = 'a'", UsageError, "not supported"),
            ("text LIKE ANY ('a', 'b')", UsageError, "not supported"),
            ("CAST(i8 AS text) = '1'", UsageError, "CAST(i8 AS TEXT) is not supported"),
            ("tz > '2026-09-01' IS NULL", UsageError, "not supported"),
            ("i8 IS DISTINCT FROM 1", UsageError, "not supported"),
            ("day = CURRENT_DATE", UsageError, "CURRENT_DATE is not supported"),
            ("if = 1", UsageError, "not supported"),
            ("text LIKE 'a!' ESCAPE '!'", UsageError, "ends with its escape"),
            ("text LIKE 'a' ESCAPE 'ab'", UsageError, "ESCAPE takes one character"),
            ("i8 = 1e999999999", UsageError, "out of range"),
            ("(" * 5000 + "i8 = 1" + ")" * 5000, UsageError, "nested too deep"),
            ("NOT " * 5000 + "flag", UsageError, "nested too deep"),
            ("text = '\udcff'", UsageError, "not valid UTF-8"),
        ],
    )
    def test_rejected_conditions(
        self, where: str, error: type[Exception], message: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(error) as raised:
            RowFilter(Condition.parse(where)).bind(SCHEMA)
        assert message in str(raised.value)
        assert "\n" not in str(raised.value)
        assert type(raised.value) is error
        assert not capfd.readouterr().err  # sqlglot logs

    def test_pickling(self) -> None:
        rows = pickle.loads(pickle.dumps(RowFilter(Condition.parse("i8 > 1"))))
        assert [len(batch) for batch in rows.filtered(some_rows().to_batches(), 10)] == [1]
