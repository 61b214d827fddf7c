"""Scored rows -> figures: over time, by group, what sets the labels apart, and what changed.

One pass in bounded memory (``run``), whatever the number of rows and files. The page that shows the figures
is ``sentstream.report.sentiment``.
"""

from sentstream.analyze.result import Analysis
from sentstream.analyze.run import analyze

__all__ = ["Analysis", "analyze"]
