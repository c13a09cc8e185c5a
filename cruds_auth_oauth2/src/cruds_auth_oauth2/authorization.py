"""Sign-ins by authorization code (RFC 6749, section 4.1): requests with state and PKCE, and their answers."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri  # pyright: ignore[reportUnknownVariableType]
from authlib.oauth2.rfc7636 import create_s256_code_challenge  # pyright: ignore[reportUnknownVariableType]

from cruds_core.lock import ForkSafeLock
from cruds_core.secret import MASK, SecretText, fault_of, mask
from cruds_core.status import showable

from .encryption import Sealed
from .exceptions import OAuthAuthorizationError, OAuthStateError
from .parameters import check_query, read_details, read_scope

if TYPE_CHECKING:
    from .parameters import Pairs, Parameters

#: Seconds that a sign-in may take (RFC 6749, section 4.1.2, gives a code as long).
LIFETIME = 600

#: How many sign-ins may be under way on one object; the oldest gives way.
MAX_PENDING = 1000

#: How many sealed requests one object knows to be used, in that time.
MAX_SPENT = 100_000

_VERIFIER = 48  # random bytes: 64 characters (RFC 7636, section 4.1, asks for 43 to 128)

#: What one request may ask for otherwise than the others.
MAY_CHANGE = {"scope", "authorization_details"}

# RFC 6749, section 3.1: "Request and response parameters MUST NOT be included more than once."
_ONCE = ("code", "state", "iss", "error", "error_description")
_TOKENS = ("access_token", "id_token")


class AuthorizationRequest(NamedTuple):
    """A sign-in that has begun.

    Attributes:
        url: Where the user's browser goes.
        sealed: What the browser's session keeps until it comes back.
    """

    url: str
    sealed: str

    def __repr__(self) -> str:
        return f"AuthorizationRequest({MASK})"


class Pending(NamedTuple):
    """What must be remembered of a request until its answer."""

    state: SecretText
    verifier: SecretText
    scope: str


class Callback(NamedTuple):
    """What the browser brought back: a code, or why there is none."""

    state: SecretText | None
    code: SecretText
    refusal: OAuthAuthorizationError | None


class Authorization:
    """How users of one client sign in.

    Args:
        url: The authorization endpoint.
        client_id: The client identifier.
        redirect_uri: Where the authorization server sends the browser back to.
        scope: What is asked for.
        authorization_details: The same in detail, as JSON (RFC 9396).
        params: Further parameters for each request.
        state_length: Random bytes in ``state``.
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        redirect_uri: str,
        scope: str | None,
        authorization_details: str | None,
        params: Parameters,
        state_length: int,
    ) -> None:
        check_query("authorization_url", url)
        self.redirect_uri = redirect_uri
        self._url = url
        self._client_id = client_id
        self._scope = scope
        self._details = authorization_details
        self._params = params
        self._state_length = state_length

    def begin(self, more: Parameters) -> tuple[SecretText, Pending]:
        """A new request: its URL, and what must be remembered of it."""
        pending = Pending(
            SecretText(secrets.token_urlsafe(self._state_length)),
            SecretText(secrets.token_urlsafe(_VERIFIER)),
            (read_scope(" ".join(scope)) if (scope := more["scope"]) else self._scope) or "",
        )
        given = more["authorization_details"]
        details = read_details(given[0] if len(given) == 1 else given) if given else self._details
        # RFC 9700, section 2.1.1: S256, the one method that does not give the verifier away.
        challenge = cast("str", create_s256_code_challenge(pending.verifier))  # type: ignore[no-untyped-call]
        others = urlencode(self._others(more))
        url = cast(
            "str",
            prepare_grant_uri(
                # What authlib is given by name must not have the name of one of its own arguments.
                f"{self._url}{'&' if '?' in self._url else '?'}{others}" if others else self._url,
                self._client_id,
                "code",
                redirect_uri=self.redirect_uri,
                scope=pending.scope or None,
                state=pending.state,
                code_challenge=challenge,
                code_challenge_method="S256",
                authorization_details=details,
            ),
        )
        return SecretText(url), pending

    def _others(self, more: Parameters) -> Pairs:
        """What is configured, but for names that this request gives otherwise."""
        given = {name for name, _ in more}
        kept = [(name, value) for name, value in self._params if name not in given]
        return [*kept, *((name, value) for name, value in more if name not in MAY_CHANGE)]


def read_callback(redirect_url: SecretText, *, issuer: str | None, requires_issuer: bool) -> Callback:
    """What a redirect URL says (RFC 6749, section 4.1.2), once it is from the right issuer.

    Args:
        redirect_url: Where the browser was sent.
        issuer: The authorization server's identifier, which the URL must name if it names one (RFC 9207).
        requires_issuer: Whether it must name one.

    Raises:
        OAuthAuthorizationError: It says nothing that can be understood, or comes from another issuer.
    """
    said = _parameters(redirect_url)
    brought = [said[name] for name in ("code", "state") if name in said]
    # RFC 9207, section 2.4: "If the value does not match the expected issuer identifier, clients MUST reject
    # the authorization response and MUST NOT proceed with the authorization grant." A refusal leads to no
    # grant, and servers forget to name themselves in it.
    missing_issuer = "iss" not in said and requires_issuer and "error" not in said
    if issuer is not None and (missing_issuer or said.get("iss", issuer) != issuer):
        named = f'the issuer "{showable(said["iss"], brought)}"' if "iss" in said else "no issuer"
        msg = f'the redirect URL names {named}, where "{issuer}" was asked (RFC 9207, section 2.4)'
        raise OAuthAuthorizationError(msg)
    refusal = None
    if "error" in said:
        error, description = (
            str(mask(said.get(name, ""), brought)) for name in ("error", "error_description")
        )
        message = f"the sign-in was refused: {showable(': '.join(filter(None, (error, description))), ())}"
        refusal = OAuthAuthorizationError(message, error=error, error_description=description or None)
    elif missing := [name for name in ("code", "state") if not said.get(name)]:
        msg = f'the redirect URL has no "{missing[0]}" (RFC 6749, section 4.1.2); give it whole'
        raise OAuthAuthorizationError(msg)
    elif fault := fault_of(said["code"]):
        msg = f'the "code" in the redirect URL {fault}'
        raise OAuthAuthorizationError(msg)
    return Callback(said.get("state"), said.get("code", SecretText()), refusal)


def _parameters(redirect_url: SecretText) -> dict[str, SecretText]:
    try:
        parts = urlsplit(redirect_url)
        query = [(name, SecretText(value)) for name, value in parse_qsl(parts.query, keep_blank_values=True)]
        fragment = dict(parse_qsl(parts.fragment, keep_blank_values=True)).keys()
    except ValueError:
        pass  # what it says may quote the URL
    else:
        del parts
        names = [name for name, _ in query]
        if repeated := [name for name in _ONCE if names.count(name) > 1]:
            msg = f'the redirect URL has more than one "{repeated[0]}" (RFC 6749, section 3.1)'
            raise OAuthAuthorizationError(msg)
        if tokens := [name for name in _TOKENS if name in names or name in fragment]:
            # RFC 9700, section 2.1.2: tokens in a URL leak, and anybody can put theirs there.
            msg = f'the redirect URL brings an "{tokens[0]}" in place of a code, which is never accepted'
            raise OAuthAuthorizationError(msg)
        return dict(query)
    msg = "the redirect URL is no URL"
    raise OAuthAuthorizationError(msg)


class _Began(NamedTuple):
    at: float  # time.monotonic()
    sealed: Sealed  # its verifier
    scope: str
    is_checked: bool = False


class PendingRequests:
    """The sign-ins of one object that are under way, each found by its ``state``, once."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._began: OrderedDict[bytes, _Began] = OrderedDict()
        self._spent: OrderedDict[bytes, float] = OrderedDict()  # of requests that are kept elsewhere

    def add(self, pending: Pending) -> None:
        """Remember a request."""
        sealed = Sealed(pending.verifier, "code verifier")
        with self._lock:
            self._forget_old()
            self._began[_name(pending.state)] = _Began(time.monotonic(), sealed, pending.scope)
            if len(self._began) > MAX_PENDING:
                self._began.popitem(last=False)

    def check(self, state: str) -> None:
        """Note that the issuer of the answer to a request has been checked."""
        with self._lock:
            if began := self._began.get(name := _name(state)):
                self._began[name] = began._replace(is_checked=True)

    def discard(self, state: str) -> None:
        """Forget a request that was refused."""
        with self._lock:
            self._began.pop(_name(state), None)

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._began.clear()

    def take(self, state: str, *, checked: bool) -> Pending:
        """A request, which is then forgotten.

        Args:
            state: Its state.
            checked: Whether its issuer must have been checked.

        Raises:
            OAuthStateError: There is no such request any more.
        """
        with self._lock:
            self._forget_old()
            began = self._began.get(name := _name(state))
            if began is None:
                msg = (
                    '"state" belongs to no sign-in that is pending here: forged, used before, more than '
                    f"{LIFETIME} s old, or begun by another object or process; begin a new one"
                )
                raise OAuthStateError(msg)
            if checked and not began.is_checked:
                msg = "the answer's issuer is not checked: give its URL to parse_authorization_response()"
                raise OAuthStateError(msg)
            del self._began[name]
            return Pending(SecretText(state), began.sealed.open(), began.scope)

    def spend(self, state: str) -> None:
        """Note the state of a request that is kept elsewhere as used.

        Raises:
            OAuthStateError: It has been used here before.
        """
        with self._lock:
            self._forget_old()
            if (name := _name(state)) in self._spent:
                msg = "this sign-in has been completed before; begin a new one"
                raise OAuthStateError(msg)
            self._spent[name] = time.monotonic()
            if len(self._spent) > MAX_SPENT:
                self._spent.popitem(last=False)

    def _forget_old(self) -> None:
        oldest = time.monotonic() - LIFETIME
        while self._began and next(iter(self._began.values())).at < oldest:
            self._began.popitem(last=False)
        while self._spent and next(iter(self._spent.values())) < oldest:
            self._spent.popitem(last=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return PendingRequests, ()


def _name(state: str) -> bytes:
    """What a state is found by. It is not kept: who sees it can forge an answer."""
    return hashlib.sha256(state.encode("utf-8", "surrogatepass")).digest()
