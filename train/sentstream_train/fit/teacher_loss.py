"""The loss of a student: cross-entropy with softened teachers' probabilities and with the label."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

_LEAST = 1e-7


@keras.saving.register_keras_serializable(package="sentstream")
class TeacherLoss(keras.losses.Loss):
    """The distillation loss of Hinton, Vinyals and Dean 2015 (arXiv 1503.02531), section 2.

    In the teachers' part, the student's probabilities are softened like the teachers'. Its gradients shrink
    with the square of the temperature, so this part is multiplied by that square.

    Args:
        temperature: The temperature of the teachers' part.

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
    """Per row 1.0 if the most likely class is that of the combined target, else 0.0."""
    classes = ops.shape(y_pred)[-1]
    target = ops.argmax(y_true[..., :classes] + y_true[..., classes:], axis=-1)
    return ops.cast(ops.equal(target, ops.argmax(y_pred, axis=-1)), "float32")


keras.saving.register_keras_serializable(package="sentstream")(accuracy)
