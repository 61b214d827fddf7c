"""Scored rows -> an analysis: one pass, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from sentstream.analyze.agreement import pairs
from sentstream.analyze.gathering import Extent, Texts, Totals, WordsSeen
from sentstream.analyze.knowledge import knowledge_of
from sentstream.analyze.manifests import common_model, read_manifests
from sentstream.analyze.result import Analysis
from sentstream.analyze.rows import Portion, Progress, ScoredFiles, Wanted
from sentstream.analyze.timeline import BucketName
from sentstream.analyze.times import Times
from sentstream.analyze.training import against_training
from sentstream.analyze.versus import Versus
from sentstream.dataset.formats.api import Format
from sentstream.errors import InputError, InputNotFoundError, UsageError, naming
from sentstream.scorer.added_columns import PREFIX

#: Groups of a column, and texts of a kind, unless others are asked for; and the most that may be.
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
    """What scored rows come to: over time, by group, in words and texts, and against other rows.

    Whatever the number of rows, files and groups, memory is bounded; each row is read once.

    Args:
        inputs: What ``sentstream score`` wrote: files, directories, globs, URIs.
        compare: Another such data set, taken for what was before: of another model, or of another day.
        time_column: The column of the times, or the path of a field: timestamps, dates, or ISO 8601 as text.
        time_format: How else they are written: as of ``strptime``, or ``unix``, ``unix-ms``.
        time_zone: The time zone of hours and days; by default that of the column.
        bucket: How long a bucket of time is; by default what fits.
        by: Columns, or fields, whose values are told apart.
        top: How many values of each; the others are one.
        text_column: The column of the texts; by default ``text``, if it is there.
        texts: How many texts of a kind are shown; 0 for none.
        prefix: The name of the label column.
        where: Which rows, in SQL, as ``lang = "en"``; folders such as ``lang=en/`` are columns.
        model: The bundle of the model; by default the one of that name that ships, if it is the same.
        format: The format of the inputs; None finds it out for each.
        storage_options: Settings of object stores.
        progress: Is told of rows.
        on_file: Is told of files.

    Raises:
        InputError: Not scored, no such column, not what it should be, or no row at all.
        UsageError: An option that cannot be.
        BundleError: ``model`` is no bundle, or another one.

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
    wanted = Wanted(prefix, text_column, time_column, tuple(by), where)
    files = ScoredFiles(names, wanted, format=format, options=storage_options)
    other = None
    if compare is not None:
        only = Wanted(prefix, text_column, None, (), where)
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
    """The rows before, if there are such, and the rows that are reported."""
    if other is None:
        return ((None, portion) for portion in files.portions(on_file))
    return pairs(other.portions(), files.portions(on_file))


def _no_row(files: ScoredFiles, where: str | None) -> InputError:
    name = files.sources[0].name if len(files.sources) == 1 else f"{len(files.sources):,} files"
    if where is not None:
        return InputNotFoundError(f"no row in {name} matches --where {where}", hint="relax the condition")
    return InputNotFoundError(f"no rows in {name}", hint="there is nothing to report")
