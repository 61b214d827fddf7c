"""All settings of a network and its training, as typed data that is stored in ``run.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from sentstream.errors import BundleSchemaError, UsageError

if TYPE_CHECKING:  # the command line reads the settings here at every start: nothing else may come with them
    from sentstream.text import TextRules

Cell = Literal["simple", "gru", "lstm"]
Activation = Literal["tanh", "hard_tanh"]
Pooling = Literal["last", "mean", "max", "mean-max"]
Optimizer = Literal["adam", "adamw", "rmsprop", "nadam", "sgd"]
Schedule = Literal["constant", "cosine", "linear", "exponential"]
Conflicts = Literal["majority", "drop", "keep"]
Duplicates = Literal["first", "keep"]
Architecture = Literal["seed", "pairs", "bigru", "bilstm"]
#: ``none``, ``balanced``, or a weight for each label.
ClassWeights = Literal["none", "balanced"] | dict[str, float]
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
        words: Maximum vocabulary size, including padding and the unknown word.
        pairs: Maximum number of word pairs with their own embedding; 0 for none.
        min_count: Minimum count of a word or pair to get an embedding.
        embedding: Width of the embeddings.
        units: Units of each recurrent layer, first to last.
        cell: Recurrent cell: ``simple``, ``gru`` or ``lstm``.
        activation: What bounds the states: ``tanh``, or ``hard_tanh``, which clips them to -1 and 1 and is
            faster in int8.
        bidirectional: Read tweets in both directions, or only forward.
        pooling: Pooling of the states for the classifier: ``last``, ``mean``, ``max`` or ``mean-max``.
        dropout: Dropout rate before the classifier.
        embedding_dropout: Dropout rate of embedding columns, the same for all steps of a tweet.
        recurrent_dropout: Dropout rate of the recurrent state (slow).
        word_dropout: Share of words replaced by the unknown word in training.
        pair_dropout: Share of word pairs dropped in training.
        l2: L2 penalty on the recurrent and dense kernels.
    """

    words: int = 40_000
    pairs: int = 0
    min_count: int = 3
    embedding: int = 96
    units: tuple[int, ...] = (128, 128)
    cell: Cell = "simple"
    activation: Activation = "tanh"
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
            raise UsageError("a network needs at least one recurrent layer with at least one unit")
        if self.pairs < 0:
            raise UsageError("the number of word pairs is negative")
        _shares(self, "dropout", "embedding_dropout", "recurrent_dropout", "word_dropout", "pair_dropout")
        _choice(self, "cell", get_args(Cell))
        _choice(self, "activation", get_args(Activation))
        _choice(self, "pooling", get_args(Pooling))


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
ARCHITECTURES: dict[Architecture, NetworkConfig] = {
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
    """How the network is trained.

    Args:
        epochs: Maximum passes over the training rows.
        batch_size: Tweets per step, all of one length; the last batch of a length is smaller.
        optimizer: Optimizer: ``adam`` (updates only the embeddings that a batch reads), ``adamw``,
            ``rmsprop``, ``nadam`` or ``sgd`` (momentum 0.9).
        learning_rate: Peak learning rate.
        schedule: Decay of the learning rate over all epochs: ``cosine``, ``linear``, ``exponential`` or
            ``constant``.
        warmup: Share of the steps in which the learning rate rises from 0.
        weight_decay: Decoupled weight decay (``adamw`` only).
        clip_norm: Maximum global norm of the gradients; 0 for no clipping.
        patience: Stop after N epochs without a lower validation loss and keep the best epoch; 0 to never
            stop early and keep the last.
        class_weights: Weight of a row in the loss, also for held-out rows: ``"none"`` (all the same),
            ``"balanced"`` (each class counts the same), or a weight for each label, of which only the
            ratios matter; labels that are not named have weight 1.
        teacher_weight: Share of the teachers in the loss of a labeled row.
        teacher_temperature: Temperature that softens the teachers' and the student's probabilities; 1 for
            none.
        max_tokens: Read at most N tokens of each training tweet.
        seed: Random seed of the split, the weights, the order and the dropout.
    """

    epochs: int = 2
    batch_size: int = 512
    optimizer: Optimizer = "adam"
    learning_rate: float = 2e-3
    schedule: Schedule = "cosine"
    warmup: float = 0.02
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    patience: int = 2
    class_weights: ClassWeights = "none"
    teacher_weight: float = 0.5
    teacher_temperature: float = 1.0
    max_tokens: int = 64
    seed: int = 1

    def __post_init__(self) -> None:
        _positive(self, "epochs", "batch_size", "max_tokens")
        _choice(self, "optimizer", get_args(Optimizer))
        _choice(self, "schedule", get_args(Schedule))
        if isinstance(self.class_weights, dict):
            for label, weight in self.class_weights.items():
                if not 0 < weight < math.inf:
                    raise UsageError(f"the weight of the label {label!r} must be a number above 0")
        else:
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
            raise UsageError("weight decay needs the optimizer adamw")


@dataclass(frozen=True)
class Columns:
    """Columns that hold the text, the label and the user; None finds them by their usual names."""

    text: str | None = None
    label: str | None = None
    user: str | None = None


ANY_COLUMNS = Columns()


def _tweet_rules() -> TextRules:
    from sentstream.text import TextRules

    return TextRules()


@dataclass(frozen=True)
class DataConfig:
    """How rows become training and validation examples.

    Args:
        validation: Share of the rows to hold out, or their number if 1 or more.
        conflicts: Rows with one text under several labels: ``majority`` (a tie drops all of them), ``drop``
            or ``keep``.
        duplicates: Rows with the same text and label: ``first`` (keeps one of them) or ``keep``.
        limit: Use only N rows, drawn at random; 0 for all.
        max_chars: Read at most N characters of each tweet.
        rules: The text rules.
        same_text: Version of the rule for when two texts are the same. 2: that of
            ``sentstream_train.data.same_text``. 1: the words after the text rules; for duplicates and
            conflicts, every byte. Runs and searches without a version began with 1 and keep it, so that
            their rows stay in the same split.
    """

    validation: float = 0.02
    conflicts: Conflicts = "majority"
    duplicates: Duplicates = "first"
    limit: int = 0
    max_chars: int = 1000  # as sentstream.text.DEFAULT_MAX_CHARS
    rules: TextRules = field(default_factory=_tweet_rules)
    same_text: Literal[1, 2] = 2

    def __post_init__(self) -> None:
        _positive(self, "max_chars")
        if self.same_text not in (1, 2):
            raise UsageError(f"same_text is {self.same_text!r}, not 1 or 2", hint="upgrade sentstream")
        _choice(self, "conflicts", get_args(Conflicts))
        _choice(self, "duplicates", get_args(Duplicates))
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
    if kind is DataConfig:
        read.setdefault("same_text", 1)
    if "rules" in read:
        from sentstream.text import TextRules

        read["rules"] = TextRules.from_dict(read["rules"])
    return kind(**read)


Configured = TypeVar("Configured", NetworkConfig, FitConfig, DataConfig, "TextRules")


def override(settings: Configured, **values: Any) -> Configured:
    """The same settings with the values that were given; None leaves a setting as it is.

    Raises:
        UsageError: A value out of range, or options that contradict each other.
    """
    changes = {name: value for name, value in values.items() if value is not None}
    try:
        return replace(settings, **changes)
    except BundleSchemaError as error:  # text rules are checked as part of a bundle, too
        raise UsageError(error.message) from error
