"""Predicates: bound conditions, evaluated for each row, and as far as possible for rows not yet read.

Minimum and maximum values in footers are not used: writers get them wrong, and rows would be lost.

Logic is three-valued, as in SQL: a comparison with null is neither true nor false, and only rows for which
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

#: The possible truth values of a condition.
Truths: TypeAlias = frozenset[bool | None]
ANY: Final[Truths] = frozenset({True, False, None})


class Predicate(Protocol):
    """A condition on the columns of one schema."""

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Return true, false or null for each row."""

    def possible(self) -> Truths:
        """Return the possible values for rows that are not read yet."""


class Open:
    """Base of predicates on the file's columns: before these are read, any value is possible."""

    def possible(self) -> Truths:
        return ANY


@dataclass(frozen=True)
class Same:
    """The same value for all rows."""

    truth: bool | None

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        return pa.repeat(pa.scalar(self.truth, pa.bool_()), len(batch))

    def possible(self) -> Truths:
        return frozenset({self.truth})


@dataclass(frozen=True)
class Unknown(Open):
    """A predicate on a column that is not available yet."""

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        return pa.nulls(len(batch), pa.bool_())


@dataclass(frozen=True)
class SameUnlessNull(Open):
    """The same value for all non-null rows: no ``int8`` is above 1,000."""

    operand: Operand
    truth: bool

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        return _unless_null(self.operand.values(batch), pa.scalar(self.truth))


@dataclass(frozen=True)
class Step(Open):
    """A comparison with a constant number of steps."""

    operand: Operand
    operator: Operator
    step: int

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        constant = scalar_of(self.step, self.operand.compared)
        return _KERNELS[self.operator](self.operand.values(batch), constant)


@dataclass(frozen=True)
class Member(Open):
    """IN a list of constants, which have the type of the operand's values.

    Attributes:
        items: The constants.
        has_null: Whether the list includes NULL: then a value not in it yields null, not false.
    """

    operand: Operand
    items: pa.Array
    has_null: bool

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        values = self.operand.values(batch)
        contained = pc.is_in(values, self.items)
        if self.has_null:
            return pc.if_else(contained, contained, pa.scalar(None, pa.bool_()))
        return _unless_null(values, contained)


@dataclass(frozen=True)
class Ordered(Open):
    """A comparison of two operands, or of an operand and a constant, that is not in steps of a constant.

    Attributes:
        common: The type that both sides are cast to.
        factors: The factors that convert each side to common steps.
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
    """A text that an RE2 regular expression matches."""

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
    """IS NULL."""

    operand: Operand

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        return self.operand.values(batch).is_null()


@dataclass(frozen=True)
class Truth(Open):
    """A boolean column."""

    operand: Operand

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        values = self.operand.values(batch)
        return values.cast(pa.bool_()) if self.operand.kind is Kind.NULL else values


@dataclass(frozen=True)
class Certain(Open):
    """IS TRUE or IS FALSE, never null."""

    part: Predicate
    truth: bool

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        values = self.part.evaluate(batch).fill_null(not self.truth)
        return values if self.truth else pc.invert(values)


@dataclass(frozen=True)
class Both:
    """AND."""

    parts: tuple[Predicate, ...]

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        return reduce(pc.and_kleene, (part.evaluate(batch) for part in self.parts))

    def possible(self) -> Truths:
        return _combined([part.possible() for part in self.parts], stop=False)


@dataclass(frozen=True)
class Either:
    """OR."""

    parts: tuple[Predicate, ...]

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        return reduce(pc.or_kleene, (part.evaluate(batch) for part in self.parts))

    def possible(self) -> Truths:
        return _combined([part.possible() for part in self.parts], stop=True)


@dataclass(frozen=True)
class Opposite:
    """NOT."""

    part: Predicate

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        return pc.invert(self.part.evaluate(batch))

    def possible(self) -> Truths:
        return frozenset(None if truth is None else not truth for truth in self.part.possible())


def _combined(parts: list[Truths], *, stop: bool) -> Truths:
    """Return the possible values of a combination; ``stop`` is dominant: False for AND, True for OR.

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
    """Compare floating-point numbers in the total order of PostgreSQL, DuckDB and Spark: NaN equals itself
    and is greater than all others, unlike in IEEE 754.
    """
    if operator in ("<>", ">=", "<="):
        return pc.invert(_floats({"<>": "=", ">=": "<", "<=": ">"}[operator], left, right))  # type: ignore[arg-type]
    if operator == ">":
        left, right = right, left
    nan, other = pc.is_nan(left), pc.is_nan(right)
    if operator == "=":
        return pc.or_kleene(pc.equal(left, right), pc.and_kleene(nan, other))
    return pc.or_kleene(pc.less(left, right), pc.and_kleene(pc.invert(nan), other))


#: Nanoseconds per day have 14 digits; a product has one digit more than both of its factors together.
_FACTOR: Final = pa.decimal128(14, 0)
_KERNELS: Final = {
    "=": pc.equal,
    "<>": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
