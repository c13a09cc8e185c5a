"""Schemes that keep the contract, each with its contract: what the wrong ones are made of."""

import hashlib
import hmac
import re
import secrets
import time
from importlib.metadata import EntryPoint
from typing import Any, cast

from urllib3 import BaseHTTPResponse

from cruds_core import AuthABC, AuthError, Client, Plugins, Request, Secret, SecretSource, hookimpl
from cruds_core.testing import AuthContract, Received, Reply

SECRET = "a key of 21 characters"
PLUGINS = Plugins(
    [
        EntryPoint(name, "contract.right_schemes", "cruds.auth")
        for name in ("key", "named", "token", "signer", "answerer")
    ]
)
LIFETIME = 3600.0  # seconds


class Key(AuthABC):
    """A key in a header."""

    def __init__(self, key: SecretSource) -> None:
        if key == "":
            raise ValueError("key is empty")
        self._key = Secret(key, "key")

    def authenticate(self, request: Request) -> None:
        """Send it."""
        request.headers["X-Key"] = self._key.reveal()


class Named(Key):
    """A key with a name that is none of the secrets."""

    def __init__(self, user: str, key: SecretSource) -> None:
        super().__init__(key)
        if not isinstance(user, str):
            raise TypeError("user must be a str")
        self._user = user

    def authenticate(self, request: Request) -> None:
        """Send both."""
        super().authenticate(request)
        request.headers["X-Auth-User"] = self._user

    def __repr__(self) -> str:
        return f"Named(user={self._user!r})"


class Token(AuthABC):
    """A token of a server of its own, which wants a key."""

    def __init__(self, url: str, key: SecretSource) -> None:
        if not isinstance(url, str):
            raise TypeError("url must be a str")
        self.expiry = 0.0  # seconds, of the monotonic clock
        self._client = Client(url, Key(key), retries=0)

    def access_token(self) -> str:
        """Get one."""
        answer = self._client.create("token", None)
        if not isinstance(answer, dict) or not isinstance(cast("Any", answer).get("token"), str):
            raise AuthError("the answer of the server holds no token")
        self.expiry = time.monotonic() + LIFETIME
        return str(cast("Any", answer)["token"])

    def is_valid(self) -> bool:
        """Whether it has not expired."""
        return time.monotonic() < self.expiry

    def close(self) -> None:
        """Close the connections to the server."""
        self._client.close()


class Signer(AuthABC):
    """A signature of all that is sent, with a nonce that is good for one attempt."""

    def __init__(self, key: SecretSource) -> None:
        self._key = Secret(key, "key")

    def authenticate(self, request: Request) -> None:
        """Sign it."""
        content = self.read(request)
        nonce = request.headers["X-Nonce"] = secrets.token_hex(8)
        request.headers["X-Signature"] = sign(self._key.reveal(), nonce, request.method, request.url, content)

    def read(self, request: Request) -> bytes:
        """The content."""
        if not request.is_repeatable:
            raise AuthError("a stream cannot be read to be signed, and again to be sent")
        if isinstance(request.content, bytes | None):
            return request.content or b""
        return request.content.read()


class Answerer(AuthABC):
    """A proof that the key is known, for a server that asks for it."""

    def __init__(self, key: SecretSource) -> None:
        self._key = Secret(key, "key")
        self._nonce: str | None = None

    def authenticate(self, request: Request) -> None:
        """Prove it, if the server has asked."""
        if self._nonce is not None:
            proof = sign(self._key.reveal(), self._nonce, request.method, request.url, b"")
            request.headers["Authorization"] = f"Proof {proof}"

    def handle_challenge(self, request: Request, response: BaseHTTPResponse) -> bool:
        """Prove it with this nonce, unless that was refused."""
        nonce = self.nonce_in(response.headers.get("WWW-Authenticate", ""))
        if nonce is None or (nonce == self._nonce and "Authorization" in request.headers):
            return False
        self._nonce = nonce
        return True

    def nonce_in(self, challenge: str) -> str | None:
        """The nonce of a challenge; None where it asks for something else."""
        found = re.fullmatch('Proof realm="contract", nonce="([^"]+)"', challenge)
        return found and found[1]


def sign(key: str, nonce: str, method: str, url: str, content: bytes) -> str:
    """The signature that the server expects, too."""
    text = "\n".join([nonce, method, url, hashlib.sha256(content).hexdigest()])
    return hmac.new(key.encode(), text.encode(), "sha256").hexdigest()


class KeyContract(AuthContract):
    """A key in a header."""

    scheme = "key"
    secrets = ("key",)
    bad_options = ({"key": ""},)
    sends_header = "X-Key"

    def options(self, url: str) -> dict[str, Any]:
        """The key."""
        return {"key": SECRET}

    def verify(self, request: Received) -> None:
        """It is there as it is."""
        assert request.headers["X-Key"] == SECRET


class KeyFunctionContract(KeyContract):
    """A key that a function returns."""

    def options(self, url: str) -> dict[str, Any]:
        """The function."""
        return {"key": lambda: SECRET}


class NamedContract(KeyContract):
    """A key with a name."""

    scheme = "named"

    def options(self, url: str) -> dict[str, Any]:
        """Both."""
        return {"user": "ada lovelace", "key": SECRET}


class TokenContract(AuthContract):
    """A token of a server of its own."""

    scheme = "token"
    secrets = ("key",)
    renews_tokens = True
    needs_server = True

    def __init__(self) -> None:
        self.issued: list[str] = []

    def options(self, url: str) -> dict[str, Any]:
        """The server and the key."""
        return {"url": url, "key": SECRET}

    def verify(self, request: Received) -> None:
        """It is one that was issued."""
        assert request.headers["Authorization"] in [f"Bearer {token}" for token in self.issued]

    def respond(self, request: Received) -> Reply:
        """Issue another one."""
        assert (request.target, request.headers["X-Key"]) == ("/token", SECRET)
        self.issued.append(f"token-number-{len(self.issued)}")
        return Reply.json({"token": self.issued[-1]})

    def expire(self, auth: AuthABC) -> None:
        """Let it be of the past."""
        cast("Token", auth).expiry = 0.0


class SignerContract(AuthContract):
    """A signature, which a server takes once."""

    scheme = "signer"
    secrets = ("key",)
    sends_header = "X-Signature"
    signs_content = True

    def __init__(self) -> None:
        self.nonces: dict[str, str] = {}

    def options(self, url: str) -> dict[str, Any]:
        """The key."""
        return {"key": SECRET}

    def verify(self, request: Received) -> None:
        """It is that of this request, and its nonce is new."""
        nonce, signature = request.headers["X-Nonce"], request.headers["X-Signature"]
        assert signature == sign(SECRET, nonce, request.method, request.url, request.content)
        assert nonce not in self.nonces, "the nonce was used before"
        self.nonces[nonce] = signature


class AnswererContract(AuthContract):
    """A proof that is asked for."""

    scheme = "answerer"
    secrets = ("key",)
    answers_challenge = 'Proof realm="contract", nonce="abc"'

    def __init__(self) -> None:
        self.seen: list[Received] = []

    def options(self, url: str) -> dict[str, Any]:
        """The key."""
        return {"key": SECRET}

    def verify(self, request: Received) -> None:
        """It is that of this request, which a server sees once."""
        assert not any(request is one for one in self.seen), "the request was seen before"
        self.seen.append(request)
        proof = sign(SECRET, "abc", request.method, request.url, b"")
        assert request.headers["Authorization"] == f"Proof {proof}"


@hookimpl
def cruds_register_auth(register: Any) -> None:
    """Register all."""
    for scheme in (Key, Named, Token, Signer, Answerer):
        register(scheme.__name__.lower(), scheme)
