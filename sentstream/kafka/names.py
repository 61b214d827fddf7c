"""Names that several rooms go by."""

from __future__ import annotations

from typing import Literal, TypeAlias

ClientName: TypeAlias = Literal["kafka-python", "confluent"]
#: The consumer group, unless another one is named.
GROUP = "sentstream"
