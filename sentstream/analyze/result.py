"""What an analysis found, as plain data."""

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
    """Rows with a label by a figure, in bins of equal width.

    Attributes:
        low: Where the first bin begins.
        high: Where the last one ends, which holds that end, too.
        labels: The labels.
        rows: Rows of ``[label][bin]``.
    """

    low: float
    high: float
    labels: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Word:
    """A word that belongs more to one label than to the rest.

    Attributes:
        word: The word, as the text path makes it.
        z: How surely: the log odds ratio under a Dirichlet prior, over its standard deviation (Monroe et al.
            2008).
        count: How often it occurs under the label.
        elsewhere: How often under the other labels.
    """

    word: str
    z: float
    count: int
    elsewhere: int


@dataclass(frozen=True)
class LabelWords:
    """The words of one label, the surest first."""

    label: str
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Words:
    """The words that set the labels apart.

    Attributes:
        rows: Rows with a label that were looked at, drawn by chance where there are very many.
        of: Rows with a label.
        labels: The words of each label.
    """

    rows: int
    of: int
    labels: tuple[LabelWords, ...]


@dataclass(frozen=True)
class Quality:
    """What is to be known of the texts before anything is made of their labels.

    Attributes:
        null: Rows without a text.
        empty: Rows whose text is empty or white space.
        unlabeled: Rows that have a text and no label.
        cut: Texts longer than the model reads.
        max_chars: The characters that it reads.
        repeats: How often texts repeat.
        unknown: Share of the words that the model does not know; None where it is not at hand.
        languages: Texts that are likely in another language.
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
    """Rows that are shown: of the positive, of the negative, of each other label, the most uncertain.

    Attributes:
        kind: ``positive`` …, or ``uncertain``.
        rows: The rows, the strongest first.
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
    """What the manifest beside the outputs says.

    Attributes:
        directory: The directory that it is in.
        model: The model that scored.
        sentstream: The version that wrote it.
        finished: Whether the run that wrote it came to its end.
        outputs: Outputs that are whole.
        skipped: Inputs that were not sound and were left out.
        options: What the run was asked for, by the names of the options; what has its default is left out.
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
    """What one data set comes to.

    Attributes:
        names: What was given.
        files: How many files that was.
        figures: What all rows come to.
        probabilities: The mean probability of each label, over the rows with a label.
        models: The rows by the model that scored them, of several models.
        scores: Rows by the highest probability.
        values: Rows by P(positive) − P(negative); None without such labels.
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
        before: Its share before; None without a row.
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
        what: Of what.
        psi: The population stability index.
        jensen_shannon: The Jensen-Shannon divergence, in bits.
    """

    what: str
    psi: float
    jensen_shannon: float


@dataclass(frozen=True)
class Comparison:
    """Another data set, taken for what was before.

    Attributes:
        before: What it comes to.
        paired: Whether it holds the same rows.
        apart: Why not, where not.
        shares: How the labels' shares changed.
        drift: How far labels and scores moved.
        agreement: What changed in the same rows; None where they are not the same.
    """

    before: Scores
    paired: bool
    apart: str | None
    shares: tuple[ShareChange, ...]
    drift: tuple[Drift, ...]
    agreement: Agreement | None


@dataclass(frozen=True)
class AgainstTraining:
    """The rows against those that were held out of the training of their model, as its bundle tells.

    Attributes:
        of: What was held out: how many rows of what; None where that is not known.
        why: Why there are no figures; None where there are.
        shares: How the labels' shares differ; before is what was held out. ``uncertain`` rows count by their
            highest probability.
        drift: How far labels, scores and, where there are texts, known and unknown words are apart.
    """

    of: str | None
    why: str | None
    shares: tuple[ShareChange, ...]
    drift: tuple[Drift, ...]


@dataclass(frozen=True)
class Analysis:
    """What scored rows come to.

    Attributes:
        labels: The model's labels.
        where: The condition of the rows, in SQL; None for all.
        left_out: Rows that are not what was asked for.
        scores: What all rows come to.
        time: Rows over time; None where none was asked for.
        groups: Rows by each column that was asked for.
        words: The words that set labels apart; None without texts.
        examples: Rows that are shown; None where they were not wanted, or there are no texts.
        quality: Of the texts; None without texts.
        measured: How good the model was on labeled rows, where its bundle is at hand.
        manifests: What the manifests beside the outputs say.
        training: The rows against what their model was trained on.
        comparison: The data set that was compared with; None for none.
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
        """All of it, ready for JSON."""
        import sentstream

        return {"report": "sentiment", "sentstream": sentstream.__version__, **asdict(self)}

    def _repr_html_(self) -> str:
        """What a notebook shows: the labels of all rows, and the mean value of each group."""
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
