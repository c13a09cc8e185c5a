"""Token requests: one for each grant (RFC 6749, section 4), and to refresh (section 6)."""

from __future__ import annotations

import functools
import logging
import time
from typing import TYPE_CHECKING, cast
from urllib.parse import urlencode

from authlib.oauth2.rfc6749.parameters import prepare_token_request

from cruds_core.secret import SecretText
from cruds_core.status import showable

from .tokens import Token

if TYPE_CHECKING:
    from cruds_core import Secret

    from .endpoint import Endpoint
    from .parameters import Pairs, Parameters

logger = logging.getLogger(__name__)


class Grants:
    """The token requests of one client.

    Args:
        endpoint: The token endpoint.
        scope: What is asked for.
        authorization_details: The same in detail, as JSON (RFC 9396).
        user: The username and the password of a user; None for the client itself.
        params: Further parameters, for every request.
        leeway: Seconds before the end of a token at which it is to be renewed.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        scope: str | None,
        authorization_details: str | None,
        user: tuple[str, Secret] | None,
        params: Parameters,
        leeway: float,
    ) -> None:
        self._endpoint = endpoint
        self.user = user
        self._scope = scope
        self._details = authorization_details
        self._params = params
        self._leeway = leeway

    def first(self) -> Token:
        """As the client itself (section 4.4), or with the user's own password (section 4.3)."""
        asked = {"scope": self._scope, "authorization_details": self._details}
        form = [(name, value) for name, value in asked.items() if value]
        if self.user is None:
            return self._request("client_credentials", form, self._scope)
        username, password = self.user
        return self._request(
            "password", [("username", username), ("password", password.reveal()), *form], self._scope
        )

    def authorization_code(
        self, code: SecretText, redirect_uri: str, verifier: SecretText, scope: str | None
    ) -> Token:
        """With the code of a sign-in (section 4.1.3), its verifier (RFC 7636, section 4.5), and its scope."""
        form = [("code", code), ("redirect_uri", redirect_uri), ("code_verifier", verifier)]
        return self._request("authorization_code", form, scope)

    def refresh(self, held: Token) -> Token:
        """With the refresh token of a token. The scope is left out: it stays as it was granted."""
        return self._request(
            "refresh_token", [("refresh_token", cast("str", held.refresh_token))], held.scope, held
        )

    def _request(self, grant: str, form: Pairs, asked: str | None, held: Token | None = None) -> Token:
        secrets = [value for _, value in [*form, *self._params] if isinstance(value, SecretText)]
        # What authlib is given by name it leaves out when it is empty, and does not repeat.
        code = {name: value for name, value in form if name == "code"}  # which it insists on
        others = SecretText(urlencode([*(pair for pair in form if pair[0] != "code"), *self._params]))
        body = SecretText(prepare_token_request(grant, others, **code))
        read = functools.partial(
            Token.read, asked_at=time.time(), leeway=self._leeway, scope=asked, held=held
        )
        token = self._endpoint.post(f"the {grant} grant", body, secrets, read)
        # Some servers separate the names by commas.
        if asked and token.scope and set(asked.split()) != set(token.scope.replace(",", " ").split()):
            granted = showable(token.scope, ())
            logger.warning('the %s grant: the server grants the scope "%s", not "%s"', grant, granted, asked)
        return token
