"""A session on a simulated GPU: its kernels are the CPU's, everything else is real."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from cuda_tools import Pretended

import sentstream
from sentstream import model as model_module
from sentstream import session as session_module
from sentstream.bundle import Bundle, load_bundle
from sentstream.cli import main
from sentstream.cuda import opening
from sentstream.cuda.driver import Driver
from sentstream.cuda.footprint import MOST_ROWS, Footprint
from sentstream.cuda.opening import provider_options
from sentstream.cuda.placement import CPU, CUDA, Node, Placement
from sentstream.dataset import prepare, score_plan
from sentstream.doctor.tweets import synthetic_tweets
from sentstream.errors import ProviderError, UsageError
from sentstream.kafka.scoring.process import in_this_process
from sentstream.model import ModelOptions
from sentstream.session import Session

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/tweets.parquet"
NO_DRIVER = "there is no NVIDIA driver (libcuda.so.1)"
MIXED = Placement((Node("a", "MatMul", CUDA), Node("b", "MatMulInteger", CPU)))


@pytest.fixture(name="path", scope="module")
def _path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny", precision="int8")


@pytest.fixture(name="bundle", scope="module")
def _bundle(path: Path) -> Bundle:
    return load_bundle(path)


@pytest.fixture(name="without_driver")
def _without_driver(pretended: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ONNX Runtime built for CUDA, on a machine without a GPU."""
    monkeypatch.setattr(session_module, "driver", partial(Driver, 0, NO_DRIVER))


class TestOptions:
    def test_device_and_memory_limit(self) -> None:
        ((name, options), second) = provider_options(3, None)
        assert (name, second) == (CUDA, CPU)
        assert options == {"device_id": "3", "use_tf32": "0"}
        ((_, options), _) = provider_options(0, 4 << 30)
        assert options == {
            "device_id": "0",
            "use_tf32": "0",
            "gpu_mem_limit": "4294967296",
            "arena_extend_strategy": "kSameAsRequested",
        }

    @pytest.mark.parametrize("provider", ["cuda", "auto"])
    def test_options_reach_onnx_runtime(self, pretended: Pretended, path: Path, provider: Any) -> None:
        model = sentstream.load(path, provider=provider, device=1, gpu_memory=1 << 30)
        (options,) = pretended.options
        assert (options["device_id"], options["gpu_mem_limit"]) == ("1", str(1 << 30))
        assert (model.provider, model.session.device, model.fallback) == ("cuda", 1, None)

    def test_first_device_by_default(self, pretended: Pretended, bundle: Bundle) -> None:
        assert Session(bundle, "cuda").device == 0
        assert "gpu_mem_limit" not in pretended.options[0]

    @pytest.mark.parametrize("given", [{"device": 0}, {"gpu_memory": 1 << 30}])
    def test_cuda_options_with_cpu_are_an_error(self, bundle: Bundle, given: dict[str, int]) -> None:
        with pytest.raises(UsageError, match="the provider is cpu"):
            Session(bundle, "cpu", **given)  # type: ignore[arg-type]

    @pytest.mark.parametrize("given", [{"device": -1}, {"gpu_memory": 0}, {"gpu_memory": -5}])
    def test_out_of_range(self, path: Path, given: dict[str, int]) -> None:
        with pytest.raises(UsageError, match=f"{next(iter(given))} must be"):
            sentstream.load(path, **given)  # type: ignore[arg-type]

    def test_small_memory_limit_makes_small_runs(self, pretended: Pretended, bundle: Bundle) -> None:
        roomy, tight = (Session(bundle, "cuda", gpu_memory=1 << bits) for bits in (34, 21))
        assert roomy._room(5) == MOST_ROWS
        assert 2 <= tight._room(5) < 1000
        assert Session(bundle, "cuda", 7, gpu_memory=1 << 34)._room(5) == 7


class TestResults:
    @pytest.mark.parametrize("name", ["tweets-small", "sentiment140"])
    def test_results_match_the_cpu(self, pretended: Pretended, name: str) -> None:
        bundle = load_bundle(name)
        lengths = [length for length in (1, 2, 3, 11, 40) for _ in range(150)]
        encoded = bundle.text.encode(synthetic_tweets(bundle.text.vocabulary, [*lengths, 0]))
        expected = Session(bundle, "cpu").probabilities(encoded)
        session = Session(bundle, "cuda", remember=False)
        np.testing.assert_array_equal(session.probabilities(encoded), expected)
        with ThreadPoolExecutor(6) as pool:
            for found in pool.map(session.probabilities, [encoded] * 12):
                np.testing.assert_array_equal(found, expected)

    def test_runs_fit_the_memory(
        self, pretended: Pretended, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Footprint, "room", lambda *_: (50, 200))
        session = Session(bundle, "cuda", remember=False)
        sizes: list[tuple[int, int]] = []
        real = session._run
        session._run = lambda feed: sizes.append(feed["words"].shape) or real(feed)  # type: ignore[func-returns-value]
        lengths = [3] * 130 + [20] * 25
        encoded = bundle.text.encode(pa.array([" ".join(["good"] * length) for length in lengths]))
        found = session.probabilities(encoded)
        assert sizes == [(50, 3), (50, 3), (30, 3), (10, 20), (10, 20), (5, 20)]
        np.testing.assert_array_equal(found, Session(bundle, "cpu").probabilities(encoded))

    def test_batches_are_larger(
        self, pretended: Pretended, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(model_module, "BATCH_ROWS", 10)
        monkeypatch.setattr(model_module, "_CUDA_BATCH_ROWS", 5000)
        texts = ["good"] * 4000
        sizes = [
            len(sentstream.load(path, provider=provider, threads=1).score(texts).column(0).chunks)
            for provider in ("cpu", "cuda")  # type: ignore[arg-type]
        ]
        assert sizes == [400, 1]


class TestPlacement:
    def test_every_node_is_reported(self, pretended: Pretended, path: Path) -> None:
        """All of them run on the CPU here, as int8 nodes would without the rewrite."""
        placement = sentstream.load(path, provider="cuda").placement
        assert placement is not None
        assert list(placement.counts) == [CPU]
        operators = {node.operator for node in placement.compute_on_cpu}
        assert {"Scan", "MatMul", "Tanh", "Round", "Gather", "Softmax"} <= operators
        assert "MatMulInteger" not in operators
        assert {node.operator for node in placement.shapes_on_cpu} == {"Shape", "Concat", "Cast"}

    def test_session_on_the_cpu_is_not_profiled(
        self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given: list[dict[str, Any]] = []
        real = session_module.create

        def create(*arguments: Any, **options: Any) -> Any:
            given.append(options)
            return real(*arguments, **options)

        monkeypatch.setattr(session_module, "create", create)
        assert Session(bundle, "cpu").placement is None
        assert given == [{}]

    def test_profile_is_removed(
        self, pretended: Pretended, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        Session(bundle, "cuda")
        assert list(tmp_path.iterdir()) == []


class TestMissing:
    def test_missing_device_is_one_line(self, pretended: Pretended, path: Path) -> None:
        with pytest.raises(ProviderError, match="there is no CUDA device 2, only devices 0 to 1") as caught:
            sentstream.load(path, provider="cuda", device=2)
        assert "\n" not in str(caught.value)
        assert pretended.options == []  # nothing was tried

    def test_auto_falls_back_to_cpu_with_a_reason(self, pretended: Pretended, path: Path) -> None:
        model = sentstream.load(path, device=2)
        assert model.provider == "cpu"
        assert model.fallback == "there is no CUDA device 2, only devices 0 to 1"
        assert model.placement is None

    @pytest.mark.usefixtures("without_driver")
    def test_no_driver(self, path: Path) -> None:
        assert sentstream.load(path).fallback == NO_DRIVER
        with pytest.raises(ProviderError, match="there is no NVIDIA driver"):
            sentstream.load(path, provider="cuda")

    def test_requested_cpu_is_not_a_fallback(self, pretended: Pretended, path: Path) -> None:
        assert sentstream.load(path, provider="cpu").fallback is None

    def test_onnx_runtime_without_cuda(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(session_module.import_runtime(), "get_available_providers", lambda: [CPU])
        assert sentstream.load(path).fallback is None
        # But for who asks for a device:
        assert sentstream.load(path, device=0).fallback == "this ONNX Runtime is built without CUDA"
        assert sentstream.load(path, gpu_memory=1 << 30).fallback is not None

    def test_library_fails_to_load(
        self, pretended: Pretended, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(opening, "CUDA", CUDA)  # the session has the CPU's provider only
        monkeypatch.setattr(opening, "preload", lambda _: "libcublasLt.so.13")
        assert sentstream.load(path).fallback == "libcublasLt.so.13 does not load"
        monkeypatch.setattr(opening, "preload", lambda _: None)
        fallback = sentstream.load(path).fallback
        assert fallback is not None
        assert fallback.startswith("ONNX Runtime's CUDA provider does not load: ")

    def test_no_onnx(self, pretended: Pretended, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "sentstream.cuda.opening")
        monkeypatch.setitem(sys.modules, "onnx", None)
        fallback = sentstream.load(path).fallback
        assert fallback is not None
        assert "onnx" in fallback


class TestCommands:
    def score(self, tmp_path: Path, *more: str) -> int:
        return main(["score", str(EXAMPLE), "--output", str(tmp_path / "x.parquet"), "--overwrite", *more])

    def test_summary_names_the_nodes(
        self, pretended: Pretended, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        options = ["--model", str(path), "--provider", "cuda", "--device", "1", "--gpu-memory", "1GB"]
        assert self.score(tmp_path, *options) == 0
        printed = capsys.readouterr()
        assert printed.out == ""
        assert ", cuda" in printed.err
        assert "nodes     " in printed.err
        assert pretended.options[0]["gpu_mem_limit"] == str(1 << 30)
        assert self.score(tmp_path, *options, "--json") == 0
        about = json.loads(capsys.readouterr().out)
        assert about["provider"] == "cuda"
        assert about["fallback"] is None
        assert about["placement"]["nodes"][CPU] > 10
        assert {"name": "layers_0", "operator": "Scan"} in about["placement"]["compute_on_cpu"]

    def test_nodes_left_on_the_cpu_are_named(
        self,
        pretended: Pretended,
        path: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(opening, "read_profile", lambda *_: MIXED)
        assert self.score(tmp_path, "--model", str(path)) == 0
        line = "nodes     1 node on CUDA, 1 node on the CPU (not for shapes: b (MatMulInteger))"
        assert line in capsys.readouterr().err.splitlines()

    @pytest.mark.usefixtures("without_driver")
    def test_auto_reports_the_fallback_in_one_line(
        self, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.score(tmp_path, "--model", str(path)) == 0
        printed = capsys.readouterr()
        assert printed.err.splitlines()[0] == f"sentstream: not using CUDA: {NO_DRIVER}"
        assert printed.err.count("CUDA") == 1
        assert printed.out == ""
        assert self.score(tmp_path, "--model", str(path), "--json") == 0
        assert json.loads(capsys.readouterr().out)["fallback"] == NO_DRIVER
        assert self.score(tmp_path, "--model", str(path), "--provider", "cuda") == 40
        (line,) = capsys.readouterr().err.splitlines()
        assert NO_DRIVER in line

    def test_no_message_without_cuda_build(
        self, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        if CUDA in session_module.import_runtime().get_available_providers():
            pytest.skip("this ONNX Runtime has CUDA")
        assert self.score(tmp_path, "--model", str(path)) == 0
        assert "CUDA" not in capsys.readouterr().err
        assert self.score(tmp_path, "--model", str(path), "--device", "0") == 0
        assert "not using CUDA: this ONNX Runtime is built without CUDA" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "more",
        [
            ["--provider", "cpu", "--device", "0"],
            ["--provider", "cpu", "--gpu-memory", "1GB"],
            ["--gpu-memory", "much"],
            ["--device", "-1"],
        ],
    )
    def test_invalid_options(
        self, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
    ) -> None:
        assert self.score(tmp_path, "--model", str(path), *more) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("sentstream: error: ")

    def test_missing_device(
        self, pretended: Pretended, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.score(tmp_path, "--model", str(path), "--provider", "cuda", "--device", "9") == 40
        (line,) = capsys.readouterr().err.splitlines()
        assert "there is no CUDA device 9, only devices 0 to 1" in line


class TestOtherEntryPoints:
    def test_plan_of_files(self, pretended: Pretended, path: Path, tmp_path: Path) -> None:
        target = tmp_path / "x.parquet"
        with prepare([str(EXAMPLE)], output=str(target), model=str(path), device=1) as plan:
            report = score_plan(plan)
        assert plan.to_dict()["placement"]["nodes"]
        assert pq.read_table(target).num_rows == report.tally.rows
        assert pretended.options[0]["device_id"] == "1"

    def test_stream(self, pretended: Pretended, path: Path) -> None:
        options = ModelOptions(model=path, provider="cuda", threads=1, device=1, gpu_memory=1 << 30)
        with in_this_process(options, "sentiment") as scoring:
            assert scoring.model_info.provider == "cuda"
            assert scoring.model_info.fallback is None
            assert scoring.model_info.placement is not None
        assert pretended.options[0]["device_id"] == "1"

    def test_cpu_does_not_import_onnx(self, path: Path) -> None:
        program = (
            f"import sys, sentstream; sentstream.load({str(path)!r}, provider='cpu').score(['good']);"
            "print('onnx' in sys.modules)"
        )
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert run.stdout == "False\n"
