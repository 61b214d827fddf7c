"""Providers: what ran, and why the others did not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sentstream.doctor import providers as module
from sentstream.doctor.providers import Driver, driver, probe, providers, why_not
from sentstream.errors import MissingExtraError, ProviderError
from sentstream.session import CPU, CUDA, import_runtime

#: What ONNX Runtime 1.31 for GPUs wrote on a machine without CUDA.
LACKING = """\
\x1b[1;31m2026-11-25 20:05:30.070556348 [E:onnxruntime:Default, provider_bridge_ort.cc:2458 operator()] \
/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2043 onnxruntime::Provider& \
onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library \
/venv/onnxruntime/capi/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared \
object file: No such file or directory
\x1b[m
\x1b[0;93m2026-11-25 20:05:30.070593223 [W:onnxruntime:Default, onnxruntime_pybind_state.cc:1295 \
CreateExecutionProviderFactoryInstance] Failed to create CUDAExecutionProvider. Require cuDNN 9.* and CUDA \
13.*.\x1b[m
"""
LACKING_ON_WINDOWS = (
    'Error loading "C:\\venv\\onnxruntime\\capi\\onnxruntime_providers_cuda.dll" which depends on '
    '"cublasLt64_12.dll" which is missing. (Error 126: "The specified module could not be found.")'
)
GPU, NO_DRIVER = Driver(1, None), Driver(0, "there is no NVIDIA driver (libcuda.so.1)")


class TestWhyNot:
    def test_a_library_that_is_missing_is_named(self) -> None:
        reason, hint = why_not(GPU, "no device or CUDA library was found", LACKING)
        assert reason == "libcublasLt.so.13 does not load"
        assert "pip install 'sentstream[cuda]'" in hint
        assert why_not(GPU, "", LACKING_ON_WINDOWS)[0] == "cublasLt64_12.dll does not load"

    def test_without_a_driver_no_library_would_help(self) -> None:
        reason, hint = why_not(NO_DRIVER, "no device or CUDA library was found", LACKING)
        assert reason == "there is no NVIDIA driver (libcuda.so.1); libcublasLt.so.13 does not load"
        assert "pip install" not in hint
        assert why_not(NO_DRIVER, "something", "")[0] == NO_DRIVER.problem

    def test_else_the_error_itself(self) -> None:
        error = "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version"
        reason, hint = why_not(GPU, error, "")
        assert reason == error
        assert "driver" in hint


class TestDriver:
    def test_none(self) -> None:
        assert driver("libthere_is_none.so.1") == Driver(
            0, "there is no NVIDIA driver (libthere_is_none.so.1)"
        )

    @pytest.mark.parametrize(
        ("code", "count", "visible", "expected"),
        [
            (0, 2, None, Driver(2, None)),
            (100, 0, None, Driver(0, "the NVIDIA driver finds no device")),
            (0, 0, None, Driver(0, "the NVIDIA driver finds no device")),
            (
                100,
                0,
                "",
                Driver(0, "the NVIDIA driver finds no device (CUDA_VISIBLE_DEVICES is '')"),
            ),
            (999, 0, None, Driver(0, "the NVIDIA driver fails with CUDA error 999")),
        ],
    )
    def test_what_a_driver_may_answer(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        code: int,
        count: int,
        visible: str | None,
        expected: Driver,
    ) -> None:
        """A library with the driver's two functions, as its header declares them."""
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler")
        source, library = tmp_path / "driver.c", tmp_path / "libdriver.so"
        source.write_text(
            f"int cuInit(unsigned flags) {{ return {code}; }}\n"
            f"int cuDeviceGetCount(int *count) {{ *count = {count}; return 0; }}\n"
        )
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert driver(str(library)) == expected


class TestProviders:
    def test_the_cpu_runs_every_node(self) -> None:
        found = probe("cpu")
        assert list(found) == ["nodes"]
        assert list(found["nodes"]) == [CPU]
        assert found["nodes"][CPU] > 10

    def test_all_that_is_listed_is_told(self) -> None:
        section = providers()
        listed = import_runtime().get_available_providers()
        assert section.facts["listed"] == listed
        assert section.facts["cpu"]["usable"] is True
        told = "\n".join(finding.text for finding in section.findings)
        for name in set(listed) - {CPU, CUDA}:
            assert name.removesuffix("ExecutionProvider") in told
        assert "problem" not in {finding.verdict for finding in section.findings}

    def test_cuda_where_it_is_not_built_in(self) -> None:
        if CUDA in import_runtime().get_available_providers():
            pytest.skip("this ONNX Runtime has CUDA")
        section = providers()
        assert section.facts["cuda"]["usable"] is False
        (line,) = (finding for finding in section.findings if finding.about == "CUDA")
        assert line.text.startswith("not used: this ONNX Runtime is built without it")
        assert line.verdict == ("note" if driver().devices else "ok")
        with pytest.raises(ProviderError, match="built without it"):
            probe("cuda")

    def test_a_gpu_that_lies_idle_is_a_note(self, monkeypatch: pytest.MonkeyPatch) -> None:
        if CUDA in import_runtime().get_available_providers():
            pytest.skip("this ONNX Runtime has CUDA")
        monkeypatch.setattr(module, "driver", lambda: GPU)
        (line,) = (finding for finding in providers().findings if finding.about == "CUDA")
        assert line.verdict == "note"
        assert "there is a GPU" in line.text
        assert line.hint == "pip uninstall onnxruntime, then pip install 'sentstream[cuda]'"

    def test_without_onnx_runtime_there_is_nothing_to_tell(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(MissingExtraError):
            import_runtime()
        assert providers().facts is None
        assert providers().findings == []

    def test_a_broken_default_model_is_not_the_providers_fault(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("sentstream.bundle.store.MODELS", tmp_path)
        line = providers().findings[0]
        assert (line.about, line.verdict) == ("CPU", "note")
        assert line.text.startswith("not tried: ")


class TestProbeApart:
    def test_it_finds_what_this_process_finds(self) -> None:
        found, error, _ = module._probe_apart("cpu")
        assert (found, error) == (probe("cpu"), "")

    def test_its_error_comes_back(self) -> None:
        if CUDA in import_runtime().get_available_providers():
            pytest.skip("this ONNX Runtime has CUDA")
        found, error, _ = module._probe_apart("cuda")
        assert found is None
        assert error.startswith("CUDA cannot run here: this ONNX Runtime is built without it")

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("import os; os.abort()", "ended with code -6"),
            ("import sys; print('broken', file=sys.stderr); sys.exit(3)", "ended with code 3"),
            ("import time; time.sleep(60)", "does not answer within 0.5 seconds"),
        ],
    )
    def test_a_process_that_dies_or_hangs_takes_nobody_with_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
    ) -> None:
        (tmp_path / "onnxruntime.py").write_text(code)
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        if "0.5" in message:
            monkeypatch.setattr(module, "_PATIENCE", 0.5)
        found, error, _ = module._probe_apart("cuda")
        assert found is None
        assert message in error
