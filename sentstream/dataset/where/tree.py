"""The syntax tree of a condition, before it is bound to a schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

Operator: TypeAlias = Literal["=", "<>", "<", "<=", ">", ">="]
#: ``a < b`` is ``b > a``.
MIRRORED: dict[Operator, Operator] = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True)
class Name:
    """A column, or the path of a struct field: ``data.lang``."""

    text: str


@dataclass(frozen=True)
class Value:
    """A constant; numbers are exact, dates and timestamps are still text, None is NULL.

    Attributes:
        value: The value.
        shown: Its source text.
        is_moment: Whether it has the prefix DATE or TIMESTAMP.
    """

    value: str | bool | Decimal | None
    shown: str
    is_moment: bool = False


@dataclass(frozen=True)
class Call:
    """A function of one argument.

    Attributes:
        function: ``lower``, ``upper``, ``trim`` or ``length``.
        argument: Its argument.
    """

    function: Literal["lower", "upper", "trim", "length"]
    argument: Term


Term: TypeAlias = Name | Value | Call


@dataclass(frozen=True)
class Compare:
    """A comparison of two terms; here and below, ``shown`` is the source text."""

    operator: Operator
    left: Term
    right: Term
    shown: str


@dataclass(frozen=True)
class Among:
    """IN: a term equals one of some constants, which may include NULL."""

    term: Term
    items: tuple[Value, ...]
    shown: str


@dataclass(frozen=True)
class Like:
    """LIKE or ILIKE: ``%`` matches any sequence of characters, ``_`` one."""

    term: Term
    pattern: str
    escape: str
    ignore_case: bool
    shown: str


@dataclass(frozen=True)
class IsNull:
    """IS NULL."""

    term: Term


@dataclass(frozen=True)
class IsTruth:
    """IS TRUE or IS FALSE."""

    term: Term
    truth: bool
    shown: str


@dataclass(frozen=True)
class Flag:
    """A boolean term used as a condition."""

    term: Term
    shown: str


@dataclass(frozen=True)
class Constant:
    """TRUE, FALSE or NULL."""

    truth: bool | None


@dataclass(frozen=True)
class All:
    """Conditions joined with AND."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Any:
    """Conditions joined with OR."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Not:
    """A negated condition."""

    part: Node


Node: TypeAlias = Compare | Among | Like | IsNull | IsTruth | Flag | Constant | All | Any | Not


def names(node: Node | Term) -> Iterator[str]:
    """Yield the columns of a condition, including repetitions.

    >>> list(names(Not(IsNull(Call("lower", Name("data.lang"))))))
    ['data.lang']
    """
    match node:
        case Name(text):
            yield text
        case Call(_, argument):
            yield from names(argument)
        case Compare(_, left, right, _):
            yield from names(left)
            yield from names(right)
        case Among(term=term) | Like(term=term) | IsNull(term) | IsTruth(term=term) | Flag(term=term):
            yield from names(term)
        case All(parts) | Any(parts):
            for part in parts:
                yield from names(part)
        case Not(part):
            yield from names(part)
        case Value() | Constant():
            pass
