"""The rows that come first by a figure, a few of many: kept portion by portion."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: What a text shows of who wrote to whom: links, addresses, names.
_MASKS: Final = (
    (re.compile(r"(?i)\b(?:https?://|www\.)\S+"), "(link)"),
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "(address)"),
    (re.compile(r"@\w+"), "@(name)"),
)
#: Characters of a text that are shown.
_SHOWN = 400


@dataclass(frozen=True)
class Example:
    """A row that is shown.

    Attributes:
        text: Its text, names, addresses and links masked, and cut where it is long.
        label: Its label.
        value: P(positive) − P(negative); None without such labels.
        probabilities: Of each label.
        file: The file that it is in.
        row: Its place in it, from 0; None where rows were left out.
        time: Its time as it is stored; None where there is none.
        groups: Its values in the columns of groups.
        before: Of compared rows: the label that it had before.
        value_before: Of compared rows: the value that it had before.
    """

    text: str
    label: str
    value: float | None
    probabilities: tuple[float, ...]
    file: str
    row: int | None
    time: str | None = None
    groups: tuple[str | None, ...] = ()
    before: str | None = None
    value_before: float | None = None


@dataclass
class Strongest:
    """Keeps the rows with the largest figures; of rows with the same text, the first.

    Attributes:
        most: How many.
        examples: The figure and the row of each, the largest first.
    """

    most: int
    examples: list[tuple[float, Example]] = field(default_factory=list)

    def add(
        self, figure: npt.NDArray[np.floating], text_of: Callable[[int], str], row: Callable[[int], Example]
    ) -> None:
        """Look at some rows.

        Args:
            figure: ``[rows]``, what they come in order by; minus infinity for rows that are none.
            text_of: The text of a row.
            row: Makes a row that is kept.
        """
        least = self.examples[-1][0] if len(self.examples) >= self.most else -np.inf
        better = np.flatnonzero(figure > least)
        if not len(better):
            return
        known = {one.text for _, one in self.examples}
        few = 0
        # Texts repeat, so more than enough are sorted; all, where all of these turn out to be one text.
        for count in (8 * self.most, len(better)):
            chosen = better
            if count < len(better):
                chosen = better[np.argpartition(-figure[better], count)[:count]]
            order = chosen[np.lexsort((chosen, -figure[chosen]))]
            few = 0
            seen: set[str] = set()
            for place in order.tolist():
                text = text_of(place)
                if text in known or text in seen:
                    continue
                seen.add(text)
                few += 1
                if few <= self.most:
                    self.examples.append((float(figure[place]), row(place)))
                else:
                    break
            known |= seen
            if few >= self.most or count >= len(better):
                break
        self.examples.sort(key=lambda pair: -pair[0])
        del self.examples[self.most :]

    def found(self) -> tuple[Example, ...]:
        """The rows, those with the largest figures first."""
        return tuple(example for _, example in self.examples)


def shown_text(text: str) -> str:
    """A text as it is shown.

    >>> shown_text("@ana see https://t.co/x or write to me@example.org")
    '@(name) see (link) or write to (address)'
    """
    cut = text[: 4 * _SHOWN]
    for pattern, mask in _MASKS:
        cut = pattern.sub(mask, cut)
    return cut if len(cut) <= _SHOWN and len(text) <= 4 * _SHOWN else f"{cut[: _SHOWN - 1]}…"


def scalar_text(column: pa.Array, place: int) -> str | None:
    """A value of a column as text, a time to the second; None for null."""
    if pa.types.is_timestamp(column.type):
        column = column.slice(place, 1).cast(pa.timestamp("s", column.type.tz), safe=False)
        place = 0
    value = column[place].as_py()
    return None if value is None else str(value)
