"""``.keras`` files from anywhere: looked into before anything of them is loaded.

A ``.keras`` file is a zip archive of ``config.json``, ``metadata.json`` and ``model.weights.h5``. Its
configuration names Python classes and modules, which Keras would import; so every name in it must be
on the list below. Pickles and bare HDF5 models are never opened.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras

from sentstream.errors import ModelFormatError, first_line
from sentstream_train.network.layers import WordPairEmbedding

_MEMBERS = {"config.json", "metadata.json", "model.weights.h5"}
_MOST_CONFIG_BYTES = 16 << 20
_MOST_BYTES = 8 << 30
#: Keras' layers that a model may have.
LAYERS = frozenset(
    "InputLayer Embedding SimpleRNN GRU LSTM Bidirectional Dropout SpatialDropout1D GaussianDropout"
    " GaussianNoise GlobalMaxPooling1D GlobalAveragePooling1D Dense Activation Softmax".split()
)
#: This project's own.
OWN_LAYERS = frozenset({"WordPairEmbedding", "MaskedPooling", "WordDropout"})
#: Other classes that a configuration names, by module.
OTHER_CLASSES: dict[Any, tuple[str, ...]] = {
    "keras": ("Sequential", "Functional", "DTypePolicy"),
    "keras.src.models.functional": ("Functional",),
    None: ("__keras_tensor__",),
}
#: Modules of Keras whose objects hold numbers only.
NUMBERS = ("keras.initializers", "keras.regularizers", "keras.constraints")


def load_keras(path: Path) -> keras.Sequential:
    """Load a model after a look at every class that it names.

    Args:
        path: The file.

    Returns:
        The network, not compiled, for tweets of any length: input ``int32[batch, time]``, or
        ``[batch, time, 2]`` with word pairs. A functional model that is one chain of layers comes as a
        ``Sequential`` of them.

    Raises:
        ModelFormatError: Not a ``.keras`` file, a class that is not allowed, or not one chain of layers.
    """
    check_keras(path)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
        for layer in layers:
            if getattr(layer, "unroll", False):
                layer.unroll = False  # says how it was computed, not what; cannot be for any length
        pairs = any(isinstance(layer, WordPairEmbedding) for layer in layers)
        tokens = keras.Input((None, 2) if pairs else (None,), dtype="int32", name="tokens")
        return keras.Sequential([tokens, *layers], name=model.name)
    except Exception as error:
        raise ModelFormatError(f"{path} cannot be loaded: {first_line(error)}") from error


def check_keras(path: Path) -> dict[str, Any]:
    """Read a model's configuration and check it, without Keras.

    Returns:
        The configuration.

    Raises:
        ModelFormatError: As ``load_keras``.
    """
    if path.suffix.lower() in (".h5", ".hdf5", ".pkl", ".pickle", ".pb", ".joblib"):
        raise ModelFormatError(f"{path} is not a .keras file", hint="save it with model.save('model.keras')")
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            if not set(sizes) >= _MEMBERS:
                raise ModelFormatError(
                    f"{path} is not a .keras file", hint="save it with model.save('model.keras')"
                )
            if sizes["config.json"] > _MOST_CONFIG_BYTES or sum(sizes.values()) > _MOST_BYTES:
                raise ModelFormatError(f"{path} is larger than any model of this kind")
            config = json.loads(archive.read("config.json"))
    except FileNotFoundError:
        raise ModelFormatError(f"{path} does not exist") from None
    except (OSError, zipfile.BadZipFile, ValueError, RecursionError, NotImplementedError) as error:
        raise ModelFormatError(f"{path} is not a .keras file: {first_line(error)}") from error
    kind = config.get("class_name") if isinstance(config, dict) else None
    if kind not in ("Sequential", "Functional"):
        raise ModelFormatError(f"{path} holds neither a Sequential nor a Functional model")
    model = {key: value for key, value in config.items() if key != "compile_config"}  # is not loaded
    _check_objects(model, path)
    if kind == "Functional":
        _check_chain(config["config"], path)
    return model


def _check_objects(value: Any, path: Path) -> None:
    if isinstance(value, list):
        for item in value:
            _check_objects(item, path)
    elif isinstance(value, dict):
        if ("class_name" in value or "module" in value) and not _allowed(value):
            name = f"{value.get('module')}.{value.get('class_name')}"
            raise ModelFormatError(
                f"{path} names the class {name}, which is not allowed",
                hint=f"layers may be {', '.join(sorted(LAYERS - {'InputLayer'}))}",
            )
        for item in value.values():
            _check_objects(item, path)


def _allowed(value: dict[str, Any]) -> bool:
    module, name, registered = (value.get(key) for key in ("module", "class_name", "registered_name"))
    if registered == f"sentstream>{name}":
        return name in OWN_LAYERS and module in (None, "sentstream_train.network.layers")
    if registered not in (None, name):
        return False
    return (
        name in OTHER_CLASSES.get(module, ())
        or (module == "keras.layers" and name in LAYERS)
        or module in NUMBERS
    )


def _check_chain(config: dict[str, Any], path: Path) -> None:
    """Every layer is called once, on what the layer before it gave."""
    before: str | None = None
    for layer in config["layers"]:
        nodes = layer["inbound_nodes"]
        sources = [
            tensor["config"]["keras_history"][0]
            for node in nodes
            for tensor in node["args"]
            if isinstance(tensor, dict) and "config" in tensor
        ]
        if len(nodes) > 1 or sources != ([] if before is None else [before]):
            raise ModelFormatError(f"{path} is not one chain of layers: {layer['name']} breaks it")
        before = layer["name"]
