"""What ran every node of a graph, by ONNX Runtime's own profile of a run.

ONNX Runtime keeps arithmetic with shapes on the CPU on purpose, where shapes are: a few numbers a run.
Any other node on the CPU has its inputs and outputs copied, inside of a ``Scan`` at each step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
#: What ONNX Runtime calls what we call ``provider``.
EXECUTION_PROVIDERS = {"cpu": CPU, "cuda": CUDA}
_WORDS = {CPU: "the CPU", CUDA: "CUDA"}
_SUFFIX = "_kernel_time"
_MOST_NAMED = 8  # nodes in a line for people


@dataclass(frozen=True)
class Node:
    """A node that ran.

    Attributes:
        name: Its name in the graph.
        operator: Its operator, as ``MatMul``.
        provider: What ran it.
    """

    name: str
    operator: str
    provider: str


@dataclass(frozen=True)
class Placement:
    """What ran the nodes of a graph.

    Attributes:
        nodes: All of them, those inside of a ``Scan`` too.
        shapes: Names of those that reckon with shapes only.
    """

    nodes: tuple[Node, ...]
    shapes: frozenset[str] = frozenset()

    @property
    def counts(self) -> dict[str, int]:
        """How many nodes each provider ran, the busiest first."""
        return dict(Counter(node.provider for node in self.nodes).most_common())

    @property
    def compute_on_cpu(self) -> tuple[Node, ...]:
        """The nodes that the CPU ran, but for those that reckon with shapes."""
        return tuple(node for node in self._on_cpu() if node.name not in self.shapes)

    @property
    def shapes_on_cpu(self) -> tuple[Node, ...]:
        """The nodes that reckon with shapes, which the CPU ran."""
        return tuple(node for node in self._on_cpu() if node.name in self.shapes)

    def _on_cpu(self) -> Iterable[Node]:
        return (node for node in self.nodes if node.provider == CPU)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "nodes": self.counts,
            "compute_on_cpu": [_as_dict(node) for node in self.compute_on_cpu],
            "shapes_on_cpu": [_as_dict(node) for node in self.shapes_on_cpu],
        }

    def __str__(self) -> str:
        """One line: ``33 nodes on CUDA, 2 nodes on the CPU (shapes only)``."""
        parts = []
        for provider, count in self.counts.items():
            words = f"{count} node{'s' * (count != 1)} on {_WORDS.get(provider, provider)}"
            if provider == CPU and len(self.counts) > 1:
                named = [f"{node.name} ({node.operator})" for node in self.compute_on_cpu]
                rest = [f"{len(named) - _MOST_NAMED} more"] if len(named) > _MOST_NAMED else []
                what = ", ".join(named[:_MOST_NAMED] + rest)
                words += f" (not for shapes: {what})" if named else " (shapes only)"
            parts.append(words)
        return ", ".join(parts)


def _as_dict(node: Node) -> dict[str, str]:
    return {"name": node.name, "operator": node.operator}


def read_profile(events: Iterable[Mapping[str, Any]], shapes: frozenset[str] = frozenset()) -> Placement:
    """What a profile tells of one run over rows of one token, in which every node runs exactly once.

    Args:
        events: What ONNX Runtime wrote.
        shapes: Names of the nodes that reckon with shapes.
    """
    nodes = []
    for event in events:
        about = event.get("args") or {}
        if event.get("cat") == "Node" and about.get("provider"):
            name = str(event["name"]).removesuffix(_SUFFIX)
            nodes.append(Node(name, str(about.get("op_name", "")), str(about["provider"])))
    return Placement(tuple(nodes), shapes)
