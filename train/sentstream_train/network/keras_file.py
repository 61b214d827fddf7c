"""Load ``.keras`` files from any source safely: check them before anything in them is loaded.

A ``.keras`` file is a zip archive of ``config.json``, ``metadata.json`` and ``model.weights.h5``. Its
configuration names Python classes and modules that Keras would import, so every name in it must be on the
lists below. Pickles and bare HDF5 models are never opened.
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
#: The Keras layers that a model may have. They contain only numbers, no code.
LAYERS = frozenset(
    "InputLayer Embedding SimpleRNN GRU LSTM Bidirectional Dropout SpatialDropout1D GaussianDropout"
    " GaussianNoise GlobalMaxPooling1D GlobalAveragePooling1D Dense Activation Softmax RNN SimpleRNNCell"
    " GRUCell LSTMCell StackedRNNCells Conv1D SeparableConv1D DepthwiseConv1D MaxPooling1D"
    " AveragePooling1D BatchNormalization LayerNormalization GroupNormalization RMSNormalization"
    " UnitNormalization TimeDistributed ReLU LeakyReLU PReLU ELU Attention AdditiveAttention"
    " MultiHeadAttention Flatten Reshape Permute RepeatVector Concatenate Add Subtract Multiply Average"
    " Maximum Minimum Dot Masking ZeroPadding1D Cropping1D UpSampling1D AlphaDropout"
    " ActivityRegularization EinsumDense".split()
)
#: Layers that turn texts into ids; export removes them.
FRONTS = frozenset({"TextVectorization", "StringLookup"})
#: This project's own layers.
OWN_LAYERS = frozenset({"WordPairEmbedding", "MaskedPooling", "WordDropout"})
#: Other classes that a configuration may name, by module.
OTHER_CLASSES: dict[Any, tuple[str, ...]] = {
    "keras": ("Sequential", "Functional", "DTypePolicy"),
    "keras.src.models.functional": ("Functional",),
    "keras.src.models.sequential": ("Sequential",),
    None: ("__keras_tensor__",),
}
#: Arithmetic between layers, above all for masks; functional models name it by its module.
OPERATIONS = frozenset(
    "NotEqual Equal Add Subtract Multiply Divide Maximum Minimum Max Min Mean Sum Concatenate Stack"
    " GetItem ExpandDims Squeeze Transpose Reshape Matmul Softmax Relu Tanh Sigmoid Exp Log Sqrt Square"
    " Abs Negative Cast Any All LogicalAnd LogicalOr LogicalNot".split()
)
OPERATION_MODULES = ("keras.src.ops.numpy", "keras.src.ops.nn", "keras.src.ops.core")
#: Keras modules whose objects contain only numbers.
NUMBERS = ("keras.initializers", "keras.regularizers", "keras.constraints")


def load_keras(path: Path) -> keras.Sequential:
    """Load a model after checking every class that it names.

    Args:
        path: The file.

    Returns:
        The network, not compiled, for tweets of any length: input ``int32[batch, time]``, or
        ``[batch, time, 2]`` with word pairs. A functional model that is a single chain of layers is
        returned as a ``Sequential``.

    Raises:
        ModelFormatError: It is not a ``.keras`` file, names a class that is not allowed, or is not a
            single chain of layers.
    """
    if not is_chain(check_keras(path)):
        raise ModelFormatError(f"{path} is not a single chain of layers")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
        for layer in layers:
            if getattr(layer, "unroll", False):
                layer.unroll = False  # does not change results, but allows only one length
        pairs = any(isinstance(layer, WordPairEmbedding) for layer in layers)
        tokens = keras.Input((None, 2) if pairs else (None,), dtype="int32", name="tokens")
        return keras.Sequential([tokens, *layers], name=model.name)
    except Exception as error:
        raise ModelFormatError(f"{path} cannot be loaded: {first_line(error)}") from error


def check_keras(path: Path, *, fronts: bool = False) -> dict[str, Any]:
    """Read a model's configuration and check it, without loading it into Keras.

    Args:
        path: The file.
        fronts: Also allow the layers that turn texts into ids (``FRONTS``).

    Returns:
        The configuration.

    Raises:
        ModelFormatError: It is not a ``.keras`` file, or names a class that is not allowed.
    """
    _check_kind(path)
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
        raise ModelFormatError(f"{path} contains neither a Sequential nor a Functional model")
    model = {key: value for key, value in config.items() if key != "compile_config"}  # never loaded
    _check_objects(model, path, LAYERS | FRONTS if fronts else LAYERS)
    return model


def _check_kind(path: Path) -> None:
    """Raise for other formats of models, with a hint how to convert them."""
    name = path.name.lower()
    if path.is_dir():
        raise ModelFormatError(
            f"{path} is a directory (a SavedModel?), not a .keras file",
            hint="load it where it was created and save it with model.save('model.keras')",
        )
    if name.endswith(".weights.h5"):
        raise ModelFormatError(
            f"{path} contains only weights, not a model",
            hint="build the model, then call model.load_weights(...) and model.save('model.keras')",
        )
    if name.endswith((".h5", ".hdf5")):
        raise ModelFormatError(
            f"{path} is HDF5, not a .keras file",
            hint=f"convert it: keras.models.load_model('{path.name}').save('model.keras')",
        )
    if name.endswith((".pkl", ".pickle", ".pb", ".joblib")):
        raise ModelFormatError(f"{path} is not a .keras file", hint="save it with model.save('model.keras')")


def _check_objects(value: Any, path: Path, layers: frozenset[str]) -> None:
    if isinstance(value, list):
        for item in value:
            _check_objects(item, path, layers)
    elif isinstance(value, dict):
        if ("class_name" in value or "module" in value) and not _allowed(value, layers):
            raise _refuse(value, path)
        for item in value.values():
            _check_objects(item, path, layers)


def _allowed(value: dict[str, Any], layers: frozenset[str]) -> bool:
    module, name, registered = (value.get(key) for key in ("module", "class_name", "registered_name"))
    if registered == f"sentstream>{name}":
        return name in OWN_LAYERS and module in (None, "sentstream_train.network.layers")
    if registered not in (None, name):
        return False
    return (
        name in OTHER_CLASSES.get(module, ())
        or (module == "keras.layers" and name in layers)
        or (module in OPERATION_MODULES and name in OPERATIONS)
        or module in NUMBERS
    )


def _refuse(value: dict[str, Any], path: Path) -> ModelFormatError:
    """The error for a class that may not be loaded, with a hint."""
    module, name, registered = (value.get(key) for key in ("module", "class_name", "registered_name"))
    own = isinstance(registered, str) and ">" in registered
    where = f"{path} names the class {registered if own else f'{module}.{name}'}, which is not allowed"
    if name == "Lambda":
        return ModelFormatError(
            f"{where}: a Lambda is code",
            hint="use one of Keras' own layers instead, and save the model again",
        )
    if own:
        return ModelFormatError(
            f"{where}: a custom layer, whose code is not in the file",
            hint="rebuild the model from Keras' own layers with the same weights, and save it",
        )
    return ModelFormatError(
        where, hint=f"layers may be {', '.join(sorted((LAYERS | FRONTS) - {'InputLayer'}))}"
    )


def is_chain(config: dict[str, Any]) -> bool:
    """Whether every layer of a model is called once, on the output of the layer before it.

    Masks ``input != 0`` in a saved functional model do not count: an Embedding computes them itself.

    Args:
        config: The result of ``check_keras``.
    """
    if config["class_name"] == "Sequential":
        return True
    before: str | None = None
    first: str | None = None
    masks: set[str] = set()
    for layer in config["config"]["layers"]:
        nodes = layer["inbound_nodes"]
        sources = [_source(tensor) for node in nodes for tensor in node["args"]]
        if layer["class_name"] == "NotEqual" and sources[:1] == [first] and nodes[0]["args"][1:] == [0]:
            masks.add(layer["name"])
            continue
        others = {_source(argument) for node in nodes for argument in node["kwargs"].values()} - {None}
        if len(nodes) > 1 or sources != ([] if before is None else [before]) or others - masks:
            return False
        before, first = layer["name"], first or layer["name"]
    return True


def _source(value: Any) -> str | None:
    """The layer that a tensor in a configuration comes from."""
    try:
        return str(value["config"]["keras_history"][0])
    except (KeyError, TypeError, IndexError):
        return None
