"""The schemes of this distribution, as CRUDs finds them by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cruds_core import hookimpl

from . import ApiKey, Basic, Digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from cruds_core import AuthABC


@hookimpl
def cruds_register_auth(register: Callable[[str, Callable[..., AuthABC]], None]) -> None:
    """Offer ``basic``, ``digest`` and ``apikey``."""
    register("basic", Basic)
    register("digest", Digest)
    register("apikey", ApiKey)
