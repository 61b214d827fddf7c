"""Bind a condition to the columns of a schema, and check the types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from math import isinf
from typing import Final, NoReturn

import pyarrow as pa

from sentstream.dataset.where.numerals import numbers
from sentstream.dataset.where.operands import NUMBERS, STEPS, Kind, Operand, kind_of
from sentstream.dataset.where.patterns import regular_expression
from sentstream.dataset.where.predicates import (
    Both,
    Certain,
    Either,
    Matches,
    Member,
    Null,
    Open,
    Opposite,
    Ordered,
    Predicate,
    Same,
    SameUnlessNull,
    Step,
    Truth,
    Unknown,
)
from sentstream.dataset.where.tree import (
    MIRRORED,
    All,
    Among,
    Any,
    Call,
    Compare,
    Constant,
    Flag,
    IsNull,
    IsTruth,
    Like,
    Name,
    Node,
    Not,
    Operator,
    Term,
    Value,
)
from sentstream.dataset.where.values import limits, number_of, scalar_of, seconds_of
from sentstream.errors import ColumnNotFoundError, ColumnTypeError, UsageError
from sentstream.text.columns import find_field
from sentstream.text.storage import value_type

#: One row, for evaluating predicates that use no columns.
_ROW: Final = pa.record_batch([pa.nulls(1)], ["row"])
#: The column that holds untyped text parsed as numbers.
_NUMBER: Final = Name("number")
_TRUE: Final = {"true": True, "false": False}
_WRITTEN: Final = {
    Kind.INTEGER: "a number",
    Kind.DECIMAL: "a number",
    Kind.FLOAT: "a number",
    Kind.TEXT: "text, in quotes",
    Kind.BOOLEAN: "TRUE or FALSE",
    Kind.DATE: "a date as '2026-09-01'",
    Kind.TIMESTAMP: "a date or time as '2026-09-01' or '2026-09-01 12:30:00'",
}


class Binder:
    """Binds conditions to a schema.

    Args:
        schema: The schema of the rows.
        folders: Columns with one value for all rows, from the file's folders; they take precedence over
            columns of the same name.
        partial: Whether predicates with missing columns are left unknown.
        untyped: Whether text columns may hold numbers, as in CSV.
    """

    def __init__(
        self,
        schema: pa.Schema,
        folders: Mapping[str, pa.Scalar],
        *,
        partial: bool = False,
        untyped: bool = False,
    ) -> None:
        self._untyped = untyped
        others = [pa.field(name, value.type) for name, value in folders.items() if name not in schema.names]
        self._schema, self._folders, self._partial = pa.schema([*schema, *others]), folders, partial

    def bind(self, node: Node) -> Predicate:
        """Return the predicate for a condition.

        Raises:
            ColumnNotFoundError: There is no such column; the message suggests the closest name.
            ColumnTypeError: A column is compared with a value of another type.
            UsageError: Two constants are compared.
        """
        match node:
            case All(parts):
                return Both(tuple(map(self.bind, parts)))
            case Any(parts):
                return Either(tuple(map(self.bind, parts)))
            case Not(part):
                return Opposite(self.bind(part))
            case Constant(truth):
                return Same(truth)
        try:
            predicate, operands = self._leaf(node)
        except ColumnNotFoundError:
            if self._partial:
                return Unknown()
            raise
        if all(operand.is_constant for operand in operands):
            return Same(predicate.evaluate(_ROW)[0].as_py())
        return predicate

    def _leaf(self, node: Node) -> tuple[Predicate, list[Operand]]:
        match node:
            case Compare(operator, left, right, shown):
                return self._comparison(operator, left, right, shown)
            case Among(term, items, shown):
                operand = self._operand(term, shown)
                if self._is_numeral(operand, *items):
                    return Numeral(operand, replace(node, term=_NUMBER)), [operand]
                return _member(operand, items, shown), [operand]
            case Like(term, pattern, escape, ignore_case, shown):
                operand = self._operand(term, shown)
                if operand.kind is Kind.NULL:
                    return Same(None), [operand]
                if operand.kind is not Kind.TEXT:
                    _refuse(operand, shown, "is not text", "LIKE needs text")
                expression = regular_expression(pattern, escape, ignore_case=ignore_case)
                return Matches(operand, expression, ignore_case), [operand]
            case IsNull(term):
                operand = self._operand(term, "IS NULL")
                return Null(operand), [operand]
            case IsTruth(term, truth, shown):
                operand = self._operand(term, shown)
                return Certain(_flag(operand, shown), truth), [operand]
            case Flag(term, shown):
                operand = self._operand(term, shown)
                return _flag(operand, shown), [operand]
        raise AssertionError(node)

    def _comparison(
        self, operator: Operator, left: Term, right: Term, shown: str
    ) -> tuple[Predicate, list[Operand]]:
        if isinstance(left, Value):
            if isinstance(right, Value):
                raise UsageError(
                    f"--where: {shown} compares two constants",
                    hint="is one of them a column? Write its name without quotes, or in backticks",
                )
            operator, left, right = MIRRORED[operator], right, left
        operand = self._operand(left, shown)
        if isinstance(right, Value):
            if self._is_numeral(operand, right):
                return Numeral(operand, Compare(operator, _NUMBER, right, shown)), [operand]
            return _compare_with_constant(operator, operand, right, shown), [operand]
        other = self._operand(right, shown)
        if self._untyped and operator not in ("=", "<>") and operand.kind is other.kind is Kind.TEXT:
            _refuse(
                operand,
                shown,
                f"and {other.name!r} have no types in this format",
                "convert it to Parquet first",
            )
        return _compare_columns(operator, operand, other, shown), [operand, other]

    def _is_numeral(self, operand: Operand, *values: Value) -> bool:
        """Return whether untyped text is compared with numbers."""
        return (
            self._untyped
            and operand.kind is Kind.TEXT
            and not operand.is_constant
            and any(isinstance(value.value, Decimal) for value in values)
        )

    def _operand(self, term: Term, shown: str) -> Operand:
        match term:
            case Name(name):
                folder = self._folders.get(name)
                if folder is not None:
                    return Operand(name, kind_of(folder.type), folder.type, folder)
                column = find_field(self._schema, name)
                return Operand(name, kind_of(column.type), value_type(column.type), column)
            case Call(function, argument):
                operand = self._operand(argument, shown)
                if operand.kind is Kind.NULL:
                    return operand
                if operand.kind is not Kind.TEXT:
                    _refuse(operand, shown, "is not text", f"{function}() needs text")
                functions = (*operand.functions, function)
                if function == "length":
                    return replace(operand, kind=Kind.INTEGER, stored=pa.int64(), functions=functions)
                return replace(operand, functions=functions)
            case Value():
                raise UsageError(
                    f"--where: {shown}: {term.shown} is a constant where a column is expected",
                    hint="write the name of a column without quotes, or in backticks",
                )


@dataclass(frozen=True)
class Numeral(Open):
    """A comparison of untyped text with numbers: the text is parsed as numbers.

    Attributes:
        operand: The text.
        node: The comparison, with the column ``_NUMBER``.
    """

    operand: Operand
    node: Compare | Among

    def evaluate(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        read = pa.record_batch({_NUMBER.text: numbers(self.operand.values(batch), self.operand.name)})
        return Binder(read.schema, {}).bind(self.node).evaluate(read)


def _flag(operand: Operand, shown: str) -> Predicate:
    if operand.kind not in (Kind.BOOLEAN, Kind.NULL):
        _refuse(operand, shown, "is not a condition", "compare it with a value")
    return Truth(operand)


def _compare_with_constant(operator: Operator, operand: Operand, value: Value, shown: str) -> Predicate:
    if value.value is None or operand.kind is Kind.NULL:
        return Same(None)
    if operand.kind in STEPS:
        return _stepped(operator, operand, _exact(operand, value, shown))
    if operand.kind is Kind.FLOAT:
        return _float(operator, operand, _exact(operand, value, shown))
    scalar = _scalar(operand, value, shown)
    return Ordered(operator, operand, scalar, scalar.type)


def _scalar(operand: Operand, value: Value, shown: str) -> pa.Scalar:
    """Convert a constant to the type of a text or boolean column."""
    literal = value.value
    if operand.kind is Kind.TEXT and isinstance(literal, str) and not value.is_moment:
        return pa.scalar(literal, pa.large_string())
    if operand.kind is Kind.BOOLEAN:
        if isinstance(literal, str):
            literal = _TRUE.get(literal.strip().lower())
        if isinstance(literal, bool):
            return pa.scalar(literal)
    return _mismatch(operand, value, shown)


def _exact(operand: Operand, value: Value, shown: str) -> Fraction:
    """Return a constant in the steps of a column; for floating-point columns, the number itself."""
    if operand.kind in NUMBERS:
        number = number_of(value)
        return _mismatch(operand, value, shown) if number is None else number * operand.steps
    moment = seconds_of(value)
    if moment is None:
        return _mismatch(operand, value, shown)
    seconds, has_offset = moment
    if has_offset and not operand.has_zone:
        _refuse(operand, shown, f"has no time zone, and {value.shown} has", "leave out the offset")
    return seconds * operand.steps


def _stepped(operator: Operator, operand: Operand, number: Fraction) -> Predicate:
    """Compare with a number that may be between steps, or out of the type's range."""
    step = number.__floor__()
    if step != number:
        if operator in ("=", "<>"):
            return SameUnlessNull(operand, operator == "<>")
        operator = "<=" if operator in ("<", "<=") else ">"
    least, greatest = limits(operand.compared)
    if step < least:
        return SameUnlessNull(operand, operator in ("<>", ">", ">="))
    if step > greatest:
        return SameUnlessNull(operand, operator in ("<>", "<", "<="))
    return Step(operand, operator, step)


def _float(operator: Operator, operand: Operand, number: Fraction) -> Predicate:
    """Compare with a number rounded to the column's type, so that a stored 0.7 is not below 0.7."""
    for common in (operand.compared, pa.float64()):
        try:
            scalar = pa.scalar(float(number), common)
        except OverflowError:
            break
        if not isinf(scalar.as_py()):
            return Ordered(operator, operand, scalar, common)
    raise UsageError(
        f"--where: a number is out of range for column {operand.name!r}", hint="give a smaller one"
    )


def _member(operand: Operand, items: tuple[Value, ...], shown: str) -> Predicate:
    if operand.kind is Kind.NULL:
        return Same(None)
    constants = [item for item in items if item.value is not None]
    has_null = len(constants) < len(items)
    if operand.kind is Kind.TEXT:
        texts = pa.array([_scalar(operand, item, shown).as_py() for item in constants], pa.large_string())
        return Member(operand, texts, has_null)
    if operand.kind in STEPS:
        kind = operand.compared
        least, greatest = limits(kind)
        numbers = [_exact(operand, item, shown) for item in constants]
        steps = [int(one) for one in numbers if one.denominator == 1 and least <= one <= greatest]
        return Member(operand, pa.array([scalar_of(step, kind) for step in steps], kind), has_null)
    equal = [_compare_with_constant("=", operand, item, shown) for item in items]
    return Either(tuple(equal))


def _compare_columns(operator: Operator, left: Operand, right: Operand, shown: str) -> Predicate:
    """Compare two columns, or functions of them."""
    kinds = {left.kind, right.kind}
    if Kind.NULL in kinds:
        return Same(None)
    if kinds <= {Kind.DATE, Kind.TIMESTAMP}:
        if Kind.DATE not in kinds and left.has_zone is not right.has_zone:
            _refuse(
                left,
                shown,
                f"and {right.name!r} do not both have a time zone",
                "compare columns of the same kind",
            )
        return _moments(operator, left, right)
    if kinds <= set(NUMBERS):
        common = _number_type(left, right)
    elif len(kinds) == 1 and Kind.OTHER not in kinds:
        common = left.compared
    else:
        _refuse(
            left,
            shown,
            f"is compared with {right.name!r} of type {_type(right)}",
            "compare columns of the same kind",
        )
    return Ordered(operator, left, right, common)


def _number_type(left: Operand, right: Operand) -> pa.DataType:
    """Return a type that holds the numbers of both, exactly unless one is floating point."""
    if Kind.FLOAT in (left.kind, right.kind):
        return pa.float64()
    if Kind.DECIMAL in (left.kind, right.kind):
        scale = max(side.stored.scale for side in (left, right) if side.kind is Kind.DECIMAL)
        return pa.decimal256(76, scale)
    if left.compared.equals(right.compared):
        return left.compared
    return pa.decimal128(20, 0) if pa.uint64() in (left.compared, right.compared) else pa.int64()


def _moments(operator: Operator, left: Operand, right: Operand) -> Predicate:
    """Compare dates and timestamps, each in its own unit."""
    if left.steps == right.steps:
        return Ordered(operator, left, right, pa.int64())
    most = max(left.steps, right.steps)
    factors = int(most / left.steps), int(most / right.steps)
    return Ordered(operator, left, right, pa.decimal128(19, 0), factors)


def _mismatch(operand: Operand, value: Value, shown: str) -> NoReturn:
    if operand.kind is Kind.OTHER:
        _refuse(operand, shown, "cannot be compared", "only IS [NOT] NULL works on it")
    written = "a number" if isinstance(value.value, Decimal) else "a value of another type"
    if isinstance(value.value, str):
        written = "a date" if value.is_moment else "text"
    problem = f"is compared with {value.shown}, {written}"
    _refuse(operand, shown, problem, f"compare it with {_WRITTEN[operand.kind]}")


def _refuse(operand: Operand, shown: str, problem: str, hint: str) -> NoReturn:
    whose = "folder " if operand.is_constant else ""
    name = f"{whose}column {operand.name!r} of type {_type(operand)}"
    if operand.functions:
        name = f"{operand.functions[-1]}() of {operand.name!r}"
    raise ColumnTypeError(f"--where: {shown}: {name} {problem}", hint=hint)


def _type(operand: Operand) -> str:
    kind = operand.stored
    return "struct" if pa.types.is_struct(kind) else str(kind)
