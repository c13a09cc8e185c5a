"""The endpoints that a client posts to with its credentials: for tokens, and to revoke them."""

from __future__ import annotations

import json
import logging
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import parse_qsl

from cruds_core import Headers, Request, RequestError, ResponseTooLargeError
from cruds_core.decoding import load_json
from cruds_core.secret import SecretDict, SecretText, is_credential, mask
from cruds_core.status import phrase, showable, text_of

from .tokens import UnusableAnswerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cruds_core import Response
    from cruds_core.transport import Transport

    from .client_authentication import ClientAuthentication
    from .exceptions import OAuth2Error

logger = logging.getLogger(__name__)

# Members with which servers say in a 200 that there is no token.
_COMPLAINT = re.compile("err|msg|message|reason|detail", re.IGNORECASE)

# Levels of an answer without an error code that are shown.
_SHOWN_LEVELS = 8

_T = TypeVar("_T")

# What can be done about the errors of RFC 6749, section 5.2.
_REMEDIES = {
    "invalid_client": "check client_id, client_secret and token_endpoint_auth_method",
    "invalid_scope": "check scope",
    "unauthorized_client": "whoever registered the client must allow it this grant",
}


class Endpoint:
    """An endpoint of the authorization server that takes forms.

    Args:
        url: Its URL.
        authentication: The client's credentials.
        transport: How to get there.
        error: What is raised when it gives no good answer.
    """

    def __init__(
        self,
        url: str,
        authentication: ClientAuthentication,
        transport: Transport,
        error: type[OAuth2Error],
    ) -> None:
        self.url = url
        self._authentication = authentication
        self._transport = transport
        self._error = error

    def post(
        self,
        what: str,
        form: SecretText,
        secrets: Sequence[SecretText],
        read: Callable[[SecretDict | None], _T],
    ) -> _T:
        """Send a form, once, and return what is read from the answer.

        Args:
            what: What it is called in messages.
            form: The form, without the client's credentials.
            secrets: What in it must not be shown.
            read: Makes something of the members of the answer, or of None where it has none; raises
                UnusableAnswerError if it cannot.

        Raises:
            OAuth2Error: The answer is an error; or there was none, and a RequestError is the cause.
            AuthError: A callable did not return the client's credentials.
        """
        authenticated = self._authentication.prepare(self.url, form)
        headers = Headers.default(json=True)
        headers.override(authenticated.headers)
        # A connection that is kept can end while a request is on its way, which may not be sent again.
        headers["Connection"] = "close"
        request = Request("POST", self.url, headers, authenticated.content.encode())
        try:
            response = self._transport.send(request, deserialize=False, tolerates=lambda _: True)
        except ResponseTooLargeError as error:
            msg = f"{what}: POST {request.shown_url}: the answer is larger than any that holds a token"
            raise self._error(msg) from error
        except RequestError as error:
            msg = f"{what}: {error}"
            raise self._error(msg) from error
        answer = _members(response)
        if not 200 <= response.status < 300 or (answer and answer.get("error")):
            raise self._refusal(what, response, answer or SecretDict(), [*secrets, *authenticated.secrets])
        logger.debug("%s: granted", what)
        try:
            return read(answer)
        except UnusableAnswerError as error:
            said = mask(str(error), [*secrets, *authenticated.secrets])
            msg = f"{what}: {response.method} {response.url}: the answer cannot be used: {said}"
            if complaint := _complaint(answer, [*secrets, *authenticated.secrets]):
                msg += f": {complaint}"
            raise self._error(msg, status=response.status) from None

    def _refusal(self, what: str, response: Response, answer: SecretDict, secrets: list[str]) -> OAuth2Error:
        code, description = (
            mask(value, secrets) if isinstance(value := answer.get(name), str) and value else None
            for name in ("error", "error_description")
        )
        said = ": ".join(one for one in (code, description) if one) if code else _shown(response)
        message = f"{what}: {response.method} {response.url}: {response.status} {phrase(response.status)}"
        if said:
            message += f": {showable(said, secrets)}"
        if 300 <= response.status < 400:
            message += "; it is never redirected: use the URL that it is redirected to"
        elif code in _REMEDIES:
            message += f"; {_REMEDIES[code]}"
        elif response.status in (404, 405):
            message += "; check the URL: it must be that of the endpoint"
        return self._error(
            message,
            error=code,
            error_description=description,
            status=response.status,
            retry_after=response.retry_after,
        )


def _members(response: Response) -> SecretDict | None:
    """The members of a JSON object or, as some servers still answer, a form; None of anything else."""
    try:
        value: Any = load_json(response.content)
    except ValueError:
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind not in ("application/x-www-form-urlencoded", "text/plain"):
            return None
        form = SecretDict(parse_qsl(response.content.decode(errors="replace")))
        return form if "access_token" in form or "error" in form else None
    return SecretDict(cast("dict[str, Any]", value)) if isinstance(value, dict) else None


def _complaint(answer: SecretDict | None, secrets: list[str]) -> str:
    """What an answer without a token says of it, whatever the members are called."""
    members = SecretDict() if answer is None else answer
    said = {name: value for name, value in members.items() if _COMPLAINT.search(name)}
    return showable(json.dumps(_harmless(said), ensure_ascii=False), secrets) if said else ""


def _shown(response: Response) -> str:
    """What an answer without an error code says, but for what could be a token."""
    if problem := response.problem:  # RFC 9457
        said = [text for name in ("detail", "title") if isinstance(text := problem.get(name), str) and text]
        return said[0] if said else ""
    with suppress(ValueError):
        return json.dumps(_harmless(load_json(response.content)), ensure_ascii=False)
    text = text_of(response)
    return "" if re.search(r"\x00|(access|refresh|id)[_-]?token", text, re.IGNORECASE) else text


def _harmless(said: Any, depth: int = 0) -> Any:
    if depth > _SHOWN_LEVELS:
        return "…"
    if isinstance(said, dict):
        members = cast("dict[str, Any]", said)
        return {name: _harmless(members[name], depth + 1) for name in members if not is_credential(name)}
    if isinstance(said, list):
        return [_harmless(one, depth + 1) for one in cast("Any", said)]
    return said
