"""A session on a CUDA device that has proved that it works."""

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
    """A graph as CUDA gets it.

    Attributes:
        model: The ONNX file.
        shapes: Names of the nodes that reckon with shapes.
        footprint: What a run of it needs.
    """

    model: bytes
    shapes: frozenset[str]
    footprint: Footprint


@dataclass(frozen=True)
class Opened:
    """An open session.

    Attributes:
        run: Ids by input -> probabilities.
        placement: What ran each node.
        rows, tokens: The most of a run.
    """

    run: BoundRuns
    placement: Placement
    rows: int
    tokens: int


def prepare_graph(model: bytes) -> Prepared:
    """Rewrite what CUDA has no kernel for, and learn about the rest.

    Args:
        model: A bundle's ONNX file.
    """
    graph = onnx.load_from_string(model)
    use_float_products(graph)
    name_nodes(graph.graph)
    data: bytes = graph.SerializeToString()
    return Prepared(data, shape_nodes(graph.graph), footprint(graph))


def provider_options(device: int, memory: int | None) -> list[Any]:
    """What a session is opened with: CUDA without TF32, whose products have ten bits; and the CPU.

    Args:
        device: Its number.
        memory: The most bytes of ONNX Runtime's arena; None for no limit.
    """
    options = {"device_id": str(device), "use_tf32": "0"}
    if memory is not None:
        # By default it doubles each time that it grows, and half of a limit would be out of reach.
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
    """Open a session on a device and find out what runs where.

    Args:
        onnxruntime: The module.
        create: Makes a session: ``sentstream.session.create``.
        model: A bundle's ONNX file.
        output: Its output.
        classes: The output's columns.
        device: The number of the device.
        memory: The most bytes of ONNX Runtime's arena there.
        probe: Runs what it is given over rows of so many tokens, and raises where that is not well.

    Raises:
        ProviderError: A library of CUDA does not load.
        Exception: Whatever ONNX Runtime or the probe says.
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
