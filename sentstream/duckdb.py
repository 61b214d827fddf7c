"""Sentiment in DuckDB's SQL: ``sentiment(text)``, ``sentiment_score(text)``, ``sentiment_of(text)``.

>>> import duckdb
>>> import sentstream.duckdb
>>> con = duckdb.connect()
>>> sentstream.duckdb.register(con, model="sentiment140")
<sentstream.Model sentiment140 ...>
>>> con.sql("select sentiment(text) from (values ('what a lovely morning'), ('')) as tweets(text)").fetchall()
[('positive',), (None,)]

Importing this module loads neither duckdb nor anything else heavy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sentstream.errors import UsageError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from sentstream.model import Model

#: Pass whole vectors, including nulls. Given as strings, because each version has the enums elsewhere.
_ARROW: dict[str, Any] = {"type": "arrow", "null_handling": "special"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def register(
    con: duckdb.DuckDBPyConnection,
    model: Model | str | os.PathLike[str] | None = None,
    *,
    name: str = "sentiment",
    abstain: float | None = None,
    threads: int | None = 16,
) -> Model:
    """Register SQL functions on a connection that score texts with a model.

    ``sentiment(text)`` returns the label, a ``VARCHAR``, and ``sentiment_score(text)`` its probability, a
    ``FLOAT``: bit for bit what ``sentstream score`` writes as ``sentiment`` and ``sentiment_score``.
    ``sentiment_of(text)`` returns a ``STRUCT`` of ``label``, ``score`` and one ``prob_<label>`` per label.
    All return NULL if the text is NULL, empty or only whitespace.

    All connections to the database share the functions while it is open; they are not stored in its file.
    Functions that this connection registered earlier under the same name are replaced.

    DuckDB gives each of its threads 2,048 texts at a time, and the texts of simultaneous calls are scored
    together. So the database's setting ``threads`` is raised to ``threads`` if it is lower and still has its
    default, the number of CPUs.

    Args:
        con: The connection.
        model: A loaded model, a name or a path; by default the model of ``sentstream score``.
        name: Prefix of the function names: ``mood``, ``mood_score``, ``mood_of``.
        abstain: Rows with a score below this value get the label ``uncertain``.
        threads: The least number of threads of the database; None leaves the setting alone.

    Returns:
        The model that the functions use.

    Raises:
        BundleError: The model does not exist or is not valid.
        UsageError: ``name`` has other characters than letters, digits and underscores, or the database has a
            function of that name from another connection or its own; ``abstain`` is not in (0, 1], or the
            model already has a label ``uncertain``.
        MissingExtraError: ONNX Runtime is not installed.
    """
    import duckdb

    from sentstream.engines.call_batcher import CallBatcher
    from sentstream.engines.results import as_model

    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a valid function name", hint="use letters, digits and underscores: name='mood'"
        )
    opened = as_model(model)
    together = CallBatcher(opened, abstain)
    label, *numbers = (field.name for field in together.fields)
    struct = con.struct_type({label: "VARCHAR", **dict.fromkeys(numbers, "FLOAT")})
    functions: list[tuple[str, Callable[..., pa.Array], Any]] = [
        (name, together.labels, "VARCHAR"),
        (f"{name}_score", together.scores, "FLOAT"),
        (f"{name}_of", together.results, struct),
    ]
    for called, function, kind in functions:
        with suppress(duckdb.InvalidInputException):  # this connection has not registered it
            con.remove_function(called)
        try:
            con.create_function(called, function, ["VARCHAR"], kind, **_ARROW)
        except duckdb.CatalogException as error:
            raise UsageError(
                f"the database already has a function {called}, from another connection or its own",
                hint="connections to it share functions: register once, or with another name: name='mood'",
            ) from error
    if threads is not None:
        with duckdb.connect() as fresh:
            default = _threads(fresh)
        if _threads(con) == default < threads:
            con.execute(f"set threads = {threads:d}")
    return opened


def _threads(con: duckdb.DuckDBPyConnection) -> int:
    """The number of threads of a connection's database."""
    return int(con.execute("select current_setting('threads')").fetchall()[0][0])
