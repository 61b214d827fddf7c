"""Reports for people: tables for the terminal, and HTML pages that need no network.

Everything here takes the JSON-ready data of ``sentstream evaluate`` and ``sentstream data inspect``.
"""

from sentstream.report.evaluation import evaluation_page
from sentstream.report.inspection import inspection_page
from sentstream.report.page import check_target, write_page
from sentstream.report.terminal import evaluation_tables, inspection_tables

__all__ = [
    "check_target",
    "evaluation_page",
    "evaluation_tables",
    "inspection_page",
    "inspection_tables",
    "write_page",
]
