"""A model on disk: graph, vocabulary, config and model card in a sealed directory."""

from sentstream.bundle.config import SCHEMA_VERSION, make_config, with_reference
from sentstream.bundle.store import (
    DEFAULT_MODEL,
    Bundle,
    list_models,
    load_bundle,
    replace_card,
    replace_config,
    save_bundle,
)

__all__ = [
    "DEFAULT_MODEL",
    "SCHEMA_VERSION",
    "Bundle",
    "list_models",
    "load_bundle",
    "make_config",
    "replace_card",
    "replace_config",
    "save_bundle",
    "with_reference",
]
