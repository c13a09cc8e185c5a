"""CRUDs under one name: all of the core, the schemes that come with it, and the ``cruds`` command."""

from __future__ import annotations

import cruds_core
from cruds_core import *  # noqa: F403 - this package is that one under another name, and more

from . import auth, core, exception

__version__ = cruds_core.__version__

__all__ = [*cruds_core.__all__, "auth", "core", "exception"]  # pyright: ignore[reportUnsupportedDunderAll]
