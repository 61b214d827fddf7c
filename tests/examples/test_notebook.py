"""The example notebook runs, and a real browser displays its outputs."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from processes import child

from sentstream.markup import Html, tag
from tools.local_browser import Browser, Scheme

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


#: In a process of its own. The kernel is spoken to through files, whose names no other program takes.
RUN = """
import sys
import nbclient, nbformat
from jupyter_client.manager import AsyncKernelManager

source, target, folder = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
nbformat.validate(notebook)
manager = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/kernel")
where = {"metadata": {"path": folder}}
client = nbclient.NotebookClient(notebook, km=manager, timeout=None, startup_timeout=600, resources=where)
nbformat.write(client.execute(), target)
"""


@pytest.fixture(name="ran", scope="module")
def _ran() -> Iterator[list[dict[str, Any]]]:
    """The cells of the notebook, with their outputs."""
    if importlib.util.find_spec("nbclient") is None or importlib.util.find_spec("ipykernel") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no nbclient and ipykernel: pip install -e '.[test]'", pytrace=False)
        pytest.skip("no nbclient and ipykernel")
    with tempfile.TemporaryDirectory(prefix="nb") as folder:  # sockets have short names
        shutil.copy(ROOT / "examples" / "tweets.parquet", folder)
        names = ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")
        target = Path(folder, "ran.ipynb")
        command = [sys.executable, "-c", RUN, str(NOTEBOOK), str(target), folder]
        with child(
            command, env={**os.environ, **dict.fromkeys(names, folder)}, stderr=subprocess.PIPE
        ) as run:
            _, errors = run.communicate()
        assert run.returncode == 0, errors
        yield json.loads(target.read_text("utf-8"))["cells"]


def outputs(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What all cells show."""
    return [output for cell in cells for output in cell.get("outputs", [])]


def shown(cells: list[dict[str, Any]]) -> list[str]:
    """The markup that all cells show."""
    found = [output.get("data", {}).get("text/html") for output in outputs(cells)]
    return ["".join(markup) for markup in found if markup]


def test_notebook_is_stored_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    assert not outputs(cells)
    assert not any(cell.get("execution_count") for cell in cells)


def test_results_have_html(ran: list[dict[str, Any]]) -> None:
    model, explained, scored, scoring, report, reading, found = shown(ran)
    assert "sha256:" in model
    assert 'class="for"' in explained
    assert 'class="against"' in explained
    rows = pq.read_metadata(ROOT / "examples" / "tweets.parquet").num_rows
    assert f"10 of {rows} rows" in scored
    assert f"{rows} of {rows} rows, " in scoring
    assert "rows/s" in report
    assert f"{rows} of {rows} rows, " in reading
    assert "mean value by lang" in found
    assert not [output for output in outputs(ran) if output["output_type"] == "stream"]


@pytest.mark.parametrize(("screen", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_output_has_no_scripts_and_is_accessible(
    screen: str, scheme: Scheme, ran: list[dict[str, Any]], tmp_path: Path, browser: Browser
) -> None:
    style = ":root { color-scheme: light dark } body { background: Canvas; color: CanvasText }"
    page = tag(
        "html",
        tag(
            "head",
            Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width">'),
            tag("title", "notebook"),
            tag("style", Html(style)),
        ),
        tag("body", tag("main", tag("h1", "notebook"), *map(Html, shown(ran)))),
        lang="en",
    )
    path = tmp_path / "notebook.html"
    path.write_text(f"<!DOCTYPE html>{page}", "utf-8")
    seen = browser.look(path, screen, scheme)
    assert seen.messages == []
    assert seen.requests == []
    assert seen.violations == []
