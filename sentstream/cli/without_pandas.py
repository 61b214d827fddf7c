"""Keep pandas out of a process that has no use for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _NoPandas:
    """A finder that says that there is none."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is kept out of this process", name=name)


@contextmanager
def without_pandas() -> Iterator[None]:
    """Imports of pandas fail meanwhile, as where it is not installed.

    pyarrow imports it at the first Python value that it converts, to know pandas' own nulls: 0.3 seconds
    of CPU, a third of what scoring one row took.
    """
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
