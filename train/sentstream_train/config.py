"""Every knob of a network and of its training, as typed data that goes into ``run.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

from sentstream.errors import BundleSchemaError, UsageError
from sentstream.text import DEFAULT_MAX_CHARS, TextRules

Cell = Literal["simple", "gru", "lstm"]
Pooling = Literal["last", "mean", "max", "mean-max"]
Schedule = Literal["constant", "cosine", "linear", "exponential"]
Settings = TypeVar("Settings", "NetworkConfig", "FitConfig", "DataConfig")


def _positive(settings: object, *names: str) -> None:
    for name in names:
        if getattr(settings, name) < 1:
            raise UsageError(f"{name} must be at least 1")


def _shares(settings: object, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(settings, name) < 1:
            raise UsageError(f"{name} must be at least 0 and below 1")


def _choice(settings: object, name: str, allowed: tuple[str, ...]) -> None:
    if getattr(settings, name) not in allowed:
        raise UsageError(f"{name} must be one of {', '.join(allowed)}, not {getattr(settings, name)!r}")


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of the network.

    Args:
        words: Most words in the vocabulary, padding and the unknown word included.
        pairs: Most word pairs with a row of their own; 0 for a plain embedding.
        min_count: A word or pair seen less often gets no row.
        embedding: Width of the embedding.
        units: Units of each recurrent layer, first to last.
        cell: Kind of the recurrent layers.
        bidirectional: Read each layer's input in both directions.
        pooling: What the classifier sees: the last state, or the states pooled over time.
        dropout: Share of the classifier's inputs left out in training.
        embedding_dropout: Share of the embedding's columns left out in training, for all steps of a tweet.
        recurrent_dropout: Share of the recurrent state left out at each step (slow).
        word_dropout: Share of the words read as the unknown word in training.
        pair_dropout: Share of the pairs left out in training.
        l2: Weight of the L2 penalty on the recurrent and dense kernels.
    """

    words: int = 40_000
    pairs: int = 0
    min_count: int = 3
    embedding: int = 96
    units: tuple[int, ...] = (128, 128)
    cell: Cell = "simple"
    bidirectional: bool = False
    pooling: Pooling = "last"
    dropout: float = 0.0
    embedding_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    word_dropout: float = 0.0
    pair_dropout: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        _positive(self, "words", "embedding", "min_count")
        if not self.units or min(self.units) < 1:
            raise UsageError("a network needs at least one recurrent layer of at least one unit")
        if self.pairs < 0:
            raise UsageError("the number of word pairs is negative")
        _shares(self, "dropout", "embedding_dropout", "recurrent_dropout", "word_dropout", "pair_dropout")
        _choice(self, "cell", ("simple", "gru", "lstm"))
        _choice(self, "pooling", ("last", "mean", "max", "mean-max"))


_BOTH_WAYS = NetworkConfig(
    words=40_000,
    units=(96,),
    cell="gru",
    bidirectional=True,
    pooling="mean-max",
    embedding_dropout=0.2,
    dropout=0.4,
)
#: Networks with a name. ``seed`` is exactly Embedding → SimpleRNN → SimpleRNN → Dense(softmax).
ARCHITECTURES: dict[str, NetworkConfig] = {
    "seed": NetworkConfig(words=30_000),
    "pairs": NetworkConfig(
        words=45_000,
        pairs=160_000,
        units=(96, 96),
        pooling="mean-max",
        embedding_dropout=0.2,
        dropout=0.4,
        pair_dropout=0.5,
    ),
    "bigru": _BOTH_WAYS,
    "bilstm": replace(_BOTH_WAYS, cell="lstm"),
}


@dataclass(frozen=True)
class FitConfig:
    """How the network is fitted.

    Args:
        epochs: Most passes over the training rows.
        batch_size: Rows a step; a batch holds tweets of one length, so the last of a length is smaller.
        optimizer: ``adam`` (rows of a look-up table are updated only when they were read), ``adamw``,
            ``rmsprop``, ``nadam`` or ``sgd`` (momentum 0.9).
        learning_rate: The first, and for a constant schedule the only, learning rate.
        schedule: How the learning rate falls over all the steps of all the epochs.
        warmup: Share of the steps over which the learning rate rises from nothing.
        weight_decay: Decoupled weight decay (``adamw`` only).
        clip_norm: Largest norm of all the gradients together; 0 is no clipping.
        patience: Stop when the validation loss has not fallen for so many epochs; 0 never stops early.
        class_weights: ``"none"``, or ``"balanced"``: each class weighs the same in the loss.
        teacher_weight: With teachers: their share of what is learned; the rest is the labels'.
        teacher_temperature: What softens the teachers' probabilities, and the student's beside them.
        max_tokens: Tokens of a training tweet that are read.
        seed: Seed of everything that is drawn: the split, the weights, the order, the dropout.
    """

    epochs: int = 2
    batch_size: int = 512
    optimizer: Literal["adam", "adamw", "rmsprop", "nadam", "sgd"] = "adam"
    learning_rate: float = 2e-3
    schedule: Schedule = "cosine"
    warmup: float = 0.02
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    patience: int = 0
    class_weights: Literal["none", "balanced"] = "none"
    teacher_weight: float = 0.5
    teacher_temperature: float = 1.0
    max_tokens: int = 64
    seed: int = 1

    def __post_init__(self) -> None:
        _positive(self, "epochs", "batch_size", "max_tokens")
        _choice(self, "optimizer", ("adam", "adamw", "rmsprop", "nadam", "sgd"))
        _choice(self, "schedule", ("constant", "cosine", "linear", "exponential"))
        _choice(self, "class_weights", ("none", "balanced"))
        _shares(self, "warmup")
        if not 0 < self.teacher_weight <= 1:
            raise UsageError("teacher_weight must be above 0 and at most 1")
        if not 0.1 <= self.teacher_temperature <= 100:
            raise UsageError("teacher_temperature must be from 0.1 to 100")
        if self.learning_rate <= 0:
            raise UsageError("the learning rate must be above 0")
        if self.weight_decay < 0 or self.clip_norm < 0 or self.patience < 0:
            raise UsageError("weight decay, clipping norm and patience cannot be negative")
        if self.weight_decay and self.optimizer != "adamw":
            raise UsageError("weight decay belongs to the optimizer adamw")


@dataclass(frozen=True)
class DataConfig:
    """How rows become training and validation examples.

    Args:
        validation: Share of the rows held out, or their number when 1 or more.
        conflicts: Rows with one text and several labels: ``"majority"`` keeps the most frequent label
            (a tie drops them all), ``"drop"`` drops them, ``"keep"`` keeps every row.
        duplicates: Rows with one text and one label: ``"first"`` keeps one, ``"keep"`` keeps all.
        limit: Use only so many rows, drawn at random; 0 is all of them.
        max_chars: Characters of a tweet that are read.
        rules: The text rules.
    """

    validation: float = 0.02
    conflicts: Literal["majority", "drop", "keep"] = "majority"
    duplicates: Literal["first", "keep"] = "first"
    limit: int = 0
    max_chars: int = DEFAULT_MAX_CHARS
    rules: TextRules = field(default_factory=TextRules)

    def __post_init__(self) -> None:
        _positive(self, "max_chars")
        _choice(self, "conflicts", ("majority", "drop", "keep"))
        _choice(self, "duplicates", ("first", "keep"))
        if self.validation <= 0:
            raise UsageError("some rows must be held out for validation")
        if self.limit < 0:
            raise UsageError("the limit of rows is negative")


def to_dict(settings: NetworkConfig | FitConfig | DataConfig) -> dict[str, Any]:
    """Settings as JSON-ready data."""
    values = asdict(settings)
    for name, value in values.items():
        if isinstance(value, tuple):
            values[name] = list(value)
    if isinstance(settings, DataConfig):
        values["rules"] = settings.rules.to_dict()
    return values


def from_dict(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Read back what ``to_dict`` wrote.

    Raises:
        UsageError: A setting that this version does not know, or a value out of range.
    """
    known = {f.name for f in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise UsageError(f"unknown setting {unknown[0]!r}")
    read: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    if "rules" in read:
        read["rules"] = TextRules.from_dict(read["rules"])
    return kind(**read)


Configured = TypeVar("Configured", NetworkConfig, FitConfig, DataConfig, TextRules)


def override(settings: Configured, **values: Any) -> Configured:
    """The same settings with the values that were given; None leaves a setting as it is.

    Raises:
        UsageError: A value out of range, or options that contradict each other.
    """
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return replace(settings, **given)
    except BundleSchemaError as error:  # text rules are checked as part of a bundle, too
        raise UsageError(error.message) from error
