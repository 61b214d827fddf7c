"""The learning curve as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def draw_curve(epochs: Sequence[dict[str, float]], path: Path) -> None:
    """Draw loss and accuracy of both sides over the epochs as a PNG.

    Args:
        epochs: One record per epoch: ``epoch``, ``loss``, ``accuracy``, ``validation_loss`` and
            ``validation_accuracy``.
        path: The output file; it appears only when it is complete.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    number = [record["epoch"] for record in epochs]
    for index, (name, title) in enumerate(
        (("loss", "Loss (nats a tweet)"), ("accuracy", "Accuracy (%)")), start=1
    ):
        axes = figure.add_subplot(1, 2, index)
        scale = 100 if name == "accuracy" else 1
        for prefix, label, color in (("", "training", "#7a8ba6"), ("validation_", "validation", "#c8553d")):
            values = [scale * record[prefix + name] for record in epochs]
            axes.plot(number, values, marker="o", label=label, color=color)
            axes.annotate(
                f"{values[-1]:.{1 if scale > 1 else 3}f}",
                (number[-1], values[-1]),
                xytext=(6, 4),
                textcoords="offset points",
                color=color,
            )
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.12, y=0.15)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="best")  # explicit, so matplotlib does not warn if it is slow
    temporary = path.with_name(f".{path.name}.tmp")
    FigureCanvasAgg(figure)
    figure.savefig(temporary, format="png")
    temporary.replace(path)
