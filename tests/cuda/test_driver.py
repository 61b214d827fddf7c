"""The NVIDIA driver and the CUDA libraries."""

from __future__ import annotations

import shutil
import subprocess
import types
from pathlib import Path

import pytest

from sentstream.cuda.driver import Driver, driver
from sentstream.cuda.libraries import _PROVIDER, preload, quiet, why_not_loaded

#: What ONNX Runtime 1.31 for GPUs printed on a machine without CUDA.
PRINTED = """\
Failed to load libcublasLt.so.13: libcublasLt.so.13: cannot open shared object file: No such file or directory
Failed to load libcudart.so.13: libcudart.so.13: cannot open shared object file: No such file or directory
Please follow https://onnxruntime.ai/docs/install/#cuda-and-cudnn to install CUDA.
"""


class TestDriver:
    def test_no_driver(self) -> None:
        assert driver("libthere_is_none.so.1") == Driver(
            0, "there is no NVIDIA driver (libthere_is_none.so.1)"
        )

    @pytest.mark.parametrize(
        ("code", "count", "visible", "expected"),
        [
            (0, 2, None, Driver(2, None, ("GPU 0", "GPU 1"))),
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
    def test_driver_answers(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        code: int,
        count: int,
        visible: str | None,
        expected: Driver,
    ) -> None:
        """A library with the driver's functions, as its header declares them."""
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler")
        source, library = tmp_path / "driver.c", tmp_path / "libdriver.so"
        source.write_text(
            "#include <stdio.h>\n"
            f"int cuInit(unsigned flags) {{ return {code}; }}\n"
            f"int cuDeviceGetCount(int *count) {{ *count = {count}; return 0; }}\n"
            "int cuDeviceGet(int *device, int ordinal) { *device = 100 + ordinal; return 0; }\n"
            "int cuDeviceGetName(char *name, int size, int device)\n"
            '{ snprintf(name, size, "GPU %d", device - 100); return 0; }\n'
        )
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert driver(str(library)) == expected

    def test_missing_device(self) -> None:
        assert Driver(2, None).lacks(1) is None
        assert Driver(2, None).lacks(2) == "there is no CUDA device 2, only devices 0 to 1"
        assert Driver(1, None).lacks(7) == "there is no CUDA device 7, only device 0"
        assert Driver(0, "no driver").lacks(0) == "no driver"


class TestLibraries:
    def test_first_library_that_fails_to_load_is_reported(self, capfd: pytest.CaptureFixture[str]) -> None:
        lacking = types.SimpleNamespace(preload_dlls=lambda: print(PRINTED))
        assert preload(lacking) == "libcublasLt.so.13"
        folder = types.SimpleNamespace(
            preload_dlls=lambda: print("Failed to load /venv/x/libcudart.so.13: no")
        )
        assert preload(folder) == "libcudart.so.13"
        assert capfd.readouterr() == ("", "")

    def test_libraries_present_but_preload_unsupported(self) -> None:
        assert preload(types.SimpleNamespace(preload_dlls=lambda: None)) is None
        assert preload(types.SimpleNamespace()) is None

    def test_loader_message(self, tmp_path: Path) -> None:
        runtime = types.SimpleNamespace(__file__=str(tmp_path / "__init__.py"))
        assert why_not_loaded(runtime, "libcudart.so.13") == "libcudart.so.13 does not load"
        reason = why_not_loaded(runtime, None)
        assert reason.startswith("ONNX Runtime's CUDA provider does not load: cannot open shared object file")
        assert str(tmp_path) not in reason
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler")
        (tmp_path / "capi").mkdir()
        (tmp_path / "empty.c").write_text("int nothing;\n")
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-o", tmp_path / "capi" / _PROVIDER, tmp_path / "empty.c"],
            check=True,
        )
        assert why_not_loaded(runtime, None) == "ONNX Runtime does not enable its CUDA provider"

    def test_log_level_is_restored(self) -> None:
        levels: list[int] = []
        runtime = types.SimpleNamespace(set_default_logger_severity=levels.append)
        with pytest.raises(KeyError), quiet(runtime):
            raise KeyError
        assert levels == [4, 2]
