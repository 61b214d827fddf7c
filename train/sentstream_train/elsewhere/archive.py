"""Split a third-party ``.keras`` file into the network from token ids on and its preprocessing layer."""

from __future__ import annotations

import copy
import json
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from sentstream.errors import ModelFormatError, first_line
from sentstream_train.network.keras_file import FRONTS, check_keras, is_chain

#: Layers that work on each time step in the same way with and without TimeDistributed.
_PER_STEP = (
    keras.layers.Dense,
    keras.layers.Activation,
    keras.layers.Dropout,
    keras.layers.LayerNormalization,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
)
#: An unusual length, to test whether a model takes any, and long enough for most windows.
_ANY_LENGTH = 13


@dataclass(frozen=True)
class Front:
    """A layer of the model that turned texts into ids.

    Attributes:
        kind: ``TextVectorization`` or ``StringLookup``.
        config: Its configuration.
        vocabulary: Its tokens if the file has them outside the configuration, else None.
    """

    kind: str
    config: dict[str, Any]
    vocabulary: tuple[str, ...] | None


@dataclass(frozen=True)
class Archive:
    """A model without its preprocessing layer.

    Attributes:
        model: The saved model from ids on: ``[batch, time]``, with a fixed or variable time.
        chain: The same layers as a sequence for any length; None if they are no sequence or take only
            one length.
        front: The layer that turned texts into ids, or None.
    """

    model: Any
    chain: Any | None
    front: Front | None

    @property
    def length(self) -> int | None:
        """The fixed number of ids that the model takes, or None for any number."""
        length: int | None = self.model.input_shape[1]
        return length


def open_archive(path: Path) -> Archive:
    """Load a model after checking every class that it names.

    Raises:
        ModelFormatError: It cannot be loaded safely, has no weights, or does not start with token ids.
    """
    config = check_keras(path, fronts=True)
    _check_policies(config, path)
    found = _front(config)
    front = None if found is None else Front(found["class_name"], found["config"], _assets(path, found))
    if _named(config, FRONTS) > (front is not None):
        raise ModelFormatError(
            f"{path} turns text into token IDs somewhere other than its first layer",
            hint="save the part that takes token IDs as a separate model",
        )
    if found is not None:
        config = _without(config, found["name"])
    try:
        model = _load(path, None if found is None else config)
    except Exception as error:
        raise ModelFormatError(f"{path} cannot be loaded: {first_line(error)}") from error
    if not model.built or not model.weights or getattr(model, "inputs", None) is None:
        raise ModelFormatError(
            f"{path} was never built and has no weights",
            hint="call fit or model.build((None, None)), then save it",
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.input_shape) != 2:
        raise ModelFormatError(
            f"{path} does not map one row of token IDs to one row of probabilities",
            hint="save the part that does as a separate model",
        )
    for layer in _flat(model):
        if getattr(layer, "unroll", False):
            layer.unroll = False  # does not change results, but allows only one length
    return Archive(model, _chain(model, config), front)


def masks(model: Any) -> bool:
    """Whether a layer of the model masks padding."""
    return any(
        getattr(layer, "mask_zero", False) or isinstance(layer, keras.layers.Masking)
        for layer in model._flatten_layers()
    )


def embedding_rows(model: Any) -> int:
    """The number of rows of the smallest embedding.

    Raises:
        ModelFormatError: There is no embedding.
    """
    rows = [
        int(layer.input_dim) for layer in model._flatten_layers() if isinstance(layer, keras.layers.Embedding)
    ]
    if not rows:
        raise ModelFormatError("the model has no embedding", hint="it must begin with an Embedding layer")
    return min(rows)


def _check_policies(config: dict[str, Any], path: Path) -> None:
    policies = [value["config"]["name"] for value in _objects(config) if value["class_name"] == "DTypePolicy"]
    other = sorted(set(policies) - {"float32", "string", "int32", "int64"})
    if other:
        raise ModelFormatError(
            f"{path} computes in {', '.join(other)}, which a CPU does differently",
            hint="call keras.config.set_dtype_policy('float32'), rebuild it, copy its weights and save it",
        )


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a configuration that has a class name."""
    if isinstance(value, dict):
        if "class_name" in value:
            yield value
        for inner in value.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)


def _named(config: dict[str, Any], kinds: frozenset[str]) -> int:
    return sum(value["class_name"] in kinds for value in _objects(config))


def _front(config: dict[str, Any]) -> dict[str, Any] | None:
    """The first layer, if it turns texts into ids."""
    for layer in config["config"].get("layers", ()):
        if layer["class_name"] in FRONTS:
            return {"name": layer["config"]["name"], **layer}
        if layer["class_name"] != "InputLayer":
            return None
    return None


def _assets(path: Path, front: dict[str, Any]) -> tuple[str, ...] | None:
    """The tokens that Keras saves in a separate file.

    Keras itself reads it with ``splitlines``, which also splits at characters that tokens may contain.
    """
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.startswith("assets/") and name.endswith(".txt")]
        if not names:
            return None
        lines = archive.read(min(names, key=len)).decode("utf-8").split("\n")
    size = front["config"].get("vocabulary_size")
    if isinstance(size, int) and len(lines) < size:  # the file lacks tokens that the lookup added as padding
        return None
    return tuple(lines)


def _load(path: Path, config: dict[str, Any] | None) -> Any:
    if config is None:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    with tempfile.TemporaryDirectory(prefix="sentstream-") as folder:
        bare = Path(folder, "model.keras")
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(bare, "w") as new:
            new.writestr("config.json", json.dumps(config))
            for name in ("metadata.json", "model.weights.h5"):
                new.writestr(name, old.read(name))
        return keras.saving.load_model(bare, compile=False, safe_mode=True)


def _without(config: dict[str, Any], name: str) -> dict[str, Any]:
    """The configuration of the model without a layer; the input is what that layer returned."""
    config = copy.deepcopy(config)
    inner = config["config"]
    layers = inner["layers"]
    front = next(layer for layer in layers if layer["config"]["name"] == name)
    length = None
    if front["class_name"] == "TextVectorization":
        length = front["config"].get("output_sequence_length")
    first = layers[0] if layers[0]["class_name"] == "InputLayer" else None
    if first is not None:
        if front["class_name"] == "StringLookup":
            length = first["config"]["batch_shape"][1]
        first["config"].update(batch_shape=[None, length], dtype="int32")
        layers.remove(front)
    else:
        front.clear()
        front.update(
            module="keras.layers",
            class_name="InputLayer",
            registered_name=None,
            config={"batch_shape": [None, length], "dtype": "int32", "name": name},
        )
    inner.pop("build_input_shape", None)
    config.pop("build_config", None)
    for layer in layers if config["class_name"] == "Functional" and first is not None else ():
        _rewire(layer.get("inbound_nodes"), name, first["config"]["name"] if first else name)
    return config


def _rewire(value: Any, old: str, new: str) -> None:
    """Replace layer ``old`` by ``new`` as the source of tensors."""
    if isinstance(value, list):
        for inner in value:
            _rewire(inner, old, new)
    elif isinstance(value, dict):
        history = value.get("keras_history")
        if history and history[0] == old:
            history[0], value["dtype"] = new, "int32"
        for inner in value.values():
            _rewire(inner, old, new)


def _flat(model: Any) -> list[Any]:
    return [layer for layer in model._flatten_layers() if layer is not model]


def _chain(model: Any, config: dict[str, Any]) -> Any | None:
    if not is_chain(config):
        return None
    try:
        tokens = keras.Input((None,), dtype="int32", name="tokens")
        chain = keras.Sequential([tokens, *_links(model)], name=model.name)
        chain(keras.ops.zeros((1, _ANY_LENGTH), "int32"), training=False)
    except Exception:  # layers that take only one length, such as a Dense after Flatten
        return None
    return chain


def _links(model: Any) -> list[Any]:
    """The layers of a chain, including those of nested chains."""
    found: list[Any] = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        if isinstance(layer, keras.Sequential):
            found += _links(layer)
        elif isinstance(layer, keras.layers.TimeDistributed) and isinstance(layer.layer, _PER_STEP):
            found.append(layer.layer)
        else:
            found.append(layer)
    return found
