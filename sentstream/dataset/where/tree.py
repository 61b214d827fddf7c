"""What a condition says, before it is known what its columns hold."""

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
    """A column, or a field in structs: ``data.lang``."""

    text: str


@dataclass(frozen=True)
class Value:
    """A constant; a number is exact, a date or timestamp is still text, None is NULL.

    Attributes:
        value: What it is.
        shown: As it was written.
        is_moment: Whether DATE or TIMESTAMP stood before it.
    """

    value: str | bool | Decimal | None
    shown: str
    is_moment: bool = False


@dataclass(frozen=True)
class Call:
    """A function of one argument.

    Attributes:
        function: ``lower``, ``upper``, ``trim`` or ``length``.
        argument: What it is of.
    """

    function: Literal["lower", "upper", "trim", "length"]
    argument: Term


Term: TypeAlias = Name | Value | Call


@dataclass(frozen=True)
class Compare:
    """Two terms beside each other; ``shown`` is how it was written, here and below."""

    operator: Operator
    left: Term
    right: Term
    shown: str


@dataclass(frozen=True)
class Among:
    """A term that is one of some constants, NULL perhaps among them."""

    term: Term
    items: tuple[Value, ...]
    shown: str


@dataclass(frozen=True)
class Like:
    """A text that has a pattern: ``%`` for any characters, ``_`` for one."""

    term: Term
    pattern: str
    escape: str
    ignore_case: bool
    shown: str


@dataclass(frozen=True)
class IsNull:
    """A term that is null."""

    term: Term


@dataclass(frozen=True)
class IsTruth:
    """A boolean term that is true, or false, and not null."""

    term: Term
    truth: bool
    shown: str


@dataclass(frozen=True)
class Flag:
    """A boolean term that is a condition by itself."""

    term: Term
    shown: str


@dataclass(frozen=True)
class Constant:
    """TRUE, FALSE or NULL."""

    truth: bool | None


@dataclass(frozen=True)
class All:
    """Conditions with AND between them."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Any:
    """Conditions with OR between them."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Not:
    """A condition's opposite."""

    part: Node


Node: TypeAlias = Compare | Among | Like | IsNull | IsTruth | Flag | Constant | All | Any | Not


def names(node: Node | Term) -> Iterator[str]:
    """The columns of a condition, as often as they stand there.

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
