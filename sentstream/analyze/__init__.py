"""Scored rows -> statistics: over time, by group, words typical of each label, and changes.

The analysis takes one pass in bounded memory for any number of rows and files (``run``). The report pages are
in ``sentstream.report.sentiment``.
"""

from sentstream.analyze.result import Analysis
from sentstream.analyze.run import analyze

__all__ = ["Analysis", "analyze"]
