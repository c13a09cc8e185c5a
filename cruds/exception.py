"""Every error, under the name that the module has had since 1.x."""

from __future__ import annotations

from cruds_core.exceptions import *  # noqa: F403 - this module is that one under another name
from cruds_core.exceptions import __all__ as __all__
