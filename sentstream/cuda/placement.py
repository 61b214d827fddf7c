"""Which provider ran each node of a graph, from ONNX Runtime's own profile of a run.

ONNX Runtime deliberately keeps nodes that compute shapes on the CPU, where the shapes are: this is a few
numbers per run. For any other node on the CPU, inputs and outputs are copied, inside a ``Scan`` at each step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
#: ONNX Runtime's names of our providers.
EXECUTION_PROVIDERS = {"cpu": CPU, "cuda": CUDA}
_WORDS = {CPU: "the CPU", CUDA: "CUDA"}
_SUFFIX = "_kernel_time"
_MOST_NAMED = 8  # nodes listed in a text line


@dataclass(frozen=True)
class Node:
    """A node that ran.

    Attributes:
        name: Its name in the graph.
        operator: Its operator, such as ``MatMul``.
        provider: The execution provider that ran it.
    """

    name: str
    operator: str
    provider: str


@dataclass(frozen=True)
class Placement:
    """Which provider ran each node of a graph.

    Attributes:
        nodes: All nodes, including those inside a ``Scan``.
        shapes: Names of the nodes that only compute shapes.
    """

    nodes: tuple[Node, ...]
    shapes: frozenset[str] = frozenset()

    @property
    def counts(self) -> dict[str, int]:
        """The number of nodes that each provider ran, in descending order."""
        return dict(Counter(node.provider for node in self.nodes).most_common())

    @property
    def compute_on_cpu(self) -> tuple[Node, ...]:
        """The nodes that the CPU ran, except those that only compute shapes."""
        return tuple(node for node in self._on_cpu() if node.name not in self.shapes)

    @property
    def shapes_on_cpu(self) -> tuple[Node, ...]:
        """The nodes that only compute shapes and that the CPU ran."""
        return tuple(node for node in self._on_cpu() if node.name in self.shapes)

    def _on_cpu(self) -> Iterable[Node]:
        return (node for node in self.nodes if node.provider == CPU)

    def to_dict(self) -> dict[str, Any]:
        """JSON-serializable data."""
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
                nodes = ", ".join(named[:_MOST_NAMED] + rest)
                words += f" (not for shapes: {nodes})" if named else " (shapes only)"
            parts.append(words)
        return ", ".join(parts)


def _as_dict(node: Node) -> dict[str, str]:
    return {"name": node.name, "operator": node.operator}


def read_profile(events: Iterable[Mapping[str, Any]], shapes: frozenset[str] = frozenset()) -> Placement:
    """Read the profile of one run on rows of one token, in which every node runs exactly once.

    Args:
        events: The events that ONNX Runtime wrote.
        shapes: Names of the nodes that only compute shapes.
    """
    nodes = []
    for event in events:
        details = event.get("args") or {}
        if event.get("cat") == "Node" and details.get("provider"):
            name = str(event["name"]).removesuffix(_SUFFIX)
            nodes.append(Node(name, str(details.get("op_name", "")), str(details["provider"])))
    return Placement(tuple(nodes), shapes)
