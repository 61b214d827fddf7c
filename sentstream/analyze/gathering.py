"""The data that the pass over the rows of a data set collects."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.analyze.cells import Cells, Floats, Ints
from sentstream.analyze.groups import GroupSums
from sentstream.analyze.knowledge import Knowledge
from sentstream.analyze.languages import LanguageCounts
from sentstream.analyze.repeats import TextRepeats
from sentstream.analyze.result import Examples, Histogram, LabelWords, ModelRows, Quality, Scores, Word, Words
from sentstream.analyze.rows import Portion, ScoredFiles
from sentstream.analyze.sample import TextSample
from sentstream.analyze.scored import ModelName
from sentstream.analyze.strongest import Example, Strongest, scalar_text, shown_text
from sentstream.analyze.timeline import TimeSums
from sentstream.analyze.times import Times
from sentstream.analyze.word_counts import WordCounts
from sentstream.analyze.word_odds import frequent_words
from sentstream.drift.distribution import BINS, Distribution
from sentstream.scorer.added_columns import NEGATIVE, POSITIVE
from sentstream.text import tokenize
from sentstream.text.storage import as_text

_BINS = 40
#: Maximum number of words listed per label, and the minimum count and z-score of a word.
_MOST_WORDS, _LEAST_COUNT, _LEAST_Z = 20, 5, 1.96
#: Maximum number of labels with words and example texts; the most frequent ones if there are more.
_MOST_LABELS = 6
_TOKENIZED_AT_ONCE = 32_768
UNCERTAIN_ROWS = "uncertain"


class WordsSeen(NamedTuple):
    """The number of tokens in some texts, as the model counts them, and of unknown ones."""

    all: int
    unknown: int | None


class TextFacts(NamedTuple):
    """Results about texts.

    Attributes:
        quality: Data quality of all texts.
        words: The words that distinguish the labels.
        seen: Token counts of the sampled texts, if a bundle with a reference is available.
    """

    quality: Quality
    words: Words
    seen: WordsSeen


class Totals:
    """Counts of labels and scores, for the reported data set and for a compared one.

    Args:
        files: The files.
    """

    def __init__(self, files: ScoredFiles) -> None:
        self.files, self.labels = files, files.labels
        self.cells = Cells(files.labels)
        self._sums: Floats = np.zeros((len(files.sources), self.cells.columns))
        self._probabilities: Floats = np.zeros(len(self.labels.names))
        width = len(self.labels.all)
        self._scores = np.zeros((width, _BINS), np.int64)
        self._values = np.zeros((width, _BINS), np.int64)
        self._surest = np.zeros(len(self.labels.names), np.int64)
        self._score_sum = 0.0

    def add(self, portion: Portion, value: Floats | None) -> None:
        """Count some rows; ``value`` is from ``Portion.value``."""
        codes = np.zeros(len(portion), np.int64)
        self._sums[portion.file] += self.cells.from_codes(codes, 1, portion.label, value)[0]
        labeled = portion.label < len(self.labels.all)
        label, table = portion.label, portion.probabilities
        if not labeled.all():
            label, table = label[labeled], table[labeled]
            value = None if value is None else value[labeled]
        self._probabilities += table.sum(axis=0, dtype=np.float64)
        scores = table.max(axis=1, initial=0.0).astype(np.float64)
        self._scores += self._binned(label, scores)
        self._score_sum += float(scores.sum())
        uncertain = label >= len(self._surest)
        if uncertain.any():
            label = np.where(uncertain, table.argmax(axis=1), label)
        self._surest += np.bincount(label, minlength=len(self._surest))
        if value is not None:
            self._values += self._binned(label, (value + 1) / 2)

    def _binned(self, label: Ints, figure: Floats) -> Ints:
        """The number of rows by ``[label, bin]`` of a figure from 0 to 1."""
        bins = np.minimum((figure * _BINS).astype(np.int64), _BINS - 1)
        width = len(self.labels.all)
        return np.bincount(label * _BINS + bins, minlength=width * _BINS).reshape(width, _BINS)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.cells.rows(self._sums).sum())

    def scores(self, names: tuple[str, ...]) -> Scores:
        """The figures of the data set."""
        figures = self.cells.figures(self._sums.sum(axis=0))
        by_model: dict[ModelName, list[int]] = {}
        for index, model in enumerate(self.files.models):
            by_model.setdefault(model, []).append(index)
        models = tuple(
            ModelRows(model, len(indices), self.cells.figures(self._sums[indices].sum(axis=0)))
            for model, indices in by_model.items()
        )
        means = self._probabilities / max(1, figures.labeled)
        return Scores(
            names,
            len(self.files.sources),
            figures,
            tuple(means.tolist()) if figures.labeled else (),
            models,
            self._histogram(self._scores, 0.0),
            None if self.labels.poles is None else self._histogram(self._values, -1.0),
        )

    def distribution(self, words: WordsSeen) -> Distribution:
        """The counts of labeled rows; ``uncertain`` ones count for the label with the highest probability."""
        return Distribution(
            dict(zip(self.labels.names, self._surest.tolist(), strict=True)),
            tuple(self._scores.sum(axis=0).reshape(BINS, -1).sum(axis=1).tolist()),
            self._score_sum,
            words.all,
            words.unknown,
        )

    def _histogram(self, counts: Ints, low: float) -> Histogram:
        used = [index for index, row in enumerate(counts) if row.any() or index < len(self.labels.names)]
        return Histogram(
            low,
            1.0,
            tuple(self.labels.all[index] for index in used),
            tuple(tuple(counts[index].tolist()) for index in used),
        )


class Texts:
    """Collects data about texts: their quality, their words, and examples.

    Args:
        files: The files.
        knowledge: What is known about the model.
        shown: Number of example texts of each kind.
    """

    def __init__(self, files: ScoredFiles, knowledge: Knowledge, shown: int) -> None:
        self._files, self._labels, self._knowledge = files, files.labels, knowledge
        self._null = self._empty = self._unlabeled = self._cut = self._labeled = 0
        self._repeats, self._sample = TextRepeats(), TextSample()
        kinds = [POSITIVE, NEGATIVE] if files.labels.poles else list(files.labels.names[:_MOST_LABELS])
        self._strongest = {kind: Strongest(shown) for kind in (*kinds, UNCERTAIN_ROWS)} if shown else {}

    def add(self, portion: Portion, value: Floats | None) -> None:
        """Process some rows with texts; ``value`` is from ``Portion.value``."""
        assert portion.texts is not None
        text = as_text(portion.texts)
        self._null += text.null_count
        texts = text.fill_null("") if text.null_count else text
        is_labeled = portion.label < len(self._labels.all)
        labeled = int(is_labeled.sum())
        if labeled < len(portion):
            blank = pc.equal(pc.utf8_trim_whitespace(texts.filter(pa.array(~is_labeled))), "")
            empty = pc.sum(blank).as_py() or 0
            self._empty += empty - text.null_count
            self._unlabeled += len(portion) - labeled - empty
        self._count_cut(texts)
        whole = texts if labeled == len(portion) else texts.filter(pa.array(is_labeled))
        self._labeled += labeled
        self._repeats.add(whole)
        self._sample.add(whole, portion.label[is_labeled])
        if self._strongest:
            self._look(portion, texts, value, is_labeled)

    def _count_cut(self, texts: pa.Array) -> None:
        limit = self._knowledge.max_chars
        long = texts.filter(pc.greater(pc.binary_length(texts), limit))
        if len(long):
            self._cut += pc.sum(pc.greater(pc.utf8_length(long), limit)).as_py() or 0

    def _look(
        self,
        portion: Portion,
        texts: pa.Array,
        value: Floats | None,
        labeled: np.ndarray[tuple[int], np.dtype[np.bool_]],
    ) -> None:
        table = portion.probabilities

        def text_of(index: int) -> str:
            return shown_text(texts[index].as_py())

        def row(index: int) -> Example:
            return example(self._files, portion, index, value)

        for kind, strongest in self._strongest.items():
            if kind == UNCERTAIN_ROWS:
                figure = -table.max(axis=1)
            elif value is not None:
                figure = value if kind == POSITIVE else -value
            else:
                figure = table[:, self._labels.names.index(kind)]
            strongest.add(np.where(labeled, figure, -np.inf), text_of, row)

    def examples(self) -> tuple[Examples, ...] | None:
        """The example rows; None if none were requested."""
        if not self._strongest:
            return None
        return tuple(Examples(kind, one.found()) for kind, one in self._strongest.items())

    def found(self) -> TextFacts:
        """The results about the texts and their words."""
        texts, label = self._sample.drawn()
        sizes = np.bincount(label, minlength=len(self._labels.all))
        order = np.argsort(-sizes, kind="stable")[:_MOST_LABELS]
        indices = [int(index) for index in np.sort(order) if sizes[index]]
        column_of = np.full(len(self._labels.all), len(indices), np.int64)
        column_of[indices] = np.arange(len(indices))
        counts = WordCounts(len(indices) + 1)
        words = unknown = 0
        seen = WordsSeen(0, None)
        languages = LanguageCounts(with_words=self._knowledge.bundle is not None)
        bundle = self._knowledge.bundle
        for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
            part = texts.slice(start, _TOKENIZED_AT_ONCE)
            tokens, _ = tokenize(part, self._knowledge.rules, self._knowledge.max_chars)
            counts.add(tokens, column_of[label[start : start + len(part)]])
            known = None
            if bundle is not None:
                known = ~bundle.text.is_unknown(tokens)
                words += len(known)
                unknown += int((~known).sum())
                if bundle.reference is not None:
                    ids, _ = bundle.text.fit(*bundle.text.ids_of(tokens))
                    some, not_known = bundle.text.count_words(ids)
                    seen = WordsSeen(
                        seen.all + some, None if not_known is None else (seen.unknown or 0) + not_known
                    )
            languages.add(part, tokens, known)
        quality = Quality(
            self._null,
            self._empty,
            self._unlabeled,
            self._cut,
            self._knowledge.max_chars,
            self._repeats.repeats(),
            unknown / words if words else None,
            languages.languages(),
        )
        names, table = counts.merged()
        labels = [
            LabelWords(self._labels.all[index], _words(names, table, column))
            for column, index in enumerate(indices)
            if len(indices) > 1
        ]
        return TextFacts(quality, Words(len(texts), self._labeled, tuple(labels)), seen)


class Extent:
    """Sums rows over time and by groups, if requested.

    Args:
        files: The files.
        cells: Computes the sums.
        times: Reads the times; None for none.
    """

    def __init__(self, files: ScoredFiles, cells: Cells, times: Times | None) -> None:
        self.times = times
        self.time = TimeSums(cells)
        self.groups = tuple(GroupSums(name, cells) for name in files.wanted.by)

    def add(self, portion: Portion, value: Floats | None) -> None:
        """Count some rows; ``value`` is from ``Portion.value``."""
        if self.times is not None and portion.times is not None:
            seconds, valid = self.times.read(portion.times)
            self.time.add(seconds, valid, self.times.zone, portion.label, value)
        for group, values in zip(self.groups, portion.groups, strict=True):
            group.add(values, portion.label, value)


def example(files: ScoredFiles, portion: Portion, index: int, value: Floats | None) -> Example:
    """A row of a portion with texts, as an example."""
    assert portion.texts is not None
    return Example(
        text=shown_text(as_text(portion.texts.slice(index, 1))[0].as_py() or ""),
        label=files.labels.all[portion.label[index]],
        value=None if value is None else float(value[index]),
        probabilities=tuple(float(share) for share in portion.probabilities[index]),
        file=files.sources[portion.file].name,
        row=None if portion.first is None else portion.first + index,
        time=None if portion.times is None else scalar_text(portion.times, index),
        groups=tuple(scalar_text(column, index) for column in portion.groups),
    )


def _words(names: pa.Array, counts: Ints, column: int) -> tuple[Word, ...]:
    frequent = frequent_words(names, counts, column, 4 * _MOST_WORDS)
    kept = [one for one in frequent if one["count"] >= _LEAST_COUNT and one["z"] >= _LEAST_Z]
    return tuple(Word(**one) for one in kept[:_MOST_WORDS])
