"""``.keras`` files are inspected before they are loaded: malicious ones are rejected first."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorflow")

import keras

from sentstream.errors import ModelFormatError
from sentstream_train.config import ARCHITECTURES, NetworkConfig, override
from sentstream_train.network.keras_file import check_keras, load_keras
from sentstream_train.network.model import build_model

layers = keras.layers


def four_layers() -> keras.Sequential:
    chain = [layers.Embedding(9, 4), layers.SimpleRNN(3, return_sequences=True), layers.SimpleRNN(3)]
    return keras.Sequential([keras.Input((None,)), *chain, layers.Dense(2, activation="softmax")])


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    path = tmp_path / "model.keras"
    four_layers().save(path)
    return path


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The same file with another configuration."""
    target = path.with_name("changed.keras")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            new.writestr(name, data)
    return target


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_our_networks_are_allowed(name: str, tmp_path: Path) -> None:
    config = override(ARCHITECTURES[name], l2=1e-4, word_dropout=0.1, embedding=4, units=(3,))
    model = build_model(config, words=9, pairs=5 if config.pairs else 0, classes=2, seed=1)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.save(tmp_path / "m.keras")
    loaded = load_keras(tmp_path / "m.keras")
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    assert not loaded.compiled


def test_models_of_any_length(file: Path) -> None:
    assert load_keras(file).input_shape == (None, None)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("it was unpickled",))


def test_pickle_and_hdf5_are_never_opened(tmp_path: Path) -> None:
    for name in ("model.pkl", "model.keras", "model.h5"):
        (tmp_path / name).write_bytes(pickle.dumps(Evil()))
        with pytest.raises(ModelFormatError, match=r"not a \.keras file"):
            load_keras(tmp_path / name)


def lambda_layer(config: dict[str, Any]) -> None:
    config["config"]["layers"].append(
        {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "x"}, "registered_name": None}
    )


def module_to_import(config: dict[str, Any]) -> None:
    config["config"]["layers"][1]["module"] = "os"


def registered_elsewhere(config: dict[str, Any]) -> None:
    config["config"]["layers"][1]["registered_name"] = "other>Thing"


def ours_from_elsewhere(config: dict[str, Any]) -> None:
    config["config"]["layers"][1] |= {
        "module": "shutil",
        "class_name": "MaskedPooling",
        "registered_name": "sentstream>MaskedPooling",
    }


def function_as_activation(config: dict[str, Any]) -> None:
    config["config"]["layers"][-1]["config"]["activation"] = {
        "module": "builtins",
        "class_name": "function",
        "config": "eval",
        "registered_name": "function",
    }


def deep_inside(config: dict[str, Any]) -> None:
    config["config"]["layers"][1]["config"]["embeddings_initializer"] = {
        "module": "subprocess",
        "class_name": "Popen",
        "config": {"args": "true"},
        "registered_name": None,
    }


def in_a_build_config(config: dict[str, Any]) -> None:
    config["config"]["layers"][1]["build_config"] = {
        "input_shape": {"class_name": "__lambda__", "config": "x"}
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda_layer,
        module_to_import,
        registered_elsewhere,
        ours_from_elsewhere,
        function_as_activation,
        deep_inside,
        in_a_build_config,
    ],
)
def test_unlisted_class_is_rejected(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises(ModelFormatError, match="not allowed"):
        load_keras(changed(file, change))


def test_compile_config_is_not_loaded(file: Path) -> None:
    def hostile(config: dict[str, Any]) -> None:
        config["compile_config"] = {"optimizer": {"module": "os", "class_name": "system", "config": {}}}

    assert not load_keras(changed(file, hostile)).compiled


def test_not_a_single_chain(tmp_path: Path) -> None:
    tokens = keras.Input((5,))
    x = layers.Embedding(9, 4)(tokens)
    both = layers.Bidirectional(layers.GRU(3))(x)
    keras.Model(tokens, layers.Dense(2, activation="softmax")(both)).save(tmp_path / "fine.keras")
    assert len(load_keras(tmp_path / "fine.keras").layers) == 3
    shared = layers.SimpleRNN(4, return_sequences=True)
    twice = layers.SimpleRNN(3)(shared(shared(x)))
    keras.Model(tokens, layers.Dense(2)(twice)).save(tmp_path / "twice.keras")
    with pytest.raises(ModelFormatError, match="not a single chain"):
        load_keras(tmp_path / "twice.keras")


def test_broken_files(file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    with pytest.raises(ModelFormatError, match="does not exist"):
        load_keras(tmp_path / "nothing.keras")
    bad = tmp_path / "bad.keras"
    for content in (b"", b"PK", data[: len(data) // 2], b"\x00" * 1000):
        bad.write_bytes(content)
        with pytest.raises(ModelFormatError):
            load_keras(bad)
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ModelFormatError, match=r"not a \.keras file"):
        check_keras(bad)


def test_invalid_configuration(file: Path) -> None:
    for content in ({"class_name": "Other"}, [], "x"):

        def replace_all(config: dict[str, Any], content: Any = content) -> None:
            config.clear()
            if isinstance(content, dict):
                config.update(content)

        with pytest.raises(ModelFormatError, match="neither"):
            load_keras(changed(file, replace_all))


def test_unbuildable_settings_give_one_line(file: Path) -> None:
    def negative(config: dict[str, Any]) -> None:
        config["config"]["layers"][1]["config"]["output_dim"] = -4

    with pytest.raises(ModelFormatError, match="cannot be loaded") as caught:
        load_keras(changed(file, negative))
    assert "\n" not in str(caught.value)


def test_seed_determines_the_weights() -> None:
    assert ARCHITECTURES["seed"] == NetworkConfig(words=30_000)
