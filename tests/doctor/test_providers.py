"""Execution providers: which ran, and why the others did not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from cuda_tools import Pretended

from sentstream.cuda.driver import Driver, driver
from sentstream.cuda.placement import CPU, CUDA
from sentstream.doctor import providers as module
from sentstream.doctor.providers import probe, providers, why_not
from sentstream.errors import MissingExtraError, ProviderError, how_to_install
from sentstream.session import import_runtime

GPU, NO_DRIVER = Driver(1, None, ("A GPU",)), Driver(0, "there is no NVIDIA driver (libcuda.so.1)")
#: What a session said on a machine with a driver and without CUDA's libraries.
LACKING = (
    "CUDA cannot run here: libcublasLt.so.13 does not load; available: TensorrtExecutionProvider, "
    "CUDAExecutionProvider, CPUExecutionProvider"
)


class TestReasons:
    def test_missing_library_is_named(self) -> None:
        reason, hint = why_not(GPU, LACKING)
        assert reason == "libcublasLt.so.13 does not load"
        assert how_to_install("cuda") in hint

    def test_missing_driver_comes_first(self) -> None:
        reason, hint = why_not(NO_DRIVER, LACKING)
        assert reason == NO_DRIVER.problem
        assert "pip install" not in hint

    def test_otherwise_the_error_is_shown(self) -> None:
        error = "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version"
        reason, hint = why_not(GPU, error)
        assert reason == error
        assert "driver" in hint
        symbol = "ONNX Runtime's CUDA provider does not load: undefined symbol: cuTensorMapEncodeTiled"
        assert why_not(GPU, LACKING.replace("libcublasLt.so.13 does not load", symbol)) == (symbol, hint)


class TestProviders:
    def test_cpu_runs_every_node(self) -> None:
        found = probe("cpu")
        assert list(found) == ["nodes", "summary"]
        assert list(found["nodes"]) == [CPU]
        assert found["nodes"][CPU] > 10
        assert found["summary"] == f"{found['nodes'][CPU]} nodes on the CPU"

    def test_gpu_results_are_compared_with_the_cpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Pretended(monkeypatch)
        found = probe("cuda")
        assert found["difference"] == 0  # it is the CPU, but for the graph
        assert {"name": "layers_0", "operator": "Scan"} in found["compute_on_cpu"]
        assert {one["operator"] for one in found["shapes_on_cpu"]} == {"Shape", "Concat", "Cast", "Mul"}

    @pytest.mark.parametrize(
        ("left", "verdict"), [([], "ok"), ([{"name": "x", "operator": "MatMulInteger"}], "note")]
    )
    def test_nodes_left_on_the_cpu_give_a_note(
        self, monkeypatch: pytest.MonkeyPatch, left: list[Any], verdict: str
    ) -> None:
        found = {
            "nodes": {CUDA: 30},
            "summary": "30 nodes on CUDA",
            "difference": 2e-3,
            "compute_on_cpu": left,
        }
        monkeypatch.setattr(module, "driver", lambda: GPU)
        monkeypatch.setattr(module, "_probe_apart", lambda _: (found, ""))
        facts, line = module._cuda([CUDA, CPU])
        assert line.verdict == verdict
        assert line.text == "runs tweets: 30 nodes on CUDA; at most 2e-03 from the CPU's probabilities"
        assert facts["driver"] == {"devices": 1, "problem": None, "names": ("A GPU",)}
        assert facts["compute_on_cpu"] == left

    def test_all_providers_are_reported(self) -> None:
        section = providers()
        available = import_runtime().get_available_providers()
        assert section.facts["listed"] == available
        assert section.facts["cpu"]["usable"] is True
        text = "\n".join(finding.text for finding in section.findings)
        for name in set(available) - {CPU, CUDA}:
            assert name.removesuffix("ExecutionProvider") in text
        assert "problem" not in {finding.verdict for finding in section.findings}

    def test_cuda_is_not_built_in(self) -> None:
        if CUDA in import_runtime().get_available_providers():
            pytest.skip("this ONNX Runtime has CUDA")
        section = providers()
        assert section.facts["cuda"]["usable"] is False
        (line,) = (finding for finding in section.findings if finding.about == "CUDA")
        assert line.text.startswith("not used: this ONNX Runtime is built without CUDA")
        assert line.verdict == ("note" if driver().devices else "ok")
        with pytest.raises(ProviderError, match="built without CUDA"):
            probe("cuda")

    def test_unused_gpu_gives_a_note(self, monkeypatch: pytest.MonkeyPatch) -> None:
        if CUDA in import_runtime().get_available_providers():
            pytest.skip("this ONNX Runtime has CUDA")
        monkeypatch.setattr(module, "driver", lambda: GPU)
        (line,) = (finding for finding in providers().findings if finding.about == "CUDA")
        assert line.verdict == "note"
        assert "there is a GPU" in line.text
        assert line.hint == f"pip uninstall onnxruntime, then {how_to_install('cuda')}"

    def test_nothing_without_onnx_runtime(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(MissingExtraError):
            import_runtime()
        assert providers().facts is None
        assert providers().findings == []

    def test_broken_default_model_is_not_a_provider_problem(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("sentstream.bundle.store.MODELS", tmp_path)
        line = providers().findings[0]
        assert (line.about, line.verdict) == ("CPU", "note")
        assert line.text.startswith("not tried: ")


class TestProbeProcess:
    def test_probe_agrees_with_this_process(self) -> None:
        found, error = module._probe_apart("cpu")
        assert (found, error) == (probe("cpu"), "")

    def test_probe_error_is_returned(self) -> None:
        if CUDA in import_runtime().get_available_providers():
            pytest.skip("this ONNX Runtime has CUDA")
        found, error = module._probe_apart("cuda")
        assert found is None
        assert error.startswith("CUDA cannot run here: this ONNX Runtime is built without CUDA")

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("import os; os.abort()", "exited with code -6"),
            ("import sys; print('broken', file=sys.stderr); sys.exit(3)", "exited with code 3"),
            ("import time; time.sleep(60)", "did not answer within 0.5 seconds"),
        ],
    )
    def test_dead_or_hung_probe_is_reported(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
    ) -> None:
        (tmp_path / "onnxruntime.py").write_text(code)
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        if "0.5" in message:
            monkeypatch.setattr(module, "_PATIENCE", 0.5)
        found, error = module._probe_apart("cuda")
        assert found is None
        assert message in error
