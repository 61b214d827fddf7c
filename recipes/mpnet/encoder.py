"""MPNet-base in plain PyTorch (Song et al. 2020, arXiv 2004.09297), frozen, with low-rank adapters.

Every batch holds texts of one length, so there is neither padding nor a mask. The pre-trained weights are
frozen, in bfloat16 if the CPU supports products in it. Few parameters are learned: in the upper layers, a
product of two thin matrices is added to each linear map (LoRA; Hu et al. 2021, arXiv 2106.09685), and a head
reads the mean of the states.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional

LAYERS, WIDTH, HEADS, BUCKETS, FURTHEST = 12, 768, 12, 32, 128
#: Positions start after the padding token's id.
FIRST_POSITION = 2
EPSILON = 1e-5


def multiplies_in() -> torch.dtype:
    """Return bfloat16 if the CPU supports products in it, else float32."""
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


class Linear(nn.Module):
    """A frozen linear map, plus a learned one of low rank.

    Args:
        weight: ``[outputs, inputs]``.
        bias: ``[outputs]``.
        rank: Rank of the learned map; 0 for none.
        scale: Factor of the learned map.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.scale = scale
        if rank:
            self.down = nn.Parameter(torch.empty(rank, weight.shape[1]))
            self.up = nn.Parameter(torch.zeros(weight.shape[0], rank))
            nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, states: Tensor) -> Tensor:
        output = functional.linear(states, self.weight, self.bias)
        if hasattr(self, "down"):
            thin = functional.linear(states, self.down.to(states.dtype))
            output = output + functional.linear(thin, (self.up * self.scale).to(states.dtype))
        return output

    def merge(self) -> None:
        """Add the learned map to the frozen one, which is faster; training ends with this."""
        if hasattr(self, "down"):
            more = (self.up @ self.down).detach() * self.scale
            self.weight = (self.weight.float() + more).to(self.weight.dtype)
            del self.down, self.up


class Layer(nn.Module):
    """Attention and feed-forward, each with a residual connection and layer norm."""

    def __init__(self, weights: Mapping[str, Tensor], rank: int, scale: float, dropout: float) -> None:
        super().__init__()
        parts = {name.rsplit(".", 1)[0] for name in weights}
        pairs = {name: (weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in parts}
        self.q, self.k, self.v, self.o = (
            Linear(*pairs[f"attention.attn.{name}"], rank, scale) for name in ("q", "k", "v", "o")
        )
        self.widen = Linear(*pairs["intermediate.dense"], rank, scale)
        self.narrow = Linear(*pairs["output.dense"], rank, scale)
        self.dropout = dropout
        for name, part in (("attended", "attention.LayerNorm"), ("fed", "output.LayerNorm")):
            self.register_buffer(f"{name}_weight", pairs[part][0], persistent=False)
            self.register_buffer(f"{name}_bias", pairs[part][1], persistent=False)

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        rows, length, width = states.shape
        split = (rows, length, HEADS, width // HEADS)
        q, k, v = (part(states).view(split).transpose(1, 2) for part in (self.q, self.k, self.v))
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        attended = self._drop(self.o(mixed.transpose(1, 2).reshape(rows, length, width)))
        states = functional.layer_norm(
            states + attended, (width,), self.attended_weight, self.attended_bias, EPSILON
        )
        fed = self._drop(self.narrow(functional.gelu(self.widen(states))))
        return functional.layer_norm(states + fed, (width,), self.fed_weight, self.fed_bias, EPSILON)

    def _drop(self, states: Tensor) -> Tensor:
        """Drop the same features in all tokens of a text (Gal and Ghahramani 2016): fewer random draws."""
        if not self.training or not self.dropout:
            return states
        kept = torch.empty(states.shape[0], 1, states.shape[2]).bernoulli_(1 - self.dropout)
        return states * (kept / (1 - self.dropout)).to(states.dtype)


class Teacher(nn.Module):
    """Token ids of one length -> logits.

    Args:
        encoder: The folder with ``model.safetensors``.
        labels: Number of labels.
        rank: Rank of the adapters.
        adapted: Number of layers with adapters, from the top; no gradients flow through the ones below.
        scale: Factor of the adapters.
        dropout: Dropout of the adapted layers and of the head, in training.
    """

    def __init__(
        self, encoder: Path, *, labels: int, rank: int, adapted: int, scale: float, dropout: float
    ) -> None:
        super().__init__()
        self.dtype = multiplies_in()
        with safe_open(encoder / "model.safetensors", "pt") as file:
            weights = {name: file.get_tensor(name).to(self.dtype) for name in file.keys()}  # noqa: SIM118
        for name, part in (
            ("words", "word_embeddings.weight"),
            ("positions", "position_embeddings.weight"),
            ("norm_weight", "LayerNorm.weight"),
            ("norm_bias", "LayerNorm.bias"),
        ):
            self.register_buffer(name, weights[f"embeddings.{part}"], persistent=False)
        self.register_buffer("relative", weights["encoder.relative_attention_bias.weight"], persistent=False)
        self.layers = nn.ModuleList()
        for number in range(LAYERS):
            prefix = f"encoder.layer.{number}."
            own = {name.removeprefix(prefix): one for name, one in weights.items() if name.startswith(prefix)}
            above = number >= LAYERS - adapted
            self.layers.append(Layer(own, rank if above else 0, scale, dropout if above else 0.0))
        self.adapted = adapted
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(WIDTH, labels)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits ``float32[rows, labels]`` for ``int64[rows, length]``."""
        length = ids.shape[1]
        with torch.no_grad():
            positions = self.positions[FIRST_POSITION : FIRST_POSITION + length]
            states = functional.layer_norm(
                functional.embedding(ids, self.words) + positions,
                (WIDTH,), self.norm_weight, self.norm_bias, EPSILON,
            )  # fmt: skip
            bias = self.relative[_buckets(length)].permute(2, 0, 1).contiguous()[None]
            for layer in self.layers[: LAYERS - self.adapted]:
                states = layer(states, bias)
        for layer in self.layers[LAYERS - self.adapted :]:
            states = layer(states, bias)
        logits: Tensor = self.head(self.dropout(states.float().mean(1)))
        return logits

    def merge(self) -> None:
        """Make inference faster, once training is over."""
        for part in self.modules():
            if isinstance(part, Linear):
                part.merge()
        self.eval()


def _buckets(length: int) -> Tensor:
    """Return ``int64[length, length]``: the class of each token pair's distance; long ones share classes."""
    index = torch.arange(length)
    behind = index[:, None] - index[None, :]
    half = BUCKETS // 2
    exact = half // 2
    away = behind.abs()
    distant = exact + (
        torch.log(away.clamp(min=1) / exact) / math.log(FURTHEST / exact) * (half - exact)
    ).long().clamp(max=half - 1 - exact)
    return torch.where(away < exact, away, distant) + half * (behind < 0)
