"""Basic, Digest and API-key authentication for the CRUDs REST client."""

from __future__ import annotations

from .apikey import ApiKey
from .basic import Basic
from .digest import Digest

__all__ = ["ApiKey", "Basic", "Digest", "__version__"]

__version__ = "2.0.0"
