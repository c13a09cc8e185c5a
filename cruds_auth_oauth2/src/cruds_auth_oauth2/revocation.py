"""Telling the authorization server that tokens are not needed any more (RFC 7009)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authlib.oauth2.rfc7009 import prepare_revoke_token_request

from cruds_core.secret import SecretText

from .exceptions import OAuthRevocationError

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .tokens import Token


def revoke(endpoint: Endpoint, token: Token) -> None:
    """Revoke the refresh token, and the access token.

    Raises:
        OAuthRevocationError: The server did not do it.
    """
    if refresh := token.refresh_token:
        _revoke(endpoint, refresh, "refresh_token")
    try:
        _revoke(endpoint, token.access_token, "access_token")
    except OAuthRevocationError as error:
        # RFC 7009, section 2.2.1: some servers revoke refresh tokens alone, and so their access tokens.
        if not refresh or error.error != "unsupported_token_type":
            raise


def _revoke(endpoint: Endpoint, token: str, hint: str) -> None:
    form = SecretText(prepare_revoke_token_request(token, hint)[0])
    endpoint.post("the revocation", form, [SecretText(token)], lambda _: None)
