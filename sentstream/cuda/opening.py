"""Open a session on a CUDA device, and test it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from sentstream.cuda.binding import BoundRuns
from sentstream.cuda.footprint import AT_ONCE, Footprint, footprint
from sentstream.cuda.libraries import preload, quiet, why_not_loaded
from sentstream.cuda.placement import CPU, CUDA, Placement, read_profile
from sentstream.cuda.rewrite import use_float_products
from sentstream.cuda.shapes import name_nodes, shape_nodes
from sentstream.errors import ProviderError


@dataclass(frozen=True)
class Prepared:
    """A graph prepared for CUDA.

    Attributes:
        model: The contents of the ONNX file.
        shapes: Names of the nodes that only compute shapes.
        footprint: The memory that a run needs.
    """

    model: bytes
    shapes: frozenset[str]
    footprint: Footprint


@dataclass(frozen=True)
class Opened:
    """An open session.

    Attributes:
        run: Runs the graph: ids by input -> probabilities.
        placement: Which provider ran each node.
        rows, tokens: Maximum rows and tokens per run.
    """

    run: BoundRuns
    placement: Placement
    rows: int
    tokens: int


def prepare_graph(model: bytes) -> Prepared:
    """Rewrite operators that CUDA has no kernel for, and analyze the graph.

    Args:
        model: The contents of a bundle's ONNX file.
    """
    graph = onnx.load_from_string(model)
    use_float_products(graph)
    name_nodes(graph.graph)
    data: bytes = graph.SerializeToString()
    return Prepared(data, shape_nodes(graph.graph), footprint(graph))


def provider_options(device: int, memory: int | None) -> list[Any]:
    """Return a session's provider list: CUDA without TF32, which has a ten-bit mantissa; and the CPU.

    Args:
        device: The device number.
        memory: Maximum size in bytes of ONNX Runtime's arena; None for no limit.
    """
    options = {"device_id": str(device), "use_tf32": "0"}
    if memory is not None:
        # By default the arena doubles when it grows, so half of the limit could be unusable.
        options |= {"gpu_mem_limit": str(memory), "arena_extend_strategy": "kSameAsRequested"}
    return [(CUDA, options), CPU]


def open_on_device(
    onnxruntime: Any,
    create: Callable[..., Any],
    model: bytes,
    *,
    output: str,
    classes: int,
    device: int,
    memory: int | None,
    probe: Callable[[Callable[..., Any], int], None],
) -> Opened:
    """Open a session on a device, test it, and find out which provider runs each node.

    Args:
        onnxruntime: The module.
        create: Creates a session: ``sentstream.session.create``.
        model: The contents of a bundle's ONNX file.
        output: Name of its output.
        classes: Number of columns of the output.
        device: The device number.
        memory: Maximum size in bytes of ONNX Runtime's arena on the device; None for no limit.
        probe: Tests a run on rows of the given length, and raises if the results are wrong.

    Raises:
        ProviderError: A CUDA library does not load.
        Exception: Any error that ONNX Runtime or the probe raises.
    """
    library = preload(onnxruntime)
    prepared = prepare_graph(model)
    with tempfile.TemporaryDirectory() as folder:
        with quiet(onnxruntime):
            session = create(
                onnxruntime,
                prepared.model,
                provider_options(device, memory),
                profile=os.path.join(folder, "profile"),
            )
        if session.get_providers()[0] != CUDA:
            raise ProviderError(why_not_loaded(onnxruntime, library))
        run = BoundRuns(onnxruntime, session, output, classes, device=("cuda", device), at_once=AT_ONCE)
        probe(run, 1)
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    probe(run, 2)
    return Opened(run, read_profile(events, prepared.shapes), *prepared.footprint.room(memory))
