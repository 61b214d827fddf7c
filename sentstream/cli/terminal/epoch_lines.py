"""Training progress as log lines, where no bar can be drawn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

#: Seconds between progress lines within an epoch.
_SECONDS = 60.0


class EpochLines:
    """One line per epoch, and one per minute within an epoch.

    Args:
        write: Called with each line.
        clock: A monotonic time in s.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._last = clock()

    def batch(self, epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
        """Record a finished batch; the arguments are those of ``Progress``."""
        if done == 1:  # do not count the time before the first step
            self._last = self._clock()
        elif self._clock() - self._last >= _SECONDS and done < total:
            self._say(
                f"epoch {epoch + 1}, {done:,} of {total:,} steps: loss {loss:.4f}, accuracy {accuracy:.2%}"
            )

    def epoch(self, stage: str, record: Mapping[str, float]) -> None:
        """Report a finished epoch, with its record of the learning curve and its stage, if any."""
        self._say(
            f"{f'stage {stage}, ' if stage else ''}epoch {record['epoch']:.0f}: loss {record['loss']:.4f},"
            f" accuracy {record['accuracy']:.2%}; held out: loss {record['validation_loss']:.4f},"
            f" accuracy {record['validation_accuracy']:.2%}; {record['seconds']:.0f} s"
        )

    def _say(self, line: str) -> None:
        self._write(line)
        self._last = self._clock()
