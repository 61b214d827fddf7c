"""Sentiment in DuckDB's SQL: ``sentiment(text)``, ``sentiment_score(text)``, ``sentiment_of(text)``.

>>> import duckdb
>>> import sentstream.duckdb
>>> con = duckdb.connect()
>>> sentstream.duckdb.register(con, model="sentiment140")
<sentstream.Model sentiment140 ...>
>>> con.sql("select sentiment(text) from (values ('what a lovely morning'), ('')) as tweets(text)").fetchall()
[('positive',), (None,)]

Importing this loads neither duckdb nor anything else that is heavy.
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

#: Whole vectors, nulls among them. By their names: the enumerations are elsewhere in each version.
_ARROW: dict[str, Any] = {"type": "arrow", "null_handling": "special"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def register(
    con: duckdb.DuckDBPyConnection,
    model: Model | str | os.PathLike[str] | None = None,
    *,
    name: str = "sentiment",
    abstain: float | None = None,
) -> Model:
    """Give a connection functions that score texts with one model, from now on this one.

    ``sentiment(text)`` is the label, a ``VARCHAR``, and ``sentiment_score(text)`` its probability, a
    ``FLOAT``: what ``sentstream score`` writes as ``sentiment`` and ``sentiment_score``, bit for bit.
    ``sentiment_of(text)`` is a ``STRUCT`` of ``label``, ``score`` and ``prob_<label>`` for each label of the
    model. All are NULL where the text is NULL, empty or white space only.

    All connections to the database have the functions while it is open; its file keeps nothing of them.
    What this connection registered under the same name before is replaced.

    Args:
        con: The connection.
        model: A loaded model, a name or a path; by default the model of ``sentstream score``.
        name: What the names of the functions begin with: ``mood``, ``mood_score``, ``mood_of``.
        abstain: Rows whose score is below this get the label ``uncertain``.

    Returns:
        The model that they score with.

    Raises:
        BundleError: There is no such model, or it is not sound.
        UsageError: ``name`` is not a name of letters, digits and underscores, or the database has such a
            function of another connection or its own; ``abstain`` is not above 0 and up to 1, or the model
            has a label ``uncertain``.
        MissingExtraError: ONNX Runtime is not installed.
    """
    import duckdb

    from sentstream.engines.results import as_model
    from sentstream.engines.together import Together

    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a valid function name", hint="use letters, digits and underscores: name='mood'"
        )
    opened = as_model(model)
    together = Together(opened, abstain)
    label, *numbers = (field.name for field in together.fields)
    struct = con.struct_type({label: "VARCHAR", **dict.fromkeys(numbers, "FLOAT")})
    functions: list[tuple[str, Callable[..., pa.Array], Any]] = [
        (name, together.labels, "VARCHAR"),
        (f"{name}_score", together.scores, "FLOAT"),
        (f"{name}_of", together.results, struct),
    ]
    for called, function, kind in functions:
        with suppress(duckdb.InvalidInputException):  # none that this connection has made
            con.remove_function(called)
        try:
            con.create_function(called, function, ["VARCHAR"], kind, **_ARROW)
        except duckdb.CatalogException as error:
            raise UsageError(
                f"the database already has a function {called}, from another connection or its own",
                hint="connections to it share functions: register once, or with another name: name='mood'",
            ) from error
    return opened
