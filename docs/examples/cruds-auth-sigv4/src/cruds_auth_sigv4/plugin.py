"""The scheme of this distribution, as CRUDs finds it by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cruds_core import hookimpl

from . import SigV4

if TYPE_CHECKING:
    from collections.abc import Callable

    from cruds_core import AuthABC


@hookimpl
def cruds_register_auth(register: Callable[[str, Callable[..., AuthABC]], None]) -> None:
    """Offer ``sigv4``."""
    register("sigv4", SigV4)
