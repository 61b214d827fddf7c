"""``run.json`` as an immutable, typed record."""

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

#: Format 1 has no stage results and no word vectors; it can still be read.
RUN_FORMAT = 2
_READABLE = (1, RUN_FORMAT)
#: Key among the counts of rows.
_REPEATS = "repeat_held_out"

#: The keys of a run or bundle that are copied to its successors as provenance, in order.
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
        """The name and digest of a file that was read."""
        return cls(source.name, source.sha256)


@dataclass(frozen=True)
class VocabularySize:
    """The size of a network's vocabulary.

    Attributes:
        words: Words, including padding and the unknown word.
        pairs: Word pairs.
        also_from: Names of additional files that the vocabulary was learned from.
    """

    words: int
    pairs: int
    also_from: tuple[str, ...] = ()

    @classmethod
    def of(cls, vocabulary: Vocabulary, also_from: Sequence[str] = ()) -> VocabularySize:
        """The size of a vocabulary."""
        return cls(len(vocabulary), vocabulary.pair_count, tuple(also_from))


@dataclass(frozen=True)
class Teacher:
    """A teacher whose probabilities were learned in addition to the labels.

    Attributes:
        name: A model's name, or the columns of the data.
        fingerprint: The model's fingerprint; None for columns.
    """

    name: str
    fingerprint: str | None


@dataclass(frozen=True)
class WordVectors:
    """The file of a network's initial word vectors.

    Attributes:
        name: The file's base name.
        sha256: Hex digest of its bytes.
        width: Numbers per word.
        words: Words of the vocabulary that the file has, without padding and the unknown word.
        of_words: Words of the vocabulary, without these two.
        tokens: The share of the training tokens that these words cover.
    """

    name: str
    sha256: str
    width: int
    words: int
    of_words: int
    tokens: float


@dataclass(frozen=True)
class Figures:
    """Loss (nats per row) and accuracy (share) of a network on the held-out rows."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class StageResult:
    """The result of a stage of a fine-tuning.

    Attributes:
        name: The layers that were trained.
        epochs: Epochs that were run.
        kept: The epoch whose weights were kept, from 1; 0: the weights before the stage.
        before: Figures before the stage.
        after: Figures of the kept weights.
        why: Why no epoch was kept; empty if one was.
    """

    name: str
    epochs: int
    kept: int
    before: Figures
    after: Figures
    why: str = ""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StageResult:
        """The inverse of ``asdict``."""
        sides = {side: Figures(**values[side]) for side in ("before", "after")}
        return cls(**{**values, **sides})


@dataclass(frozen=True)
class FineTuning:
    """The settings of a fine-tuning.

    Attributes:
        thaw: The order in which layers are trained.
        layer_decay: A layer's learning rate is the next layer's, multiplied by this.
        stages: Names of the stages.
        fingerprint: The fingerprint of the original model.
    """

    thaw: str
    layer_decay: float
    stages: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True)
class TrialScore:
    """The trial of a search that a run belongs to: its number, the metric and the score."""

    trial: int
    metric: str
    score: float


@dataclass(frozen=True)
class Versions:
    """The versions of everything that affects the figures."""

    sentstream: str
    python: str
    keras: str
    tensorflow: str

    @classmethod
    def here(cls) -> Versions:
        """The installed versions."""
        import keras
        import tensorflow as tf

        return cls(sentstream.__version__, platform.python_version(), keras.__version__, tf.__version__)


@dataclass(frozen=True)
class Settings:
    """The settings of a run; a resumed run continues with them.

    Attributes:
        network: The architecture; None: that of the model that is fine-tuned.
        fitting: Training settings.
        data: How rows become examples.
        columns: The columns of text, label and user.
        only_labels: Use only the rows with these labels, in this order of classes; None: all.
    """

    network: NetworkConfig | None
    fitting: FitConfig
    data: DataConfig
    columns: Columns
    only_labels: tuple[str, ...] | None


@dataclass(frozen=True)
class RunRecord:
    """The contents of ``run.json``.

    Attributes:
        labels: The classes, in the order of the network's output.
        rules, max_chars: How texts are read.
        vocabulary: The size of the vocabulary.
        settings: The run's settings; None for a calibration, which does not train.
        data: The files of rows.
        rows: How many rows were used and left out.
        repeat_held_out: How many rows were left out because they repeat a text of ``held_out``.
        held_out: Files of texts that must not be learned.
        network: The layers (``Network.describe``) in a run that took them from another model.
        teachers: The teachers.
        embeddings: The initial word vectors.
        fine_tuning, stages: Of a fine-tuning: its settings, and the result of each stage.
        started_from: Of a fine-tuning: name, labels and provenance of the original model, JSON-ready.
        search: Of a trial in a search: its number and score.
        begun: Epochs that were done before the run was given more.
        metrics: Measured figures, JSON-ready: name of the rows -> figures.
        versions: The versions that the run was made with.
        started, finished: When (ISO 8601, UTC).
        calibration: How its probabilities were calibrated, JSON-ready.
        passed_on: Of a calibration: the original model's provenance, unchanged.
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
        """The record as in ``run.json``, without keys that do not apply."""
        data: dict[str, Any] = {
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
        return {key: value for key, value in data.items() if value is not None}

    def provenance(self) -> dict[str, Any]:
        """The facts that go into a bundle, and into a run that starts from this one."""
        data = self.to_dict()
        return {key: data[key] for key in PASSED_ON if key in data}

    def done(self, **facts: Any) -> RunRecord:
        """The record of a run that finishes now, with ``facts`` added."""
        return replace(self, finished=now(), **facts)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunRecord:
        """The inverse of ``to_dict`` of this version or an earlier one.

        Raises:
            CheckpointError: The format or a setting is not supported.
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
            reason = (
                error.message if isinstance(error, SentstreamError) else f"{type(error).__name__} {error}"
            )
            raise CheckpointError(
                f"a run with settings that this version does not support: {reason}"
            ) from error


def now() -> str:
    """The current time as ISO 8601 in UTC."""
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
    """The fields of a record, from the contents of ``run.json``."""
    data: dict[str, Any] = {
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
        return {**data, "calibration": values["calibration"], "passed_on": passed_on}
    vectors, search, tuned = (values.get(name) for name in ("embeddings", "search", "fine_tuning"))
    versions, rows = values.get("versions"), values.get("rows")
    return {
        **data,
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
