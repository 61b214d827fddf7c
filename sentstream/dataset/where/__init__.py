"""Row filters: ``lang = "en" and day >= "2026-09-01"``, with the exact semantics of SQL.

SQL is parsed (``syntax``) into a syntax tree (``tree``), which is bound to the columns of a schema
(``binding``), so that it can be evaluated for rows, and for files not yet read (``predicates``).
"""

from sentstream.dataset.where.condition import Condition, RowFilter
from sentstream.dataset.where.selection import Selection

__all__ = ["Condition", "RowFilter", "Selection"]
