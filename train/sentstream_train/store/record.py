"""``run.json`` as a typed record that is written whole, never changed in place."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import sentstream
from sentstream.errors import CheckpointError, SentstreamError
from sentstream.text import TextRules, Vocabulary
from sentstream_train.config import Columns, DataConfig, FitConfig, NetworkConfig, from_dict, to_dict
from sentstream_train.data.labeled import SourceInfo
from sentstream_train.data.split import DataReport

#: Format 1 has neither results of stages nor word vectors; it is read, too.
RUN_FORMAT = 2
_READABLE = (1, RUN_FORMAT)
#: Stands with the counts of rows.
_REPEATS = "repeat_held_out"

#: What a run or a bundle tells about its training, in the order in which it is passed on.
PASSED_ON = tuple(
    "file data rows held_out preparation architecture training teachers embeddings fine_tuning from versions"
    " started finished calibration".split()
)


@dataclass(frozen=True)
class NamedFile:
    """A file that a run was given.

    Attributes:
        name: Its base name.
        sha256: Hex digest of its bytes.
    """

    name: str
    sha256: str

    @classmethod
    def of(cls, source: SourceInfo) -> NamedFile:
        """A file that was read."""
        return cls(source.name, source.sha256)


@dataclass(frozen=True)
class VocabularySize:
    """How many words and pairs a network knows.

    Attributes:
        words: Words, padding and the unknown word included.
        pairs: Word pairs.
        also_from: Names of the further files that they were learned from.
    """

    words: int
    pairs: int
    also_from: tuple[str, ...] = ()

    @classmethod
    def of(cls, vocabulary: Vocabulary, also_from: Sequence[str] = ()) -> VocabularySize:
        """That of a vocabulary."""
        return cls(len(vocabulary), vocabulary.pair_count, tuple(also_from))


@dataclass(frozen=True)
class Teacher:
    """Whose probabilities were learned beside the labels.

    Attributes:
        name: A model's name, or the columns of the data.
        fingerprint: The model's; None for columns.
    """

    name: str
    fingerprint: str | None


@dataclass(frozen=True)
class WordVectors:
    """The vectors that a network's words began with.

    Attributes:
        name: The file's base name.
        sha256: Hex digest of its bytes.
        width: Numbers a word.
        words: Words of the vocabulary that it has, padding and the unknown word aside.
        of_words: Words of the vocabulary.
        tokens: Share of the training tokens that these words are.
    """

    name: str
    sha256: str
    width: int
    words: int
    of_words: int
    tokens: float


@dataclass(frozen=True)
class Figures:
    """How good a network is on the held-out rows: its loss in nats a row, and the share that is right."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class StageResult:
    """The result of a stage of a fine-tuning.

    Attributes:
        name: The layers that learned.
        epochs: Epochs that were run.
        kept: The one whose weights were kept, from 1; 0: the state before the stage, which none has beaten.
        before: Figures of the state before.
        after: Figures of what was kept.
        why: Why no epoch was kept; empty where one was.
    """

    name: str
    epochs: int
    kept: int
    before: Figures
    after: Figures
    why: str = ""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StageResult:
        """Read back what ``asdict`` made."""
        sides = {side: Figures(**values[side]) for side in ("before", "after")}
        return cls(**{**values, **sides})


@dataclass(frozen=True)
class FineTuning:
    """How a fine-tuning went about it.

    Attributes:
        thaw: Order in which layers learn.
        layer_decay: A layer's learning rate is that of the next one times this.
        stages: Names of the stages.
        fingerprint: That of the model it began with.
    """

    thaw: str
    layer_decay: float
    stages: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True)
class TrialScore:
    """Which trial of a search a run was: its number, and what it was judged by."""

    trial: int
    metric: str
    score: float


@dataclass(frozen=True)
class Versions:
    """Of everything that has a say in the figures."""

    sentstream: str
    python: str
    keras: str
    tensorflow: str

    @classmethod
    def here(cls) -> Versions:
        """Those that run now."""
        import keras
        import tensorflow as tf

        return cls(sentstream.__version__, platform.python_version(), keras.__version__, tf.__version__)


@dataclass(frozen=True)
class Settings:
    """What a run was told, and what a resumed run goes on with.

    Attributes:
        network: The shape of the network; None: that of the model that is fine-tuned.
        fitting: How it is fitted.
        data: How rows become examples.
        columns: Where text, label and user stand.
        only_labels: Use only the rows with these labels, in this order of classes; None: all.
    """

    network: NetworkConfig | None
    fitting: FitConfig
    data: DataConfig
    columns: Columns
    only_labels: tuple[str, ...] | None


@dataclass(frozen=True)
class RunRecord:
    """What ``run.json`` says.

    Attributes:
        labels: The classes, in the order of the network's output.
        rules, max_chars: How texts are read.
        vocabulary: What is known of them.
        settings: What the run was told; None: it did not train (a calibration).
        data: The files of rows.
        rows: What became of the rows.
        repeat_held_out: Rows that repeat one of ``held_out`` and were left out.
        held_out: Files of texts that must not be learned.
        network: The layers, of a run that did not choose them (``Network.describe``).
        teachers: Whom it learned from beside the labels.
        embeddings: What its words began with.
        fine_tuning, stages: Of a fine-tuning: its settings, and the result of each stage.
        started_from: Of a fine-tuning: name, labels and provenance of the model before, JSON-ready.
        search: Of the run of a search.
        begun: Epochs that were done before the run was given more.
        metrics: What was measured, JSON-ready: a name of rows -> figures.
        versions, started, finished: What it was made with, and when (ISO 8601, UTC).
        calibration: How its probabilities were calibrated, JSON-ready.
        passed_on: Of a calibration: what the model before tells about its training, unchanged.
    """

    labels: tuple[str, ...]
    rules: TextRules
    max_chars: int
    vocabulary: VocabularySize
    settings: Settings | None = None
    data: tuple[SourceInfo, ...] = ()
    rows: DataReport | None = None
    repeat_held_out: int = 0
    held_out: tuple[NamedFile, ...] = ()
    network: Mapping[str, Any] | None = None
    teachers: tuple[Teacher, ...] = ()
    embeddings: WordVectors | None = None
    fine_tuning: FineTuning | None = None
    stages: tuple[StageResult, ...] = ()
    started_from: Mapping[str, Any] | None = None
    search: TrialScore | None = None
    begun: int = 0
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    versions: Versions | None = None
    started: str | None = None
    finished: str | None = None
    calibration: Mapping[str, Any] | None = None
    passed_on: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The record as ``run.json`` has it; what does not apply is left out."""
        found: dict[str, Any] = {
            "format": RUN_FORMAT,
            "labels": list(self.labels),
            "text": self.rules.to_dict(),
            "max_chars": self.max_chars,
            "network": self.network,
            **_settings_to_dict(self.settings),
            "fine_tuning": _plain(self.fine_tuning),
            "data": [source.to_dict() for source in self.data] or None,
            "rows": None if self.rows is None else {**self.rows.to_dict(), _REPEATS: self.repeat_held_out},
            "held_out": [asdict(file) for file in self.held_out] or None,
            "teachers": [asdict(teacher) for teacher in self.teachers] or None,
            "embeddings": _plain(self.embeddings),
            "from": self.started_from,
            "vocabulary": _plain(self.vocabulary),
            "versions": _plain(self.versions),
            "started": self.started,
            "begun": self.begun or None,
            "stages": [asdict(stage) for stage in self.stages] or None,
            "search": _plain(self.search),
            "metrics": dict(self.metrics) or None,
            "finished": self.finished,
            **self.passed_on,
            "calibration": self.calibration,
        }
        return {key: value for key, value in found.items() if value is not None}

    def provenance(self) -> dict[str, Any]:
        """What is passed on to a bundle, and to a run that begins with this one."""
        found = self.to_dict()
        return {key: found[key] for key in PASSED_ON if key in found}

    def done(self, **facts: Any) -> RunRecord:
        """The record of the run that is finished now, with its result."""
        return replace(self, finished=now(), **facts)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunRecord:
        """Read back what ``to_dict`` made, in this version or an earlier one.

        Raises:
            CheckpointError: It is of another format, or says what this version does not know.
        """
        if values.get("format") not in _READABLE:
            raise CheckpointError(
                f"a run of format {values.get('format')!r}; this version supports {_READABLE[0]} to"
                f" {RUN_FORMAT}",
                hint="use the version of sentstream that made it",
            )
        try:
            return cls(**_read(values))
        except (KeyError, TypeError, ValueError, AttributeError, SentstreamError) as error:
            said = error.message if isinstance(error, SentstreamError) else f"{type(error).__name__} {error}"
            raise CheckpointError(
                f"a run with settings that this version does not support: {said}"
            ) from error


def now() -> str:
    """The time, as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _plain(record: Any) -> dict[str, Any] | None:
    if record is None:
        return None
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(record).items()}


def _settings_to_dict(settings: Settings | None) -> dict[str, Any]:
    if settings is None:
        return {}
    return {
        "architecture": None if settings.network is None else to_dict(settings.network),
        "training": to_dict(settings.fitting),
        "preparation": to_dict(settings.data),
        "columns": asdict(settings.columns),
        "only_labels": None if settings.only_labels is None else list(settings.only_labels),
    }


def _read(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record."""
    found: dict[str, Any] = {
        "labels": tuple(values["labels"]),
        "rules": TextRules.from_dict(values["text"]),
        "max_chars": int(values["max_chars"]),
        "vocabulary": VocabularySize(
            int(values["vocabulary"]["words"]),
            int(values["vocabulary"]["pairs"]),
            tuple(values["vocabulary"].get("also_from", ())),
        ),
        "network": values.get("network"),
        "metrics": values.get("metrics", {}),
        "finished": values.get("finished"),
    }
    if "calibration" in values:
        passed_on = {key: values[key] for key in PASSED_ON if key in values and key != "calibration"}
        return {**found, "calibration": values["calibration"], "passed_on": passed_on}
    vectors, search, tuned = (values.get(name) for name in ("embeddings", "search", "fine_tuning"))
    versions, rows = values.get("versions"), values.get("rows")
    return {
        **found,
        "settings": _settings_from(values) if "training" in values else None,
        "data": tuple(SourceInfo.from_dict(source) for source in values.get("data", ())),
        "rows": None if rows is None else DataReport(**{k: v for k, v in rows.items() if k != _REPEATS}),
        "repeat_held_out": 0 if rows is None else int(rows.get(_REPEATS, 0)),
        "held_out": tuple(NamedFile(**file) for file in values.get("held_out", ())),
        "teachers": tuple(Teacher(**teacher) for teacher in values.get("teachers", ())),
        "embeddings": None if vectors is None else WordVectors(**vectors),
        "fine_tuning": None if tuned is None else FineTuning(**{**tuned, "stages": tuple(tuned["stages"])}),
        "stages": tuple(StageResult.from_dict(stage) for stage in values.get("stages", ())),
        "started_from": values.get("from"),
        "search": None if search is None else TrialScore(**search),
        "begun": int(values.get("begun", 0)),
        "versions": None if versions is None else Versions(**versions),
        "started": values.get("started"),
    }


def _settings_from(values: Mapping[str, Any]) -> Settings:
    network, labels = values.get("architecture"), values.get("only_labels")
    return Settings(
        None if network is None else from_dict(NetworkConfig, network),
        from_dict(FitConfig, values["training"]),
        from_dict(DataConfig, values["preparation"]),
        Columns(**values["columns"]),
        None if labels is None else tuple(labels),
    )
