"""The scheme of the core, as CRUDs finds it by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .auth import AuthABC, BearerToken
from .hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable


@hookimpl
def cruds_register_auth(register: Callable[[str, Callable[..., AuthABC]], None]) -> None:
    """Offer ``bearer``."""
    register("bearer", BearerToken)
