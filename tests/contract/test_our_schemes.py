"""The schemes that we ship keep the contract that we ask of others."""

import base64
import hashlib
import re
import time
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from cruds_core import AuthABC
from cruds_core.testing import AuthContract, Received, Reply

USERNAME, PASSWORD = "ada", "correct horse"
KEY = "a-key-of-23-characters."
LIFETIME = 3600  # seconds


class TestBearer(AuthContract):
    """A token that does not change."""

    scheme = "bearer"
    secrets = ("token",)
    bad_options = ({"token": ""}, {"token": "ä-token-of-ours"}, {"token": "Bearer of-something"})

    def options(self, url: str) -> dict[str, Any]:
        """A token."""
        return {"token": KEY}

    def verify(self, request: Received) -> None:
        """RFC 6750, section 2.1."""
        assert request.headers["Authorization"] == f"Bearer {KEY}"


class TestBasic(AuthContract):
    """A username and a password."""

    scheme = "basic"
    secrets = ("password",)
    bad_options = ({"username": "a:b"}, {"username": "a\nb"}, {"password": "a\rpassword"})

    def options(self, url: str) -> dict[str, Any]:
        """Both."""
        return {"username": USERNAME, "password": PASSWORD}

    def verify(self, request: Received) -> None:
        """RFC 7617, section 2."""
        expected = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        assert request.headers["Authorization"] == f"Basic {expected}"


class TestApiKey(AuthContract):
    """A key in a header."""

    scheme = "apikey"
    secrets = ("key",)
    bad_options = ({"name": ""}, {"name": "a b"}, {"key": ""}, {"key": "a\nkey"}, {"location": "body"})
    sends_header = "X-API-Key"

    def options(self, url: str) -> dict[str, Any]:
        """The header and the key."""
        return {"name": "X-API-Key", "key": KEY, "location": "header"}

    def verify(self, request: Received) -> None:
        """The key stands there as it is."""
        assert request.headers["X-API-Key"] == KEY


class TestApiKeyInQuery(AuthContract):
    """A key in a query parameter."""

    scheme = "apikey"
    secrets = ("key",)
    sends_header = None

    def options(self, url: str) -> dict[str, Any]:
        """The parameter and the key."""
        return {"name": "key", "key": KEY, "location": "query"}

    def verify(self, request: Received) -> None:
        """The key stands there once."""
        assert parse_qs(urlsplit(request.url).query)["key"] == [KEY]


class TestApiKeyInCookie(AuthContract):
    """A key in a cookie."""

    scheme = "apikey"
    secrets = ("key",)
    sends_header = "Cookie"

    def options(self, url: str) -> dict[str, Any]:
        """The cookie and the key."""
        return {"name": "key", "key": KEY, "location": "cookie"}

    def verify(self, request: Received) -> None:
        """RFC 6265, section 4.2.1."""
        assert request.headers["Cookie"] == f"key={KEY}"


class TestDigest(AuthContract):
    """A password that is proven, of a server that asks for it."""

    scheme = "digest"
    secrets = ("password",)
    bad_options = ({"username": "a\nb"}, {"password": "a\rpassword"})
    answers_challenge = 'Digest realm="contract", nonce="abc", algorithm=SHA-256, qop="auth"'

    def options(self, url: str) -> dict[str, Any]:
        """A username and a password."""
        return {"username": USERNAME, "password": PASSWORD}

    def verify(self, request: Received) -> None:
        """RFC 7616, section 3.4.1."""
        scheme, _, rest = request.headers["Authorization"].partition(" ")
        sent = {name: text or word for name, text, word in re.findall(r'(\w+)=(?:"([^"]*)"|([^,\s]+))', rest)}
        assert (scheme, sent["username"], sent["uri"]) == ("Digest", USERNAME, request.target)
        a1, a2 = f"{USERNAME}:contract:{PASSWORD}", f"{request.method}:{request.target}"
        if sent["qop"] == "auth-int":
            a2 += f":{_sha256(request.content)}"
        middle = ":".join(sent[name] for name in ("nonce", "nc", "cnonce", "qop"))
        assert sent["response"] == _sha256(f"{_sha256(a1.encode())}:{middle}:{_sha256(a2.encode())}".encode())


class TestDigestOfContent(TestDigest):
    """A password that is proven for one content (qop=auth-int)."""

    answers_challenge = 'Digest realm="contract", nonce="abc", algorithm=SHA-256, qop="auth-int"'
    signs_content = True


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class TestOAuth2(AuthContract):
    """A program that gets tokens for itself."""

    scheme = "oauth2"
    secrets: ClassVar[tuple[str, ...]] = ("client_secret",)
    bad_options: ClassVar[tuple[dict[str, Any], ...]] = (
        {"url": "not a URL"},
        {"url": "http://api.example.com/token"},
        {"client_id": ""},
        {"client_secret": ""},
    )
    renews_tokens = True
    needs_server = True

    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A clock that can be set forward, and an authorization server that has issued nothing yet."""
        now, self.ahead = time.time, 0.0
        monkeypatch.setattr(time, "time", lambda: now() + self.ahead)
        self.tokens: list[str] = []

    def options(self, url: str) -> dict[str, Any]:
        """A confidential client."""
        return {
            "url": f"{url}/token",
            "client_id": "app",
            "client_secret": "the client's secret",
            "scope": "read",
        }

    def verify(self, request: Received) -> None:
        """The token is one that was issued."""
        scheme, _, token = request.headers["Authorization"].partition(" ")
        assert scheme == "Bearer"
        assert token in self.tokens

    def respond(self, request: Received) -> Reply:
        """Issue another token to the client (RFC 6749, section 4.4)."""
        assert request.target == "/token"
        assert parse_qs(request.content.decode())["grant_type"] == ["client_credentials"]
        self.tokens.append(f"token-number-{len(self.tokens)}")
        return Reply.json({"access_token": self.tokens[-1], "token_type": "Bearer", "expires_in": LIFETIME})

    def expire(self, auth: AuthABC) -> None:
        """Let the lifetime of a token pass."""
        self.ahead += LIFETIME


class TestOAuth2Refresh(TestOAuth2):
    """A user whose token is refreshed, with a refresh token that is another one each time."""

    secrets: ClassVar[tuple[str, ...]] = ("client_secret", "password")
    bad_options: ClassVar[tuple[dict[str, Any], ...]] = ({"username": ""}, {"password": "a\npassword"})

    @pytest.fixture(autouse=True)
    def family(self) -> None:
        """The refresh tokens that were used."""
        self.spent: list[str] = []

    def options(self, url: str) -> dict[str, Any]:
        """The user's password, too."""
        return {**super().options(url), "username": USERNAME, "password": PASSWORD}

    def respond(self, request: Received) -> Reply:
        """Issue tokens (RFC 6749, section 6), and none for a refresh token that was used before."""
        form = parse_qs(request.content.decode())
        assert form["grant_type"][0] in ("password", "refresh_token")
        used = form.get("refresh_token", [""])[0]
        if used in self.spent:
            return Reply.json({"error": "invalid_grant"}, 400)
        self.spent += [used] * bool(used)
        self.tokens.append(f"token-number-{len(self.tokens)}")
        return Reply.json(
            {
                "access_token": self.tokens[-1],
                "refresh_token": f"refresh-{self.tokens[-1]}",
                "token_type": "Bearer",
                "expires_in": LIFETIME,
            }
        )
