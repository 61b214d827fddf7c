"""Parse SQL conditions with sqlglot; unsupported syntax is rejected by name, never ignored.

Strings can have single or double quotes, as in MySQL, Spark and BigQuery, so that a shell can use the other
kind. Column names that are not plain words need backticks. The only escape is a doubled quote.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from decimal import Decimal
from typing import Final, Literal

import sqlglot
from sqlglot import exp, tokens
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, TokenError

from sentstream.dataset.where.tree import (
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
from sentstream.errors import UsageError, one_line

_SHOWN = 80  # characters of a condition shown in messages
#: Maximum power of ten of a number: more than any type holds, and small enough to compute with.
_MOST_DIGITS = 400
_SUPPORTED = (
    "supported: = <> < <= > >=, AND, OR, NOT, IN (…), BETWEEN, IS [NOT] NULL, LIKE, ILIKE, lower(), upper(),"
    " trim(), length(), DATE '…', TIMESTAMP '…'"
)

_OPERATORS: Final[dict[type[exp.Expr], Operator]] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_FUNCTIONS: Final[dict[type[exp.Expr], Literal["lower", "upper", "trim", "length"]]] = {
    exp.Lower: "lower",
    exp.Upper: "upper",
    exp.Trim: "trim",
    exp.Length: "length",
}
#: The supported arguments of each kind of expression. sqlglot puts a NOT or a dialect's modifiers into other
#: arguments, which change the meaning of the expression.
_PARTS: Final[dict[type[exp.Expr], set[str]]] = {
    **{kind: {"this", "expression"} for kind in _OPERATORS},
    **{kind: {"this"} for kind in _FUNCTIONS},
    exp.And: {"this", "expression"},
    exp.Or: {"this", "expression"},
    exp.Not: {"this"},
    exp.Paren: {"this"},
    exp.Is: {"this", "expression"},
    exp.In: {"this", "expressions"},
    exp.Between: {"this", "low", "high"},
    exp.Like: {"this", "expression", "negate"},
    exp.ILike: {"this", "expression", "negate"},
    exp.Escape: {"this", "expression"},
    exp.Column: {"this", "table", "db", "catalog"},
    exp.Dot: {"this", "expression"},
    exp.Identifier: {"this", "quoted"},
    exp.Literal: {"this", "is_string"},
    exp.Boolean: {"this"},
    exp.Null: set(),
    exp.Neg: {"this"},
    exp.Cast: {"this", "to"},
}
_MOMENTS: Final = (exp.DType.DATE, exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ, exp.DType.DATETIME)


class _Condition(Dialect):
    """A dialect whose quotes work well in a shell."""

    class Tokenizer(tokens.Tokenizer):
        QUOTES = ["'", '"']  # noqa: RUF012
        IDENTIFIERS = ["`"]  # noqa: RUF012
        STRING_ESCAPES = ["'", '"']  # noqa: RUF012


def parse(text: str) -> Node:
    """Parse a condition.

    Raises:
        UsageError: It is invalid, or uses an unsupported feature, which is named.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError("--where is not valid UTF-8") from error
    try:
        with _quiet():
            parsed = sqlglot.parse_one(text, into=exp.Condition, dialect=_Condition)
        return _node(parsed)
    except ParseError as error:
        raise UsageError(f"--where cannot be read: {_reason(error)}", hint=_SUPPORTED) from error
    except TokenError as error:
        raise UsageError(
            f"--where cannot be read: {one_line(text, _SHOWN)}", hint="is a quote not closed?"
        ) from error
    except RecursionError as error:
        raise UsageError("--where is nested too deep", hint="use fewer parentheses, or IN (…)") from error


def _reason(error: ParseError) -> str:
    details = error.errors[0] if error.errors else {}
    highlighted = details.get("highlight")
    if not highlighted:
        return "it is empty"
    if "keyword" in str(details.get("description")):
        return f"something is missing near {highlighted!r}"
    return f"{highlighted!r} at character {details['col'] - len(highlighted) + 1} is unexpected"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence sqlglot's log: what it does not know is an error here anyway."""
    logger = logging.getLogger("sqlglot")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _node(parsed: exp.Expr) -> Node:
    """Convert a condition."""
    _check(parsed)
    match parsed:
        case exp.Paren():
            return _node(parsed.this)
        case exp.And() | exp.Or():
            # Flatten chains without recursion: they may be long.
            parts = tuple(_node(part) for part in _chain(parsed, type(parsed)))
            return All(parts) if isinstance(parsed, exp.And) else Any(parts)
        case exp.Not():
            return Not(_node(parsed.this))
        case exp.Between():
            term = _term(parsed.this)
            shown = _shown(parsed)
            low = Compare(">=", term, _term(parsed.args["low"]), shown)
            return All((low, Compare("<=", term, _term(parsed.args["high"]), shown)))
        case exp.In():
            items = tuple(_constant(item) for item in parsed.expressions)
            if not items:
                raise _unsupported(parsed)
            return Among(_term(parsed.this), items, _shown(parsed))
        case exp.Is():
            return _is(parsed)
        case exp.Like() | exp.ILike():
            return _like(parsed, "")
        case exp.Escape():
            escape = _constant(parsed.expression).value
            if not isinstance(parsed.this, exp.Like | exp.ILike) or not isinstance(escape, str):
                raise _unsupported(parsed)
            if len(escape) != 1:
                raise UsageError(
                    f"--where: ESCAPE takes one character, not {escape!r}", hint="e.g. ESCAPE '!'"
                )
            _check(parsed.this)
            return _like(parsed.this, escape)
        case exp.Boolean():
            return Constant(bool(parsed.this))
        case exp.Null():
            return Constant(None)
    operator = _OPERATORS.get(type(parsed))
    if operator is not None:
        return Compare(operator, _term(parsed.this), _term(parsed.expression), _shown(parsed))
    return Flag(_term(parsed), _shown(parsed))


def _chain(parsed: exp.Expr, kind: type[exp.Expr]) -> list[exp.Expr]:
    parts: list[exp.Expr] = []
    while type(parsed) is kind:
        _check(parsed)
        parts.append(parsed.expression)
        parsed = parsed.this
    return [parsed, *reversed(parts)]


def _is(parsed: exp.Is) -> Node:
    match parsed.expression:
        case exp.Null():
            return IsNull(_term(parsed.this))
        case exp.Boolean() as truth:
            return IsTruth(_term(parsed.this), bool(truth.this), _shown(parsed))
    raise _unsupported(parsed)


def _like(parsed: exp.Expr, escape: str) -> Node:
    pattern = _constant(parsed.expression).value
    if pattern is None:
        return Constant(None)
    if not isinstance(pattern, str):
        raise UsageError(f"--where: {_shown(parsed)}: a pattern must be text", hint="put it in quotes")
    node = Like(_term(parsed.this), pattern, escape, isinstance(parsed, exp.ILike), _shown(parsed))
    return Not(node) if parsed.args.get("negate") else node


def _term(parsed: exp.Expr) -> Term:
    """Convert a column, a constant, or a function."""
    _check(parsed)
    if isinstance(parsed, exp.Paren):
        return _term(parsed.this)
    if isinstance(parsed, exp.Column | exp.Dot):
        for part in parsed.parts:
            _check(part)
        if all(isinstance(part, exp.Identifier) for part in parsed.parts):
            return Name(".".join(part.name for part in parsed.parts))
        raise _unsupported(parsed)
    function = _FUNCTIONS.get(type(parsed))
    if function is not None:
        return Call(function, _term(parsed.this))
    return _constant(parsed)


def _constant(parsed: exp.Expr) -> Value:
    """Convert a constant."""
    _check(parsed)
    match parsed:
        case exp.Paren():
            return _constant(parsed.this)
        case exp.Null():
            return Value(None, "NULL")
        case exp.Boolean():
            return Value(bool(parsed.this), str(bool(parsed.this)).upper())
        case exp.Literal():
            if parsed.is_string:
                return Value(parsed.this, repr(parsed.this))
            return Value(_number(parsed.this), parsed.this)
        case exp.Neg() if isinstance(parsed.this, exp.Literal) and not parsed.this.is_string:
            return Value(-_number(parsed.this.this), f"-{parsed.this.this}")
        case exp.Cast() if parsed.to.this in _MOMENTS and not parsed.to.expressions:
            inside = parsed.this
            if isinstance(inside, exp.Literal) and inside.is_string:
                return Value(inside.this, repr(inside.this), is_moment=True)
    raise _unsupported(parsed)


def _number(text: str) -> Decimal:
    number = Decimal(text)
    if number and abs(number.adjusted()) > _MOST_DIGITS:
        raise UsageError(f"--where: {one_line(text, _SHOWN)} is out of range", hint="give a smaller number")
    return number


def _check(parsed: exp.Expr) -> None:
    """Reject an unknown kind of expression, or one with an unknown argument."""
    known = _PARTS.get(type(parsed))
    if known is None or any(value and name not in known for name, value in parsed.args.items()):
        raise _unsupported(parsed)


def _unsupported(parsed: exp.Expr) -> UsageError:
    return UsageError(f"--where: {_shown(parsed)} is not supported", hint=_SUPPORTED)


def _shown(parsed: exp.Expr) -> str:
    with _quiet():
        return one_line(parsed.sql(dialect=_Condition, comments=False), _SHOWN)
