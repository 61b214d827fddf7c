"""A condition that knows its columns: what it is of each row, and what it may be of rows not yet read.

What a footer says of least and greatest values is not asked: that is hearsay, and a row would be lost by it.

Logic has three values, as in SQL: a comparison with null is neither true nor false, and only rows of which
the condition is true are kept. https://en.wikipedia.org/wiki/Three-valued_logic (Kleene's)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Final, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from sentstream.dataset.where.operands import Kind, Operand
from sentstream.dataset.where.tree import Operator
from sentstream.dataset.where.values import scalar_of
from sentstream.text.storage import as_text

#: What a condition may be of some rows.
Truths: TypeAlias = frozenset[bool | None]
ANY: Final[Truths] = frozenset({True, False, None})


class Predicate(Protocol):
    """A condition of the columns of one schema."""

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """For each row true, false, or null."""

    def possible(self) -> Truths:
        """What it may be of rows that are not read yet."""


class Open:
    """What columns of the file decide: before they are read, it may be anything."""

    def possible(self) -> Truths:
        return ANY


@dataclass(frozen=True)
class Same:
    """The same of all rows."""

    truth: bool | None

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        return pa.repeat(pa.scalar(self.truth, pa.bool_()), len(batch))

    def possible(self) -> Truths:
        return frozenset({self.truth})


@dataclass(frozen=True)
class Unknown(Open):
    """About a column that is not at hand yet."""

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        return pa.nulls(len(batch), pa.bool_())


@dataclass(frozen=True)
class SameUnlessNull(Open):
    """The same of all rows that hold a value: no ``int8`` is above 1,000."""

    operand: Operand
    truth: bool

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        return _unless_null(self.operand.values(batch), pa.scalar(self.truth))


@dataclass(frozen=True)
class Step(Open):
    """A whole number of steps beside a constant one."""

    operand: Operand
    operator: Operator
    step: int

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        constant = scalar_of(self.step, self.operand.compared)
        return _KERNELS[self.operator](self.operand.values(batch), constant)


@dataclass(frozen=True)
class Member(Open):
    """One of some constants, of the type that the operand's values have.

    Attributes:
        items: The constants.
        has_null: Whether NULL is among them: then what is none of the others is not false, but unknown.
    """

    operand: Operand
    items: pa.Array
    has_null: bool

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        values = self.operand.values(batch)
        found = pc.is_in(values, self.items)
        if self.has_null:
            return pc.if_else(found, found, pa.scalar(None, pa.bool_()))
        return _unless_null(values, found)


@dataclass(frozen=True)
class Ordered(Open):
    """Two operands of one kind, or one beside a constant, where steps do not serve.

    Attributes:
        common: The type that both are brought to.
        factors: What the steps of each are multiplied with first.
    """

    operator: Operator
    left: Operand
    right: Operand | pa.Scalar
    common: pa.DataType
    factors: tuple[int, int] = (1, 1)

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        left = self._brought(self.left.values(batch), self.factors[0])
        if isinstance(self.right, Operand):
            right = self._brought(self.right.values(batch), self.factors[1])
        else:
            right = self.right
        if pa.types.is_floating(self.common):
            return _floats(self.operator, left, right)
        return _KERNELS[self.operator](left, right)

    def _brought(self, values: pa.Array, factor: int) -> pa.Array:
        if not values.type.equals(self.common):
            values = values.cast(self.common, safe=not pa.types.is_floating(self.common))
        if factor == 1:
            return values
        return pc.multiply(values, pa.scalar(factor, _FACTOR))


@dataclass(frozen=True)
class Matches(Open):
    """A text that a regular expression of RE2 matches whole."""

    operand: Operand
    pattern: str
    ignore_case: bool

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        values = as_text(self.operand.values(batch))
        if self.ignore_case:
            values = pc.utf8_lower(values)
        return pc.match_substring_regex(values, self.pattern)


@dataclass(frozen=True)
class Null(Open):
    """No value."""

    operand: Operand

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        return self.operand.values(batch).is_null()


@dataclass(frozen=True)
class Truth(Open):
    """A boolean column as it is."""

    operand: Operand

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        values = self.operand.values(batch)
        return values.cast(pa.bool_()) if self.operand.kind is Kind.NULL else values


@dataclass(frozen=True)
class Certain(Open):
    """What is so, for sure; null is not."""

    part: Predicate
    truth: bool

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        values = self.part.evaluate(batch).fill_null(not self.truth)
        return values if self.truth else pc.invert(values)


@dataclass(frozen=True)
class Both:
    """All of some conditions."""

    parts: tuple[Predicate, ...]

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        return reduce(pc.and_kleene, (part.evaluate(batch) for part in self.parts))

    def possible(self) -> Truths:
        return _combined([part.possible() for part in self.parts], stop=False)


@dataclass(frozen=True)
class Either:
    """One of some conditions, or more."""

    parts: tuple[Predicate, ...]

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        return reduce(pc.or_kleene, (part.evaluate(batch) for part in self.parts))

    def possible(self) -> Truths:
        return _combined([part.possible() for part in self.parts], stop=True)


@dataclass(frozen=True)
class Opposite:
    """Not a condition."""

    part: Predicate

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        return pc.invert(self.part.evaluate(batch))

    def possible(self) -> Truths:
        return frozenset(None if truth is None else not truth for truth in self.part.possible())


def _combined(parts: list[Truths], *, stop: bool) -> Truths:
    """What several may come to, where one that is ``stop`` decides: False of AND, True of OR.

    >>> sorted(_combined([frozenset({True}), frozenset({False, True})], stop=False))
    [False, True]
    """

    def both(left: Truths, right: Truths) -> Truths:
        found: set[bool | None] = set()
        for one in left:
            for other in right:
                if one is stop or other is stop:
                    found.add(stop)
                else:
                    found.add(None if one is None or other is None else not stop)
        return frozenset(found)

    return reduce(both, parts)


def _unless_null(values: pa.Array, truth: pa.Array | pa.Scalar) -> pa.BooleanArray:
    return pc.if_else(values.is_valid(), truth, pa.scalar(None, pa.bool_()))


def _floats(operator: Operator, left: pa.Array, right: pa.Array | pa.Scalar) -> pa.BooleanArray:
    """An order of all floating-point numbers, as in PostgreSQL, DuckDB and Spark: NaN is equal to itself and
    greater than all others. In that of IEEE 754 it is neither.
    """
    if operator in ("<>", ">=", "<="):
        return pc.invert(_floats({"<>": "=", ">=": "<", "<=": ">"}[operator], left, right))  # type: ignore[arg-type]
    if operator == ">":
        left, right = right, left
    nan, other = pc.is_nan(left), pc.is_nan(right)
    if operator == "=":
        return pc.or_kleene(pc.equal(left, right), pc.and_kleene(nan, other))
    return pc.or_kleene(pc.less(left, right), pc.and_kleene(pc.invert(nan), other))


#: Nanoseconds of a day have 14 digits; a product has one digit more than both of its factors.
_FACTOR: Final = pa.decimal128(14, 0)
_KERNELS: Final = {
    "=": pc.equal,
    "<>": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
