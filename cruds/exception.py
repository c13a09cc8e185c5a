"""Every error, under the name that the module has had since 1.x."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cruds_core import exceptions
from cruds_core.exceptions import *  # noqa: F403 - this module is that one under another name, and more

if TYPE_CHECKING:
    from cruds_auth_oauth2.exceptions import (
        OAuth2Error,
        OAuthAccessTokenError,
        OAuthAuthorizationError,
        OAuthDiscoveryError,
        OAuthRevocationError,
        OAuthSignInRequiredError,
        OAuthStateError,
        OAuthStoreError,
        OAuthStoreLockedError,
    )

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    *exceptions.__all__,
    "OAuth2Error",
    "OAuthAccessTokenError",
    "OAuthAuthorizationError",
    "OAuthDiscoveryError",
    "OAuthRevocationError",
    "OAuthSignInRequiredError",
    "OAuthStateError",
    "OAuthStoreError",
    "OAuthStoreLockedError",
]


def __getattr__(name: str) -> Any:
    """The errors of OAuth 2.0, whose plugin is imported when one is asked for."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from cruds_auth_oauth2 import exceptions as oauth2

    return getattr(oauth2, name)


def __dir__() -> list[str]:
    return __all__
