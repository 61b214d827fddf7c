"""Models and errors that move to another process: pickles, copies, closures, pools."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import os
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from bundles import make_bundle

import sentstream
from sentstream import Model, errors
from sentstream.errors import BundleDigestError, BundleNotFoundError, SentstreamError
from sentstream.model import open_same

TEXTS = ["I love it", None, "bad day"]


@pytest.fixture(autouse=True, name="nothing_loaded")
def _nothing_loaded() -> None:
    """Clears models that were unpickled before."""
    open_same.cache_clear()


@pytest.fixture(name="bundle")
def _bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny")


def scored(model: Model) -> pa.Table:
    """Also what another process runs."""
    return model.score(TEXTS, abstain=0.9)


def failing(_: int) -> None:
    raise BundleNotFoundError("no such model", hint="name another")


class TestModels:
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_pickle_is_small_and_scores_the_same(self, bundle: Path, protocol: int) -> None:
        model = Model.load(bundle, threads=3, max_chars=7)
        data = pickle.dumps(model, protocol)
        assert len(data) < 1000
        again = pickle.loads(data)
        assert (again.digest, again.threads, again.bundle.text.max_chars) == (model.digest, model.threads, 7)
        assert scored(again).equals(scored(model), check_metadata=True)

    def test_shipped_model_is_pickled_by_name(self) -> None:
        data = pickle.dumps(sentstream.load("tweets-small", provider="cpu", threads=1))
        assert os.fsencode(os.path.dirname(sentstream.__file__)) not in data
        assert pickle.loads(data).name == "tweets-small"

    def test_relative_path_is_resolved_when_loaded(
        self, bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(bundle.parent)
        data = pickle.dumps(Model.load("tiny"))
        monkeypatch.chdir("/")
        assert pickle.loads(data).bundle.path == bundle.resolve()

    def test_unpickled_model_must_be_the_same(self, bundle: Path) -> None:
        data = pickle.dumps(Model.load(bundle))
        shutil.rmtree(bundle)
        make_bundle(bundle, labels=("sad", "glad"))
        with pytest.raises(BundleDigestError, match="the pickled model is sha256:"):
            pickle.loads(data)
        shutil.rmtree(bundle)
        with pytest.raises(BundleNotFoundError):
            pickle.loads(data)

    def test_worker_loads_the_model_once(self, bundle: Path) -> None:
        data = pickle.dumps(Model.load(bundle))
        assert pickle.loads(data) is pickle.loads(data)

    def test_copies_share_the_model(self, bundle: Path) -> None:
        model = Model.load(bundle)
        assert copy.copy(model) is model
        assert copy.deepcopy({"model": model})["model"] is model

    def test_scorer_is_pickled_with_its_settings(self, bundle: Path) -> None:
        scorer = Model.load(bundle).scorer(prefix="mood", columns=["id"], abstain=0.9)
        batch = pa.record_batch({"text": TEXTS, "id": [1, 2, 3]})
        for again in (pickle.loads(pickle.dumps(scorer)), copy.copy(scorer), copy.deepcopy(scorer)):
            assert again.score(batch).batch.equals(scorer.score(batch).batch)

    def test_in_another_process_and_in_threads(self, bundle: Path) -> None:
        model = Model.load(bundle, threads=1)
        expected = scored(model)
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            assert pool.submit(scored, model).result().equals(expected)
        with ThreadPoolExecutor(4) as threads:
            assert all(one.equals(expected) for one in threads.map(scored, [model] * 8))

    def test_in_a_closure(self, bundle: Path) -> None:
        cloudpickle = pytest.importorskip("cloudpickle")
        model, prefix = Model.load(bundle), "mood"
        again = pickle.loads(cloudpickle.dumps(lambda texts: model.score(texts, prefix=prefix)))
        assert again(TEXTS).equals(model.score(TEXTS, prefix=prefix))


class TestErrors:
    @pytest.mark.parametrize(
        "kind",
        [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, SentstreamError)],
    )
    def test_errors_survive_pickling(self, kind: type[SentstreamError]) -> None:
        for error in (kind("what"), kind("what", hint="do this")):
            for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
                assert type(again) is kind
                assert (again.message, again.hint) == (error.message, error.hint)
                assert (str(again), again.exit_code) == (str(error), error.exit_code)

    def test_missing_extra_in_the_worker(self) -> None:
        error = errors.MissingExtraError("no scipy", extra="train")
        assert pickle.loads(pickle.dumps(error)).hint == error.hint

    def test_pool_survives_errors(self) -> None:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            for _ in range(2):
                with pytest.raises(BundleNotFoundError, match="no such model") as caught:
                    pool.submit(failing, 1).result()
                assert caught.value.hint == "name another"
