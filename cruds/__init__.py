"""CRUDs under its documented names: the core, the schemes that come with it, and the ``cruds`` command."""

from __future__ import annotations

from cruds_core import Client, __version__

from . import auth, core, exception

__all__ = ["Client", "__version__", "auth", "core", "exception"]
