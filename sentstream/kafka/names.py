"""Names that several parts of the package share."""

from __future__ import annotations

from typing import Literal, TypeAlias

ClientName: TypeAlias = Literal["kafka-python", "confluent"]
#: The default consumer group.
GROUP = "sentstream"
