"""How a training gets on, a line at a time: for logs, where no bar can be drawn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

#: An epoch that takes longer says how far it is so often, in seconds.
_SECONDS = 60.0


class EpochLines:
    """A line for each epoch, and one a minute within.

    Args:
        write: Takes a line.
        clock: A monotonic time in s.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._last = clock()

    def batch(self, epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
        """A batch is done; the arguments are those of ``Progress``."""
        if done == 1:  # what came before was no step
            self._last = self._clock()
        elif self._clock() - self._last >= _SECONDS and done < total:
            self._say(
                f"epoch {epoch + 1}, {done:,} of {total:,} steps: loss {loss:.4f}, accuracy {accuracy:.2%}"
            )

    def epoch(self, stage: str, record: Mapping[str, float]) -> None:
        """An epoch is done, of a stage where there are any; with its record of the learning curve."""
        self._say(
            f"{f'stage {stage}, ' if stage else ''}epoch {record['epoch']:.0f}: loss {record['loss']:.4f},"
            f" accuracy {record['accuracy']:.2%}; held out: loss {record['validation_loss']:.4f},"
            f" accuracy {record['validation_accuracy']:.2%}; {record['seconds']:.0f} s"
        )

    def _say(self, line: str) -> None:
        self._write(line)
        self._last = self._clock()
