"""The result of an analysis, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sentstream.analyze.agreement import Agreement
from sentstream.analyze.cells import Figures
from sentstream.analyze.groups import Grouping
from sentstream.analyze.intervals import Interval
from sentstream.analyze.knowledge import Measured
from sentstream.analyze.languages import Languages
from sentstream.analyze.repeats import Repeats
from sentstream.analyze.scored import ModelName
from sentstream.analyze.strongest import Example
from sentstream.analyze.timeline import Timeline


@dataclass(frozen=True)
class Histogram:
    """Histogram of a figure of the labeled rows, in bins of equal width.

    Attributes:
        low: Lower bound of the first bin.
        high: Upper bound of the last bin, inclusive.
        labels: The labels.
        rows: Number of rows, ``[label][bin]``.
    """

    low: float
    high: float
    labels: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Word:
    """A word that is typical of one label.

    Attributes:
        word: The word, as the text path produces it.
        z: The log odds ratio under a Dirichlet prior, divided by its standard deviation (Monroe et al. 2008).
        count: Number of occurrences with the label.
        elsewhere: Number of occurrences with the other labels.
    """

    word: str
    z: float
    count: int
    elsewhere: int


@dataclass(frozen=True)
class LabelWords:
    """The words of one label, highest ``z`` first."""

    label: str
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Words:
    """The words that distinguish the labels.

    Attributes:
        rows: Number of labeled rows examined; a random sample if there are very many.
        of: Number of labeled rows.
        labels: The words of each label.
    """

    rows: int
    of: int
    labels: tuple[LabelWords, ...]


@dataclass(frozen=True)
class Quality:
    """Data quality of the texts.

    Attributes:
        null: Rows without a text.
        empty: Rows whose text is empty or only whitespace.
        unlabeled: Rows with a text but no label.
        cut: Texts longer than the model reads.
        max_chars: Number of characters that the model reads.
        repeats: How often texts repeat.
        unknown: Share of words that are not in the vocabulary; None if the model is not available.
        languages: Texts that are probably in another language.
    """

    null: int
    empty: int
    unlabeled: int
    cut: int
    max_chars: int
    repeats: Repeats
    unknown: float | None
    languages: Languages


@dataclass(frozen=True)
class Examples:
    """Example rows of one kind: the strongest of a label, or the most uncertain.

    Attributes:
        kind: A label such as ``positive``, or ``uncertain``.
        rows: The rows, strongest first.
    """

    kind: str
    rows: tuple[Example, ...]


@dataclass(frozen=True)
class ModelRows:
    """The rows that one model scored."""

    model: ModelName
    files: int
    figures: Figures


@dataclass(frozen=True)
class Manifest:
    """The manifest next to the outputs.

    Attributes:
        directory: The directory that contains it.
        model: The model that scored the rows.
        sentstream: The version of sentstream that wrote it.
        finished: Whether the run that wrote it finished.
        outputs: Number of complete outputs.
        skipped: Number of inputs that were not valid and were skipped.
        options: The options of the run that differ from their defaults, by name.
    """

    directory: str
    model: ModelName
    sentstream: str
    finished: bool
    outputs: int
    skipped: int
    options: dict[str, Any]


@dataclass(frozen=True)
class Scores:
    """The figures of one data set.

    Attributes:
        names: The inputs as given.
        files: Number of files.
        figures: The figures of all rows.
        probabilities: The mean probability of each label over the labeled rows.
        models: The rows by model, if several models scored them.
        scores: Histogram of the highest probability.
        values: Histogram of P(positive) − P(negative); None if the model has no such labels.
    """

    names: tuple[str, ...]
    files: int
    figures: Figures
    probabilities: tuple[float, ...]
    models: tuple[ModelRows, ...]
    scores: Histogram
    values: Histogram | None


@dataclass(frozen=True)
class ShareChange:
    """How a label's share changed.

    Attributes:
        label: The label.
        before: Its share before; None if there are no rows.
        after: Its share after.
        difference: After minus before.
        interval: 95 % interval of the difference.
    """

    label: str
    before: float | None
    after: float | None
    difference: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Drift:
    """How far a distribution moved.

    Attributes:
        what: The distribution.
        psi: The population stability index.
        jensen_shannon: The Jensen-Shannon divergence, in bits.
    """

    what: str
    psi: float
    jensen_shannon: float


@dataclass(frozen=True)
class Comparison:
    """Comparison with another data set, the "before".

    Attributes:
        before: The figures of that data set.
        paired: Whether it has the same rows.
        apart: Why the rows are not the same; None if they are.
        shares: How the labels' shares changed.
        drift: How far labels and scores moved.
        agreement: What changed in the same rows; None if the rows are not the same.
    """

    before: Scores
    paired: bool
    apart: str | None
    shares: tuple[ShareChange, ...]
    drift: tuple[Drift, ...]
    agreement: Agreement | None


@dataclass(frozen=True)
class AgainstTraining:
    """Comparison with the rows held out in the training of the model, from its bundle.

    Attributes:
        of: Description of the held-out rows; None if unknown.
        why: Why there are no figures; None if there are.
        shares: How the labels' shares differ; "before" is the held-out rows. ``uncertain`` rows count for the
            label with their highest probability.
        drift: Distance of labels, of scores and, if there are texts, of known and unknown words.
    """

    of: str | None
    why: str | None
    shares: tuple[ShareChange, ...]
    drift: tuple[Drift, ...]


@dataclass(frozen=True)
class Analysis:
    """The analysis of scored rows.

    Attributes:
        labels: The model's labels.
        where: The SQL condition that selects the rows; None for all rows.
        left_out: Number of rows that the condition excluded.
        scores: The figures of all rows.
        time: The rows over time; None if not requested.
        groups: The rows by each requested column.
        words: The words that distinguish the labels; None without texts.
        examples: Example rows; None if not requested or without texts.
        quality: Data quality of the texts; None without texts.
        measured: Accuracy of the model on labeled rows, if its bundle is available.
        manifests: The manifests next to the outputs.
        training: Comparison with the rows held out in the model's training.
        comparison: Comparison with another data set; None if not requested.
    """

    labels: tuple[str, ...]
    where: str | None
    left_out: int
    scores: Scores
    time: Timeline | None
    groups: tuple[Grouping, ...]
    words: Words | None
    examples: tuple[Examples, ...] | None
    quality: Quality | None
    measured: tuple[Measured, ...]
    manifests: tuple[Manifest, ...]
    training: AgainstTraining
    comparison: Comparison | None

    def to_dict(self) -> dict[str, Any]:
        """The analysis as JSON-serializable data."""
        import sentstream

        return {"report": "sentiment", "sentstream": sentstream.__version__, **asdict(self)}

    def _repr_html_(self) -> str:
        """HTML for notebooks: the labels of all rows, and the mean value of each group."""
        from sentstream.notebook import facts, shares, show

        figures = self.scores.figures
        means = [
            facts(
                f"mean value by {grouping.column}",
                [
                    (
                        "(null)" if one.name is None else one.name,
                        "–" if one.figures.value is None else f"{one.figures.value:+.2f}",
                    )
                    for one in grouping.groups
                ],
            )
            for grouping in self.groups
        ]
        counts = {share.label: share.rows for share in figures.shares}
        return show(shares(f"labels of {figures.rows:,} rows", counts), *means)
