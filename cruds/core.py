"""The core, under the name that it has had since 1.x."""

from __future__ import annotations

from cruds_core import AuthABC, Client

__all__ = ["AuthABC", "Client"]
