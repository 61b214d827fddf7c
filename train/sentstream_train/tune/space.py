"""The space of a search: the settings that vary, and their values."""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

import optuna

from sentstream.errors import InputFormatError, InputNotFoundError, UsageError
from sentstream_train.config import FitConfig, NetworkConfig, override

Value: TypeAlias = bool | int | float | str
Values: TypeAlias = dict[str, Value]
Start: TypeAlias = tuple[NetworkConfig, FitConfig]


def _types(config: type[NetworkConfig | FitConfig], *, left_out: Collection[str] = ()) -> dict[str, type]:
    """The settings in a config class that may vary, and their types."""
    types: dict[str, type] = {}
    for one in fields(config):
        if one.name == "units":  # split into the number of layers and their width
            types |= {"layers": int, "units": int}
        elif one.name not in left_out:
            types[one.name] = type(one.default)
    return types


NETWORK = _types(NetworkConfig)
FITTING = _types(FitConfig, left_out=("epochs", "weight_decay", "patience", "seed"))
SETTINGS = {**NETWORK, **FITTING}
_LARGEST = 2**31 - 1
_WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "a name"}


@dataclass(frozen=True)
class Choices:
    """A setting with one of several values."""

    values: tuple[Value, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def suggest(self, trial: optuna.Trial, name: str) -> Value:
        chosen = trial.suggest_categorical(name, self.values)
        assert chosen is not None
        return chosen

    def ends(self) -> tuple[Value, ...]:
        """The values that must be allowed, so that all are."""
        return self.values

    def written(self) -> Any:
        """As a space's file has it."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """A number from ``low`` to ``high``, both included.

    Attributes:
        low, high: The ends.
        step: Allow only ``low`` plus an integer number of steps; None: any number.
        log: Sample on a logarithmic scale.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int)

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        return not self.step or _is_whole((value - self.low) / self.step)

    def suggest(self, trial: optuna.Trial, name: str) -> Value:
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, step=int(self.step or 1), log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def ends(self) -> tuple[Value, ...]:
        """The values that must be allowed, so that all are."""
        return self.low, self.high

    def written(self) -> Any:
        """As a space's file has it."""
        step, log = {"step": self.step} if self.step else {}, {"log": True} if self.log else {}
        return {"low": self.low, "high": self.high, **step, **log}


def _is_whole(steps: float) -> bool:
    return math.isclose(steps, round(steps), abs_tol=1e-6)


@dataclass(frozen=True)
class Space:
    """The space of a search.

    Attributes:
        varying: The settings that vary, and their values.
        fixed: Settings with one value, which replaces the starting point's.
    """

    varying: dict[str, Choices | Range]
    fixed: Values = field(default_factory=dict)

    def suggest(self, trial: optuna.Trial) -> Values:
        """The next values to try; always all settings, so that the sampler sees them together."""
        return {name: domain.suggest(trial, name) for name, domain in self.varying.items()}

    def largest(self, name: str, start: Start) -> int:
        """The largest value that an integer setting can have."""
        domain = self.varying.get(name)
        values = domain.ends() if domain else (start_values(start)[name],)
        return max(value for value in values if isinstance(value, int))

    def to_dict(self) -> dict[str, Any]:
        """The space as in its file."""
        return {**{name: domain.written() for name, domain in self.varying.items()}, **self.fixed}


#: It includes every starting point that ``--arch`` names.
DEFAULT_SPACE = Space(
    {
        "words": Range(5_000, 60_000, 5_000),
        "pairs": Range(0, 200_000, 40_000),
        "embedding": Range(32, 160, 32),
        "layers": Range(1, 3),
        "units": Range(32, 160, 32),
        "cell": Choices(("simple", "gru", "lstm")),
        "bidirectional": Choices((False, True)),
        "pooling": Choices(("last", "mean", "max", "mean-max")),
        "dropout": Range(0.0, 0.6, 0.1),
        "embedding_dropout": Range(0.0, 0.5, 0.1),
        "word_dropout": Range(0.0, 0.2, 0.05),
        "pair_dropout": Range(0.0, 0.8, 0.1),
        "l2": Choices((0.0, 1e-6, 1e-5, 1e-4)),
        "learning_rate": Range(5e-4, 1e-2, log=True),
        "batch_size": Choices((128, 256, 512, 1024)),
    }
)


def read_space(path: Path) -> Space:
    """Read a space from a TOML or JSON file.

    Raises:
        InputNotFoundError: The file does not exist.
        InputFormatError: It is not valid TOML or JSON.
        UsageError: A setting is unknown or has an invalid value.
    """
    try:
        text = path.read_text("utf-8")
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except FileNotFoundError as error:
        raise InputNotFoundError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:  # both kinds of syntax error are ValueErrors
        kind = "TOML" if path.suffix == ".toml" else "JSON"
        raise InputFormatError(
            f"the space {path} is not {kind}: {error}", hint="the suffix decides the format: .toml or .json"
        ) from error
    if not isinstance(values, dict):
        raise InputFormatError(f"the space {path} does not contain settings")
    try:
        return parse_space(values)
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", hint=error.hint) from error


def parse_space(values: Mapping[str, Any]) -> Space:
    """Parse a space: per setting a list of choices, a table with ``low`` and ``high``, or a fixed value.

    Raises:
        UsageError: A setting is unknown or has an invalid value, or no setting varies.
    """
    varying: dict[str, Choices | Range] = {}
    fixed: Values = {}
    for name, value in values.items():
        if name not in SETTINGS:
            near = difflib.get_close_matches(name, SETTINGS, 1)
            raise UsageError(
                f"unknown setting {name!r}",
                hint=f"did you mean {near[0]}?" if near else f"settings: {', '.join(SETTINGS)}",
            )
        if isinstance(value, list):
            varying[name] = _choices(name, value)
        elif isinstance(value, dict):
            varying[name] = _range(name, value)
        else:
            fixed[name] = _value(name, value)
    space = Space(varying, fixed)
    if not varying:
        raise UsageError("no setting varies", hint="give a list of choices or a range, e.g. units = [64, 96]")
    for name, domain in varying.items():
        for value in domain.ends():
            _check(name, value)
    for name, value in fixed.items():
        _check(name, value)
    return space


def _choices(name: str, values: list[Any]) -> Choices:
    chosen = tuple(_value(name, value) for value in values)
    if not chosen or len(set(chosen)) < len(chosen):
        raise UsageError(f"{name} has no choices, or duplicates")
    return Choices(chosen)


def _range(name: str, table: dict[str, Any]) -> Range:
    if unknown := sorted(set(table) - {"low", "high", "step", "log"}):
        raise UsageError(f"{name}: unknown key {unknown[0]!r}", hint="a range has low, high, step and log")
    if SETTINGS[name] not in (int, float) or not {"low", "high"} <= set(table):
        raise UsageError(f"{name}: a range is for numbers, and needs low and high", hint="or give a list")
    low, high = _value(name, table["low"]), _value(name, table["high"])
    step = _value(name, table["step"]) if "step" in table else None
    log = table.get("log", False)
    assert not isinstance(low, str)
    assert not isinstance(high, str)
    assert not isinstance(step, str)
    if low >= high:
        raise UsageError(f"{name}: low must be below high")
    if not isinstance(log, bool):
        raise UsageError(f"{name}: log must be true or false")
    if log and (low <= 0 or step is not None):
        raise UsageError(f"{name}: a logarithmic range starts above 0 and has no step")
    if step is not None and (step <= 0 or not _is_whole((high - low) / step)):
        raise UsageError(f"{name}: high must be low plus an integer number of steps")
    return Range(low, high, step, log)


def _value(name: str, value: Any) -> Value:
    kind = SETTINGS[name]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and value < 0:
        raise UsageError(f"{name} cannot be negative")
    if isinstance(value, int) and value > _LARGEST:
        raise UsageError(f"{name} cannot be above {_LARGEST:,}")
    if kind is float and number:
        value = float(value)
    checked: Value = value
    if type(value) is not kind or (isinstance(checked, float) and not math.isfinite(checked)):
        raise UsageError(f"{name} must be {_WORDS[kind]}, not {value!r}")
    return checked


def _check(name: str, value: Value) -> None:
    if name == "layers" and value == 0:
        raise UsageError("layers must be at least 1")
    apply((NetworkConfig(), FitConfig()), {name: value})


def apply(start: Start, values: Mapping[str, Value]) -> Start:
    """The settings with some values replaced.

    Raises:
        UsageError: A value is out of range.
    """
    network, fitting = start
    shape: dict[str, Any] = {name: value for name, value in values.items() if name in NETWORK}
    if {"layers", "units"} & set(shape):
        layers, width = shape.pop("layers", len(network.units)), shape.pop("units", network.units[0])
        shape["units"] = (width,) * layers
    return (
        override(network, **shape),
        override(fitting, **{name: value for name, value in values.items() if name in FITTING}),
    )


def start_values(start: Start) -> Values:
    """All settings of a starting point, by their names in a space."""
    network, fitting = start
    values: Values = {name: getattr(network, name) for name in NETWORK if name not in ("layers", "units")}
    values |= {"layers": len(network.units), "units": network.units[0]}
    return values | {name: getattr(fitting, name) for name in FITTING}


def start_within(space: Space, start: Start) -> Values:
    """The varying settings of a starting point, which must be in the space.

    Raises:
        UsageError: A varying setting does not include its starting value.
    """
    values = start_values(start)
    for name, domain in space.varying.items():
        if values[name] not in domain:
            raise UsageError(
                f"the search starts with {name} = {values[name]}, which is outside its space",
                hint=f"include it in {name} of --space, or choose another --arch",
            )
    return {name: values[name] for name in space.varying}
