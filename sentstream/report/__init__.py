"""Reports for people: tables for the terminal, and HTML pages that need no network.

Everything here takes the JSON-ready data of ``sentstream evaluate``, ``calibrate``, ``tune``, ``explain``
and ``data inspect``.
"""

from sentstream.report.calibration import calibration_page, calibration_tables
from sentstream.report.evaluation import evaluation_page
from sentstream.report.explanation import explanation_page, explanation_tables
from sentstream.report.inspection import inspection_page
from sentstream.report.page import check_target, write_page
from sentstream.report.search import search_next, search_page, search_tables
from sentstream.report.terminal import evaluation_tables, inspection_tables

__all__ = [
    "calibration_page",
    "calibration_tables",
    "check_target",
    "evaluation_page",
    "evaluation_tables",
    "explanation_page",
    "explanation_tables",
    "inspection_page",
    "inspection_tables",
    "search_next",
    "search_page",
    "search_tables",
    "write_page",
]
