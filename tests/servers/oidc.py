"""oidc-provider: an OAuth 2.0 and OpenID Connect server, with two issuers and a small API behind each."""

import base64
import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin
from urllib.request import Request

import urllib3

from .process import HOST, ServerError, require, require_distribution, running

FOLDER = Path(__file__).with_name("oidc_provider")
INSTALL = "npm install --no-package-lock --prefix tests/servers/oidc_provider"
PATH = "/tenant"
ELSEWHERE = "https://elsewhere.test/api"  # an identifier, never contacted
SECONDS = 600  # that an access token lives
PAGES = 12  # that a sign-in takes at most


@dataclass(frozen=True)
class Client:
    """A registered client, known to both issuers.

    Attributes:
        id: its identifier.
        auth_method: of the token endpoint, as RFC 7591 names it.
        secret: for client_secret_basic and client_secret_post.
        algorithm: for private_key_jwt: RS256, ES256 or EdDSA.
        private_key: its key, in PEM.
        kid: the name of the key; an assertion may leave it out.
        redirect_uri: where a sign-in ends; nothing listens there. Any port does for a loopback address.
        seconds: that its access tokens live; None is what `serve` was told.
        rotates: whether a refresh token is used once.
    """

    id: str
    auth_method: str = "client_secret_basic"
    secret: str | None = None
    algorithm: str | None = None
    private_key: str | None = None
    kid: str | None = None
    redirect_uri: str = "https://client.test/callback"
    seconds: int | None = None
    rotates: bool = True

    def metadata(self, seconds: int) -> dict[str, Any]:
        """Returns the registration, as RFC 7591 and oidc-provider name its members."""
        is_public = self.auth_method == "none"
        members: dict[str, Any] = {
            "client_id": self.id,
            "application_type": "native" if is_public else "web",
            "token_endpoint_auth_method": self.auth_method,
            "redirect_uris": [self.redirect_uri],
            "grant_types": ["authorization_code", "refresh_token"],
            "authorization_details_types": ["payment_initiation"],
            "access_token_seconds": self.seconds or seconds,
            "rotates": self.rotates,
        }
        if not is_public:
            members["grant_types"] += ["client_credentials"]
        if self.secret:
            members["client_secret"] = self.secret
        if self.private_key:
            members["jwks"] = {"keys": [public_jwk(self.private_key, self.algorithm, self.kid)]}
        return members


@dataclass(frozen=True)
class Received:
    """A request that reached a token or revocation endpoint.

    Attributes:
        issuer: whose endpoint.
        client_id: the client that it named, authenticated or not; None for an unknown one.
        headers: by lower-case name.
        parameters: of the form, each with all its values.
        status: of the answer.
        answer: its JSON.
    """

    issuer: str
    client_id: str | None
    headers: dict[str, str]
    parameters: dict[str, list[str]]
    status: int
    answer: dict[str, Any]

    @property
    def auth_method(self) -> str:
        """How the client authenticated, or tried to."""
        if "authorization" in self.headers:
            return "client_secret_basic"
        if "client_assertion" in self.parameters:
            return "private_key_jwt"
        return "client_secret_post" if "client_secret" in self.parameters else "none"

    @property
    def assertion_header(self) -> dict[str, Any]:
        """The header of the client assertion."""
        return self._assertion_part(0)

    @property
    def assertion_claims(self) -> dict[str, Any]:
        """The claims of the client assertion."""
        return self._assertion_part(1)

    def _assertion_part(self, index: int) -> dict[str, Any]:
        part = self.parameters["client_assertion"][0].split(".")[index]
        decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
        return decoded


@dataclass(frozen=True)
class Provider:
    """Where oidc-provider serves, and the clients that it knows.

    The endpoints are those of `issuer`; those of `path_issuer` are the same under its path.

    Attributes:
        issuer: its identifier.
        log_path: what the endpoints received.
        private_key_jwt: one client for each algorithm: RS256, ES256 and EdDSA.
        basic: authenticates by client_secret_basic.
        encoded: the same; its id and secret must be form-encoded.
        post: authenticates by client_secret_post.
        public: has no secret, and no client credentials grant.
        short: as `basic`, with access tokens that live for a second.
        kept: as `basic`, with a refresh token that stays the same.
        user: who signs in.
        elsewhere: the identifier of another resource: its tokens are of no use at the API.
    """

    issuer: str
    log_path: Path
    private_key_jwt: dict[str, Client]
    basic: Client = Client("basic", secret="secret-of-basic")
    encoded: Client = Client("an id: 100%+", secret="a secret: 50% & more/=?+")
    post: Client = Client("post", "client_secret_post", secret="secret-of-post")
    public: Client = Client("public", "none", redirect_uri=f"http://{HOST}/callback")
    short: Client = Client("short", secret="secret-of-short", seconds=1)
    kept: Client = Client("kept", secret="secret-of-kept", rotates=False)
    user: str = "ada"
    elsewhere: str = ELSEWHERE

    @property
    def path_issuer(self) -> str:
        """The identifier of the other issuer: the same clients, tokens of its own."""
        return self.issuer + PATH

    @property
    def authorization_url(self) -> str:
        """The authorization endpoint."""
        return f"{self.issuer}/auth"

    @property
    def token_url(self) -> str:
        """The token endpoint."""
        return f"{self.issuer}/token"

    @property
    def revocation_url(self) -> str:
        """The revocation endpoint."""
        return f"{self.issuer}/token/revocation"

    @property
    def resource(self) -> str:
        """The identifier of the API as a resource (RFC 8707)."""
        return f"{self.issuer}/api"

    @property
    def api_url(self) -> str:
        """The protected resource: whose the token is, and what was sent, with any method."""
        return f"{self.issuer}/api/me"

    @property
    def clients(self) -> list[Client]:
        """All of them."""
        named = [self.basic, self.encoded, self.post, self.public, self.short, self.kept]
        return [*named, *self.private_key_jwt.values()]

    def token_requests(self) -> list[Received]:
        """Returns what reached the token endpoints so far; a request is there before its answer is."""
        return self._received("token")

    def revocation_requests(self) -> list[Received]:
        """Returns what reached the revocation endpoints so far."""
        return self._received("revocation")

    def forget(self, access_token: str) -> None:
        """Makes an access token invalid, and that alone: a revocation would end its refresh token, too."""
        headers = {"Authorization": f"Bearer {access_token}"}
        with urllib3.PoolManager(retries=False, timeout=20) as http:
            for issuer in (self.issuer, self.path_issuer):
                if http.request("POST", f"{issuer}/api/forget", headers=headers).status == 204:
                    return
        raise ServerError("the token was not valid")

    def sign_in(self, authorization_url: str, *, deny: bool = False) -> str:
        """Signs the user in through the server's own pages, as a browser without cookies would.

        Args:
            authorization_url: of either issuer.
            deny: Refuses consent, once signed in.

        Returns:
            The URL of the last redirect, which is not requested.

        Raises:
            ServerError: It ended on a page, not on a redirect to the client.
        """
        with Browser() as browser:
            answer = browser.open(authorization_url)
            for _ in range(PAGES):
                page = Page(answer.data.decode())
                if location := answer.headers.get("Location"):
                    target = urljoin(browser.url, location)
                    if not target.startswith(f"{self.issuer}/"):
                        return target
                    answer = browser.open(target)
                elif "login" in page.fields:
                    answer = browser.open(page.action, page.fields | {"login": self.user, "password": "any"})
                elif page.action:
                    answer = browser.open(page.cancel) if deny else browser.open(page.action, page.fields)
                else:
                    break
            raise ServerError(f"{answer.status} from {browser.url}:\n{answer.data.decode()}")

    def _received(self, endpoint: str) -> list[Received]:
        text = self.log_path.read_text() if self.log_path.exists() else ""
        records: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
        return [
            Received(
                issuer=record["issuer"],
                client_id=record["client_id"],
                headers=record["headers"],
                parameters={
                    name: value if isinstance(value, list) else [value]
                    for name, value in record["parameters"].items()
                },
                status=record["status"],
                answer=record["answer"],
            )
            for record in records
            if record["endpoint"] == endpoint
        ]


class Page(HTMLParser):
    """The form of a page of oidc-provider's, and its link that gives up."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action = ""
        self.cancel = ""
        self.fields: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes a form, an input or a link."""
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = given["action"]
        elif tag == "input":
            self.fields[given["name"]] = given.get("value", "")
        elif tag == "a" and given["href"].endswith("/abort"):
            self.cancel = given["href"]


class Browser(urllib3.PoolManager):
    """Keeps cookies, with their paths, and follows no redirect; `url` is what was opened last."""

    def __init__(self) -> None:
        super().__init__(retries=False, timeout=20)
        self.cookies = CookieJar()
        self.url = ""

    def open(self, url: str, form: dict[str, str] | None = None) -> urllib3.BaseHTTPResponse:
        """Requests a page, or posts a form to it."""
        body = None if form is None else urlencode(form).encode()
        request = Request(url, body, {"Accept": "text/html"})
        if form is not None:
            request.add_header("Content-Type", "application/x-www-form-urlencoded")
        self.cookies.add_cookie_header(request)
        headers = dict(request.header_items())
        answer = self.request(request.get_method(), url, body=body, headers=headers, redirect=False)
        readable: Any = answer  # http.cookiejar asks for no more than info().get_all()
        self.cookies.extract_cookies(readable, request)
        self.url = url
        return answer


@contextmanager
def serve(folder: Path, *, seconds: int = SECONDS) -> Generator[Provider]:
    """Serves for the length of a with block; `seconds` is what an access token lives."""
    node = require(shutil.which("node"), f"node is missing: install Node.js 20 and npm, then {INSTALL}")
    require((FOLDER / "node_modules" / "oidc-provider").is_dir(), f"oidc-provider is missing: {INSTALL}")
    require_distribution("cryptography")
    signing = {algorithm: signing_client(algorithm) for algorithm in ("RS256", "ES256", "EdDSA")}
    path = folder / "oidc.json"
    requests = folder / "oidc-requests.jsonl"

    def provider(port: int) -> Provider:
        return Provider(f"http://{HOST}:{port}", requests, signing)

    def configure(ports: list[int]) -> list[str | Path]:
        clients = [client.metadata(seconds) for client in provider(ports[0]).clients]
        settings = {"port": ports[0], "path": PATH, "elsewhere": ELSEWHERE, "requests": str(requests)}
        path.write_text(json.dumps(settings | {"clients": clients}))
        return [node, FOLDER / "server.mjs", path]

    with running(configure, folder / "oidc.log", "listening on") as (port,):
        yield provider(port)


def signing_client(algorithm: str) -> Client:
    """Makes a client for private_key_jwt, with a new key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    match algorithm:
        case "RS256":
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "ES256":
            key = ec.generate_private_key(ec.SECP256R1())
        case _:
            key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    name = algorithm.lower()
    return Client(name, "private_key_jwt", algorithm=algorithm, private_key=pem, kid=f"key-of-{name}")


def public_jwk(private_key: str, algorithm: str | None, kid: str | None) -> dict[str, str | None]:
    """Returns the public key as RFC 7518, section 6, and RFC 8037, section 2, have it."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    def number(value: int, size: int) -> str:
        return unpadded(value.to_bytes(size, "big"))

    def unpadded(octets: bytes) -> str:
        return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()

    match load_pem_private_key(private_key.encode(), None).public_key():
        case rsa.RSAPublicKey() as key:
            n, e = key.public_numbers().n, key.public_numbers().e
            parts = {"kty": "RSA", "n": number(n, key.key_size // 8), "e": number(e, 3)}
        case ec.EllipticCurvePublicKey() as key:
            x, y = key.public_numbers().x, key.public_numbers().y
            parts = {"kty": "EC", "crv": "P-256", "x": number(x, 32), "y": number(y, 32)}
        case ed25519.Ed25519PublicKey() as key:
            parts = {"kty": "OKP", "crv": "Ed25519", "x": unpadded(key.public_bytes_raw())}
        case key:
            raise TypeError(type(key))
    return {**parts, "kid": kid, "alg": algorithm, "use": "sig"}
