"""An OAuth 2.0 authorization server in memory, for the demo and the tests."""

# Authlib's stubs leave types out.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
from collections import deque
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from math import inf
from secrets import token_urlsafe
from threading import Lock
from time import sleep
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cruds.demo.authority import AUTH_METHODS, Authority, Credential, Request
from cruds_core.testing.server import Connection, Reply, Server

BROWSER_TIMEOUT = 10.0  # seconds


class Endpoints(Connection):
    """A client's or a browser's connection."""

    server: "AuthorizationServer"  # pyright: ignore[reportIncompatibleVariableOverride]

    def reply(self) -> Reply:
        """Answer one request at a time."""
        with self.server.lock:
            return self.route()

    def route(self) -> Reply:
        """Answer by the endpoint at the path."""
        method, endpoint = ENDPOINTS.get(self.path, ("", None))
        if endpoint is None:
            raise self.problem(404, "there is nothing at this path")
        if self.command != method:
            raise self.problem(405, f"{self.command} is not allowed here", {"Allow": method})
        accepted = "application/x-www-form-urlencoded"
        if method == "POST" and self.headers.get_content_type() != accepted:
            raise self.problem(415, f'the content must be "{accepted}"', {"Accept": accepted})
        return endpoint(self)

    def form(self) -> dict[str, list[str]]:
        """Return the values of each field in the content."""
        return parse_qs(self.content.decode(errors="replace"), keep_blank_values=True)

    def metadata(self) -> Reply:
        """Describe the server (RFC 8414, section 2)."""
        server = self.server
        described = {
            "issuer": server.issuer,
            "authorization_endpoint": server.authorization_url,
            "token_endpoint": server.token_url,
            "revocation_endpoint": server.revocation_url,
            "scopes_supported": server.scope.split(),
            "response_types_supported": ["code"],
            "grant_types_supported": [
                "authorization_code",
                "client_credentials",
                "password",
                "refresh_token",
            ],
            "token_endpoint_auth_methods_supported": server.auth_methods,
            "revocation_endpoint_auth_methods_supported": server.auth_methods,
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        return Reply.json(described)

    def authorize(self) -> Reply:
        """Answer an authorization request."""
        authority = self.server.authority
        return authority.answer(Request(self, self.query), authority.authorize)

    def revoke(self) -> Reply:
        """Answer a revocation request."""
        authority = self.server.authority
        return authority.answer(Request(self, self.form()), authority.revoke)

    def token(self) -> Reply:
        """Carry out a token request, unless its answer is given."""
        server, form = self.server, self.form()
        if server.answers:
            reply = server.answers.popleft()
        else:
            authority = server.authority
            reply = authority.answer(Request(self, form), authority.create_token_response)
        fields = {name: texts if len(texts) > 1 else texts[0] for name, texts in form.items()}
        server.token_requests.append({**fields, "status": reply.status})
        return reply

    def send(self, reply: Reply) -> None:
        """Send a reply, that of a token request after the delay."""
        if self.path == "/token":
            sleep(self.server.delay)
        super().send(reply)


ENDPOINTS: dict[str, tuple[str, Callable[[Endpoints], Reply]]] = {
    "/.well-known/oauth-authorization-server": ("GET", Endpoints.metadata),
    "/authorize": ("GET", Endpoints.authorize),
    "/token": ("POST", Endpoints.token),
    "/revoke": ("POST", Endpoints.revoke),
}


@dataclass(kw_only=True, eq=False, repr=False)
class AuthorizationServer(Server):
    """The server, from its construction until ``close()``: a context manager, with one client and one user.

    All of its settings may be changed while it runs.

    Args:
        client_id: of the client; this and the next three are random unless given.
        client_secret: of the client; an empty one makes it a public client.
        username: of the user.
        password: of the user.
        scope: what may be granted; more is left out, and it is an error when nothing remains.
        lifetime: seconds of an access token.
        rotates: whether a refresh gives a new refresh token. Reuse of the old one revokes the family.
        issues_refresh_tokens: the grant types that give a refresh token (RFC 6749, section 4.4.3).
        redirect_uri: the one that is registered; any is accepted unless given.

    Attributes:
        issuer: the same as ``url``; the endpoints are ``token_url``, ``authorization_url`` and
            ``revocation_url``.
        denies: whether the user denies what authorization requests ask for.
        delay: seconds between the execution of a token request and its answer; other requests go on.
        answers: the answers to the next token requests, which then are not executed.
        token_requests: the fields of each token request, in the order of arrival, and the "status" of its
            answer; the value of a repeated field is a list.
    """

    client_id: str = field(default_factory=token_urlsafe)
    client_secret: str = field(default_factory=token_urlsafe)
    username: str = field(default_factory=token_urlsafe)
    password: str = field(default_factory=token_urlsafe)
    scope: str = "read write"
    lifetime: float = 3600
    rotates: bool = False
    issues_refresh_tokens: Collection[str] = ("authorization_code", "password")
    redirect_uri: str | None = None

    def __post_init__(self) -> None:
        self.denies, self.delay = False, 0.0
        self.answers: deque[Reply] = deque()
        self.token_requests: list[dict[str, Any]] = []
        self.issued: dict[str, dict[str, Credential]]
        self.issued = {"code": {}, "access_token": {}, "refresh_token": {}}
        self.authority = Authority(self)
        self.lock = Lock()
        super().__init__(Endpoints)
        self.issuer, self.authorization_url = self.url, f"{self.url}/authorize"
        self.token_url, self.revocation_url = f"{self.url}/token", f"{self.url}/revoke"

    @property
    def auth_methods(self) -> list[str]:
        """How the client may authenticate."""
        return AUTH_METHODS[:2] if self.client_secret else AUTH_METHODS[2:]

    def is_active(self, token: str) -> bool:
        """Say whether an access token was issued, and has neither expired nor been revoked.

        Args:
            token: the access token.
        """
        with self.lock:
            credential = self.issued["access_token"].get(token)
            return credential is not None and credential.is_active()

    def revoke_all(self) -> None:
        """Revoke every access token and refresh token."""
        with self.lock:
            for credential in [*self.issued["access_token"].values(), *self.issued["refresh_token"].values()]:
                credential.is_spent = True

    def expire_all(self) -> None:
        """Let every access token be expired now."""
        with self.lock:
            for credential in self.issued["access_token"].values():
                credential.expires_at = -inf

    def sign_in(self, authorization_url: str) -> str:
        """Request a URL as a browser does, and return the Location of the redirect without following it.

        Args:
            authorization_url: where the client sends the browser.

        Raises:
            ValueError: the answer is no redirect; the text is its content.
        """
        url = urlsplit(authorization_url)
        with closing(HTTPConnection(url.netloc, timeout=BROWSER_TIMEOUT)) as browser:
            browser.request("GET", f"{url.path}?{url.query}")
            answer = browser.getresponse()
            content, location = answer.read().decode(), answer.getheader("Location")
        if location is None:
            raise ValueError(content)
        return location
