"""Keep the few rows with the largest figures, portion by portion."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: Parts of a text that identify people or places, and their replacements: links, addresses, names.
_MASKS: Final = (
    (re.compile(r"(?i)\b(?:https?://|www\.)\S+"), "(link)"),
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "(address)"),
    (re.compile(r"@\w+"), "@(name)"),
)
#: Maximum characters of a text that are shown.
_SHOWN = 400


@dataclass(frozen=True)
class Example:
    """An example row.

    Attributes:
        text: Its text, with names, addresses and links masked, cut if it is long.
        label: Its label.
        value: P(positive) − P(negative); None if there are no such labels.
        probabilities: The probability of each label.
        file: Name of its file.
        row: Its index in the file, from 0; None if rows were left out.
        time: Its time as stored; None if it has none.
        groups: Its values in the group columns.
        before: In a comparison, its label before.
        value_before: In a comparison, its value before.
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
    """Keeps the rows with the largest figures, and only the first of rows with the same text.

    Attributes:
        most: Maximum number of rows.
        examples: The figure and the row of each, largest first.
    """

    most: int
    examples: list[tuple[float, Example]] = field(default_factory=list)

    def add(
        self, figure: npt.NDArray[np.floating], text_of: Callable[[int], str], row: Callable[[int], Example]
    ) -> None:
        """Process some rows.

        Args:
            figure: ``[rows]``, the figure to rank by; minus infinity for rows to ignore.
            text_of: Returns the text of a row.
            row: Creates the example for a row that is kept.
        """
        least = self.examples[-1][0] if len(self.examples) >= self.most else -np.inf
        better = np.flatnonzero(figure > least)
        if not len(better):
            return
        known = {one.text for _, one in self.examples}
        few = 0
        # Texts may repeat, so more rows than needed are sorted, and all if those have too few distinct texts.
        for count in (8 * self.most, len(better)):
            chosen = better
            if count < len(better):
                chosen = better[np.argpartition(-figure[better], count)[:count]]
            order = chosen[np.lexsort((chosen, -figure[chosen]))]
            few = 0
            seen: set[str] = set()
            for index in order.tolist():
                text = text_of(index)
                if text in known or text in seen:
                    continue
                seen.add(text)
                few += 1
                if few <= self.most:
                    self.examples.append((float(figure[index]), row(index)))
                else:
                    break
            known |= seen
            if few >= self.most or count >= len(better):
                break
        self.examples.sort(key=lambda pair: -pair[0])
        del self.examples[self.most :]

    def found(self) -> tuple[Example, ...]:
        """The rows, largest figures first."""
        return tuple(example for _, example in self.examples)


def shown_text(text: str) -> str:
    """A text with names, addresses and links masked, cut if it is long.

    >>> shown_text("@ana see https://t.co/x or write to me@example.org")
    '@(name) see (link) or write to (address)'
    """
    cut = text[: 4 * _SHOWN]
    for pattern, mask in _MASKS:
        cut = pattern.sub(mask, cut)
    return cut if len(cut) <= _SHOWN and len(text) <= 4 * _SHOWN else f"{cut[: _SHOWN - 1]}…"


def scalar_text(column: pa.Array, index: int) -> str | None:
    """A value of a column as text, with times to the second; None for null."""
    if pa.types.is_timestamp(column.type):
        column = column.slice(index, 1).cast(pa.timestamp("s", column.type.tz), safe=False)
        index = 0
    value = column[index].as_py()
    return None if value is None else str(value)
