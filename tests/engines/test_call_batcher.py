"""Concurrent calls are scored as one, and each gets the result that it would get alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from bundles import make_bundle
from processes import wait_until
from synthetic import synthetic_table

import sentstream
from sentstream.engines.call_batcher import CallBatcher, join
from sentstream.engines.results import as_model
from sentstream.errors import ColumnTypeError
from sentstream.session import Probabilities
from sentstream.text import Encoded


@pytest.fixture(scope="module", name="path")
def _path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(name="model", params=[1, 2])
def _model(path: Path, request: pytest.FixtureRequest) -> sentstream.Model:
    return sentstream.load(path, provider="cpu", threads=request.param)


PARTS = [synthetic_table(rows, seed=rows)["text"].combine_chunks() for rows in (1, 700, 2048, 33)]


def labels(model: sentstream.Model, texts: pa.Array) -> list[Any]:
    found: list[Any] = model.score(texts)["sentiment_score"].to_pylist()
    return found


class Slow:
    """A session that starts a run on command, and counts the runs."""

    def __init__(self, model: sentstream.Model) -> None:
        self.runs: list[int] = []
        self.go = threading.Event()
        self._probabilities: Callable[..., Probabilities] = model.session.probabilities

    def probabilities(self, encoded: Encoded, **settings: Any) -> Probabilities:
        self.runs.append(len(encoded))
        self.go.wait()
        return self._probabilities(encoded, **settings)


def test_waiting_calls_share_a_run(model: sentstream.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    together, slow = CallBatcher(model), Slow(model)
    wanted = [labels(model, part) for part in PARTS]
    monkeypatch.setattr(model.session, "probabilities", slow.probabilities)
    with ThreadPoolExecutor(len(PARTS)) as pool:
        first = pool.submit(together.scores, PARTS[0])
        wait_until(lambda: slow.runs, "the first call is under way")
        others = [pool.submit(together.scores, part) for part in PARTS[1:]]
        wait_until(
            lambda: sum(len(group.calls) for group in together._encoded) == len(PARTS) - 1, "the others wait"
        )
        slow.go.set()
        assert [call.result().to_pylist() for call in (first, *others)] == wanted
    assert slow.runs == [1, sum(map(len, PARTS[1:]))]


def test_waiting_texts_are_encoded_together(model: sentstream.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    together, wanted = CallBatcher(model), [labels(model, part) for part in PARTS]
    encode, go, sizes = model.bundle.text.encode, threading.Event(), list[int]()

    def slow(texts: pa.Array) -> Encoded:
        sizes.append(len(texts))
        go.wait()
        return encode(texts)

    monkeypatch.setattr(model.bundle.text, "encode", slow)
    with ThreadPoolExecutor(len(PARTS)) as pool:
        calls = []
        for number, part in enumerate(PARTS, 1):
            calls.append(pool.submit(together.scores, part))
            wait_until(lambda: len(sizes) + len(together._waiting) == number, "the call is there")  # noqa: B023
        go.set()
        assert [call.result().to_pylist() for call in calls] == wanted
    busy = model.threads
    assert sizes == [*map(len, PARTS[:busy]), sum(map(len, PARTS[busy:]))]


def test_texts_of_different_types_are_not_mixed(model: sentstream.Model) -> None:
    together, wanted = CallBatcher(model), labels(model, PARTS[1])
    kinds = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(together.scores, PARTS[1].cast(kind)) for kind in kinds * 4]
        wrong = [pool.submit(together.scores, pa.array([number, 2])) for number in range(8)]
        assert all(call.result().to_pylist() == wanted for call in calls)
        for call in wrong:
            with pytest.raises(ColumnTypeError):
                call.result()


def test_concurrent_calls(model: sentstream.Model) -> None:
    together = CallBatcher(model)
    wanted = [labels(model, part) for part in PARTS]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(together.scores, PARTS * 12))
    assert [one.to_pylist() for one in found] == wanted * 12


def test_recent_texts_are_cached(model: sentstream.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    together, slow = CallBatcher(model), Slow(model)
    slow.go.set()
    monkeypatch.setattr(model.session, "probabilities", slow.probabilities)
    found = together.labels(PARTS[1]), together.scores(PARTS[1]), together.results(PARTS[1])
    assert slow.runs == [len(PARTS[1])]
    assert found[2].field("label").equals(found[0])
    together.results(PARTS[1][1:])
    assert slow.runs == [len(PARTS[1]), len(PARTS[1]) - 1]


def test_error_reaches_only_its_caller(model: sentstream.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    together = CallBatcher(model)
    with pytest.raises(ColumnTypeError):
        together.results(pa.array([1, 2]))

    def failing(encoded: Encoded, **_: Any) -> Probabilities:
        raise ConnectionError("the graph is gone")

    with monkeypatch.context() as patch:
        patch.setattr(model.session, "probabilities", failing)
        with pytest.raises(ConnectionError, match="the graph is gone"):
            together.results(PARTS[1])
    assert together.scores(PARTS[1]).to_pylist() == labels(model, PARTS[1])


@pytest.mark.parametrize("kind", [ConnectionError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["ids", "graph", "run"])
def test_failed_run_fails_its_calls_and_no_later_ones(
    model: sentstream.Model, monkeypatch: pytest.MonkeyPatch, where: str, kind: type[BaseException]
) -> None:
    together = CallBatcher(model)

    def failing(*_: Any, **__: Any) -> Any:
        raise kind("gone")

    place, name = {
        "ids": (model.bundle.text, "encode"),
        "graph": (model.session, "probabilities"),
        "run": (model.session, "_infer"),
    }[where]
    found: list[type[BaseException]] = []

    def call(part: pa.Array) -> None:
        try:
            together.results(part)
        except BaseException as error:
            found.append(type(error))

    with monkeypatch.context() as patch:
        patch.setattr(place, name, failing)
        threads = [threading.Thread(target=call, args=(part,)) for part in PARTS * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [kind] * len(threads)
    assert together.scores(PARTS[1]).to_pylist() == labels(model, PARTS[1])


def test_many_texts_in_any_split(model: sentstream.Model) -> None:
    encoded = [model.bundle.text.encode(part) for part in PARTS]
    alone = np.concatenate([model.session.probabilities(one) for one in encoded])
    with ThreadPoolExecutor(3) as pool:
        shared = model.session.probabilities(join(encoded), each=pool.map)
    assert shared.tobytes() == alone.tobytes()


def test_model_is_opened_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    assert as_model(path) is as_model("./tiny") is as_model(as_model(path))
    assert as_model(None) is as_model("tweets")
