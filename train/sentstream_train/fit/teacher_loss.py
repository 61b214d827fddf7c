"""The loss of a student: cross-entropy with the teachers at a temperature, and with the label at none."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

_LEAST = 1e-7


@keras.saving.register_keras_serializable(package="sentstream")
class TeacherLoss(keras.losses.Loss):
    """Hinton, Vinyals and Dean 2015 (arXiv 1503.02531), section 2.

    The student's probabilities are softened as the teachers' were; the gradients of that part shrink with
    the square of the temperature, so it is multiplied by it.

    Args:
        temperature: Of the teachers' part.

    Shapes: targets ``float32[rows, 2 × classes]`` (``targets_of``), probabilities ``float32[rows, classes]``.
    """

    def __init__(self, temperature: float = 1.0, name: str = "teacher_loss", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.temperature = temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        classes = ops.shape(y_pred)[-1]
        taught, labeled = y_true[..., :classes], y_true[..., classes:]
        logarithm = ops.log(ops.maximum(y_pred, _LEAST))
        softened = ops.log_softmax(logarithm / self.temperature, axis=-1)
        teachers = -ops.sum(taught * softened, axis=-1) * self.temperature**2
        return teachers - ops.sum(labeled * logarithm, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}


def accuracy(y_true: Any, y_pred: Any) -> Any:
    """Whether the likeliest class is what label and teachers together say."""
    classes = ops.shape(y_pred)[-1]
    wanted = ops.argmax(y_true[..., :classes] + y_true[..., classes:], axis=-1)
    return ops.cast(ops.equal(wanted, ops.argmax(y_pred, axis=-1)), "float32")


keras.saving.register_keras_serializable(package="sentstream")(accuracy)
