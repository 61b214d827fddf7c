"""Analyze scored rows in one pass and in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from sentstream.analyze.agreement import pairs
from sentstream.analyze.gathering import Extent, Texts, Totals, WordsSeen
from sentstream.analyze.knowledge import knowledge_of
from sentstream.analyze.manifests import common_model, read_manifests
from sentstream.analyze.result import Analysis
from sentstream.analyze.rows import FileQuery, Portion, Progress, ScoredFiles
from sentstream.analyze.timeline import BucketName
from sentstream.analyze.times import Times
from sentstream.analyze.training import against_training
from sentstream.analyze.versus import Versus
from sentstream.dataset.formats.api import Format
from sentstream.errors import InputError, InputNotFoundError, UsageError, naming
from sentstream.scorer.added_columns import PREFIX

#: Default number of groups per column, default number of texts per kind, and maximum number of groups.
TOP_GROUPS, SHOWN_TEXTS, MOST_GROUPS = 12, 8, 1_000


def analyze(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    compare: str | os.PathLike[str] | None = None,
    time_column: str | None = None,
    time_format: str | None = None,
    time_zone: str | None = None,
    bucket: BucketName | None = None,
    by: Sequence[str] = (),
    top: int = TOP_GROUPS,
    text_column: str | None = None,
    texts: int = SHOWN_TEXTS,
    prefix: str = PREFIX,
    where: str | None = None,
    model: str | None = None,
    format: Format | None = None,
    storage_options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    on_file: Callable[[str, int, int], None] | None = None,
) -> Analysis:
    """Analyze scored rows: over time, by group, by words and texts, and against other rows.

    Each row is read once. Memory is bounded for any number of rows, files and groups.

    Args:
        inputs: Outputs of ``sentstream score``: files, directories, globs or URIs.
        compare: Another scored data set as the "before" of a comparison, such as another model or day.
        time_column: The time column, or the path of a struct field: timestamps, dates, or ISO 8601 text.
        time_format: Another format of the times: a ``strptime`` format, ``unix`` or ``unix-ms``.
        time_zone: The time zone for hours and days; by default that of the column.
        bucket: The length of a time bucket; by default one that fits the data.
        by: Columns or struct fields to group by.
        top: Number of values per group column; the rest are combined.
        text_column: The text column; by default ``text`` if it exists.
        texts: Number of texts of each kind to show; 0 for none.
        prefix: The name of the label column.
        where: SQL condition that selects rows, such as ``lang = "en"``; folders such as ``lang=en/`` are
            columns.
        model: The bundle of the model; by default the shipped model of that name, if it is the same.
        format: The format of the inputs; None detects it for each.
        storage_options: Settings of object stores.
        progress: Called with the number of rows.
        on_file: Called when a file is started.

    Returns:
        The analysis.

    Raises:
        InputError: The inputs are not scored, a column does not exist or has the wrong type, or there are no
            rows.
        UsageError: An option has an invalid value.
        BundleError: ``model`` is not a bundle, or not the one that scored the rows.

    Example:
        >>> import sentstream
        >>> from sentstream.analyze import analyze
        >>> import pyarrow as pa, pyarrow.parquet as pq, tempfile
        >>> scored = sentstream.load().score(["what a lovely morning", "my train is late again :(", None])
        >>> with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        ...     pq.write_table(scored, file.name)
        ...     figures = analyze(file.name).scores.figures
        >>> [(share.label, share.rows) for share in figures.shares]
        [('negative', 1), ('neutral', 0), ('positive', 1)]
    """
    if not 1 <= top <= MOST_GROUPS:
        raise UsageError(f"top must be from 1 to {MOST_GROUPS:,}, not {top}")
    if len(set(by)) < len(by):
        raise UsageError(f"duplicate column in {', '.join(by)}", hint="name each column once")
    if time_column is None and (time_format or time_zone or bucket):
        raise UsageError("no time column", hint="name one with --time-column")
    several = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    names = tuple(os.fspath(one) for one in several)
    times = None if time_column is None else Times(time_column, time_format, time_zone)
    wanted = FileQuery(prefix, text_column, time_column, tuple(by), where)
    files = ScoredFiles(names, wanted, format=format, options=storage_options)
    other = None
    if compare is not None:
        only = FileQuery(prefix, text_column, None, (), where)
        other = ScoredFiles([os.fspath(compare)], only, format=format, options=storage_options)
    manifests = tuple(read_manifests(names, storage_options))
    if (named := common_model(manifests, names)) is not None:
        files.name_model(named)
    knowledge = knowledge_of(files.models[0], model)
    totals = Totals(files)
    extent = Extent(files, totals.cells, times)
    kept = Texts(files, knowledge, texts) if files.has_texts else None
    versus = None if other is None else Versus(other, files, texts)
    for before, after in _side_by_side(files, other, on_file):
        if after is not None:
            value = after.value(files.labels)
            totals.add(after, value)
            with naming(files.sources[after.file].name):
                extent.add(after, value)
            if kept is not None:
                kept.add(after, value)
            if progress is not None:
                progress(totals.rows + files.left_out, files.rows)
        if versus is not None:
            versus.add(before, after)
    if not totals.rows:
        raise _no_row(files, where)
    if versus is not None and other is not None and not versus.totals.rows:
        raise _no_row(other, where)
    scores = totals.scores(names)
    found = None if kept is None else kept.found()
    return Analysis(
        labels=files.labels.names,
        where=where,
        left_out=files.left_out,
        scores=scores,
        time=None if times is None else extent.time.timeline(times.name, times.zone, bucket),
        groups=tuple(group.grouping(top) for group in extent.groups),
        words=None if found is None else found.words,
        examples=None if kept is None else kept.examples(),
        quality=None if found is None else found.quality,
        measured=knowledge.measured,
        manifests=manifests,
        training=against_training(
            files.models, knowledge, totals.distribution(WordsSeen(0, None) if found is None else found.seen)
        ),
        comparison=None if versus is None else versus.comparison((os.fspath(compare or ""),), scores),
    )


def _side_by_side(
    files: ScoredFiles, other: ScoredFiles | None, on_file: Callable[[str, int, int], None] | None
) -> Iterator[tuple[Portion | None, Portion | None]]:
    """Portions of the "before" rows, if there are any, side by side with those of the reported rows."""
    if other is None:
        return ((None, portion) for portion in files.portions(on_file))
    return pairs(other.portions(), files.portions(on_file))


def _no_row(files: ScoredFiles, where: str | None) -> InputError:
    name = files.sources[0].name if len(files.sources) == 1 else f"{len(files.sources):,} files"
    if where is not None:
        return InputNotFoundError(f"no row in {name} matches --where {where}", hint="relax the condition")
    return InputNotFoundError(f"no rows in {name}", hint="there is nothing to report")
