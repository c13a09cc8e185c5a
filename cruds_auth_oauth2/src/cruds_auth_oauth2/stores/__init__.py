"""Where a token can live that several processes share."""

from __future__ import annotations

from .base import TokenStore
from .file import FileStore
from .keyring import KeyringStore
from .redis import RedisStore

__all__ = ["FileStore", "KeyringStore", "RedisStore", "TokenStore"]
