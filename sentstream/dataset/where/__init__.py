"""Which rows are scored: ``lang = "en" and day >= "2026-09-01"``, exactly as SQL means it.

SQL is parsed (``syntax``) into what it says (``tree``), which the columns of a schema are found for
(``binding``), so that it can be told of rows, and of rows not yet read (``predicates``).
"""

from sentstream.dataset.where.condition import Condition, RowFilter
from sentstream.dataset.where.selection import Selection

__all__ = ["Condition", "RowFilter", "Selection"]
