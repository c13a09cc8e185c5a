"""The classes of the installed auth schemes, by name: ``cruds.auth.Basic``, and those of other plugins."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cruds_core import AuthABC, BearerToken, UnknownSchemeError
from cruds_core.plugins import default

if TYPE_CHECKING:
    from cruds_auth_basic import ApiKey, Basic, Digest
    from cruds_auth_oauth2 import OAuth2

__all__ = ["ApiKey", "AuthABC", "Basic", "BearerToken", "Digest", "OAuth2"]


def __getattr__(name: str) -> Any:
    """The class of a scheme, which has the name of the scheme without hyphens as its own, whatever the case.

    Raises:
        ImportError: No plugin that may be used offers it; the message says what to install.
        AttributeError: The name is none that a class has.
    """
    if not name[:1].isupper():
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    wanted = name.lower()
    scheme = next((one for one in default().schemes() if re.sub("[-_.]", "", one) == wanted), wanted)
    try:
        return default().factory(scheme)
    except UnknownSchemeError as error:
        raise ImportError(f"{__name__}.{name}: {error}", name=__name__) from None


def __dir__() -> list[str]:
    return __all__
