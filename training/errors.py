"""What can be wrong with a user's training data or configuration."""

from __future__ import annotations

from napari_medsamq.errors import MedSAMQError


class ConfigError(MedSAMQError):
    """A configuration with an unknown key, or a value that cannot be used."""


class DataError(MedSAMQError):
    """A case, or a folder of cases, that cannot be trained on."""
