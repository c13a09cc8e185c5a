"""How a client proves itself to the authorization server (RFC 6749, section 2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, get_args
from urllib.parse import quote_plus, urlencode

from authlib.oauth2.auth import ClientAuth

from cruds_core import AuthError, Headers, Secret
from cruds_core.secret import MASK, SecretText, credentials_in, fault_of

from .assertion import ASSERTION_TYPE, PrivateKey

if TYPE_CHECKING:
    from cruds_core import SecretSource

#: How a client proves itself, by its names in OpenID Connect Core 1.0, section 9, and RFC 8414, section 2.
Method = Literal["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]


class Authenticated(NamedTuple):
    """A form with the client's credentials: what to send, and what in it must not be shown."""

    headers: Headers
    content: SecretText
    secrets: list[str]

    def __repr__(self) -> str:
        return MASK


class ClientAuthentication:
    """The client's credentials, and the method that sends them.

    Args:
        client_id: The client identifier.
        client_secret: The client secret; None or empty for a client without one.
        private_key: The key of private_key_jwt.
        method: One of `Method`; None to choose it by what is given.
        key_id: The ``kid`` of the key.
        audience: Who is to accept an assertion; ``server`` unless given.
        server: The authorization server.
        form_encode: Whether client_secret_basic encodes id and secret as RFC 6749, section 2.3.1, asks.

    Raises:
        TypeError: One has the wrong type.
        ValueError: They do not go together.
    """

    def __init__(
        self,
        client_id: str,
        client_secret: SecretSource | None,
        private_key: SecretSource | None,
        method: Method | None,
        *,
        key_id: str | None,
        audience: str | None,
        server: str,
        form_encode: bool,
    ) -> None:
        if not isinstance(client_id, str):
            msg = f"client_id must be a str (got {type(client_id).__name__})"
            raise TypeError(msg)
        if fault := "is empty" if not client_id else fault_of(client_id):
            msg = f"client_id {fault}"
            raise ValueError(msg)
        self.client_id = client_id
        has_secret = client_secret is not None and not (isinstance(client_secret, str) and not client_secret)
        self._secret = Secret(cast("SecretSource", client_secret), "client_secret") if has_secret else None
        self._key = None if private_key is None else PrivateKey(private_key, key_id)
        if audience is not None and not isinstance(audience, str):
            msg = f"assertion_audience must be a str (got {type(audience).__name__})"
            raise TypeError(msg)
        if private_key is None and (key_id is not None or audience is not None):
            msg = "private_key_id and assertion_audience are of no use without a private_key"
            raise ValueError(msg)
        self._audience = audience or server
        self._form_encode = form_encode
        guess: Method = "client_secret_basic" if self._secret else "none"
        chosen: Method = "private_key_jwt" if self._key else guess
        self.method: Method = chosen if method is None else method
        if not isinstance(method, str | None) or self.method not in get_args(Method):
            names = ", ".join(f'"{name}"' for name in get_args(Method))
            got = repr(method) if isinstance(method, str) else type(method).__name__
            msg = f"token_endpoint_auth_method must be one of {names} (got {got})"
            raise ValueError(msg)
        if self.method.startswith("client_secret") is (self._secret is None):
            msg = (
                f'token_endpoint_auth_method "{self.method}" sends the client_secret, which is missing'
                if self._secret is None
                else f'client_secret is given, which token_endpoint_auth_method "{self.method}" does not send'
            )
            raise ValueError(msg)
        if (self.method == "private_key_jwt") is (self._key is None):
            msg = 'private_key and the token_endpoint_auth_method "private_key_jwt" need each other'
            raise ValueError(msg)
        # RFC 7617, section 2: what stands before the first colon is the user-id.
        if self.method == "client_secret_basic" and not form_encode and ":" in client_id:
            msg = "client_id holds a colon, which client_secret_basic can send only form-encoded"
            raise ValueError(msg)

    @property
    def is_public(self) -> bool:
        """Whether nothing proves the client (RFC 6749, section 2.1)."""
        return self._secret is None and self._key is None

    def prepare(self, url: str, form: SecretText) -> Authenticated:
        """Add the credentials to a form that is to be posted to ``url``.

        Raises:
            AuthError: A callable did not return the secret.
        """
        secret = SecretText() if self._secret is None else self._secret.reveal()
        if self._secret is not None and not secret:
            msg = "what the callable given as client_secret returned is empty"
            raise AuthError(msg)
        client_id, method, shown = self.client_id, self.method, [secret]
        if self._key is not None:
            secret, method = self._key.sign(client_id, self._audience), "none"
            assertion = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": secret}
            form = SecretText(f"{form}&{urlencode(assertion)}")
            shown = [secret]
        elif method == "client_secret_basic":
            # authlib encodes nothing but Latin-1; what it is given here is ASCII, or octets of UTF-8.
            encode = quote_plus if self._form_encode else _as_octets
            client_id, secret = encode(client_id), SecretText(encode(secret))
        headers = Headers({"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"})
        auth: Any = ClientAuth(client_id, secret, method)
        content = SecretText(auth.prepare("POST", url, headers, form)[2])
        sent = credentials_in("Authorization", headers.get("Authorization", ""))
        return Authenticated(headers, content, [*shown, secret, *sent])


def _as_octets(text: str) -> str:
    return text.encode().decode("latin-1")
