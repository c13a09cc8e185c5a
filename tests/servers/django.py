"""django-oauth-toolkit: an authorization server with pages to sign in, and a resource that it protects.

Access tokens are opaque. Refresh tokens rotate, and one that comes a second time revokes its family with the
access token. The issuer has a path; its metadata are found as RFC 8414 and as OpenID Connect have it.
"""

import importlib.util
import json
import sqlite3
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode, urljoin

import urllib3

from .django_site import DATABASE, PREFIX, TOKEN_LOG, accounts
from .django_site.accounts import Client
from .process import HOST, require, running

PAGES = 8  # more than the way through the site has
TIMEOUT = 20.0  # seconds


class SignInError(Exception):
    """The site did not send the browser to a client; the message carries its last page."""


@dataclass(frozen=True)
class TokenRequest:
    """A request that the token endpoint answered.

    Attributes:
        status: Of the answer.
        authorization: The value of its Authorization, empty without one.
        form: What it sent, each name with all its values.
    """

    status: int
    authorization: str
    form: dict[str, list[str]]


@dataclass(frozen=True)
class Django:
    """Where the site serves, and whom it knows.

    Attributes:
        url: The origin.
        lifetime: Seconds that an access token lives.
        folder: Holds the log, the database and the record of token requests.
        username: A user.
        other_username: Another user.
        password: Of both users.
        service: A confidential client, for client credentials.
        awkward: The same, with an identifier and a secret that must be form-encoded.
        trusted: A confidential client, for the password grant.
        web: A confidential client, for codes; its redirection URI has a query.
        native: A public client, for codes; its redirection URI is on a loopback address and takes any port.
    """

    url: str
    lifetime: int
    folder: Path
    username: str = accounts.USERNAME
    other_username: str = accounts.OTHER_USERNAME
    password: str = accounts.PASSWORD
    service: Client = accounts.SERVICE
    awkward: Client = accounts.AWKWARD
    trusted: Client = accounts.TRUSTED
    web: Client = accounts.WEB
    native: Client = accounts.NATIVE

    @property
    def issuer(self) -> str:
        """The issuer identifier: it has a path."""
        return self.url + PREFIX

    @property
    def token_url(self) -> str:
        """The token endpoint."""
        return f"{self.issuer}/token/"

    @property
    def authorization_url(self) -> str:
        """The authorization endpoint."""
        return f"{self.issuer}/authorize/"

    @property
    def revocation_url(self) -> str:
        """The revocation endpoint."""
        return f"{self.issuer}/revoke_token/"

    @property
    def resource_url(self) -> str:
        """A resource that asks for a token with the scope "read" and says whose it is."""
        return f"{self.url}/api/me"

    def token_requests(self) -> list[TokenRequest]:
        """Returns what the token endpoint answered so far, in this order."""
        path = self.folder / TOKEN_LOG
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [TokenRequest(**json.loads(line)) for line in lines]

    def expire_access_tokens(self) -> None:
        """Makes every access token expired, without a word to those who hold one; refresh tokens live on."""
        with closing(sqlite3.connect(self.folder / DATABASE, timeout=TIMEOUT)) as database, database:
            database.execute("UPDATE oauth2_provider_accesstoken SET expires = '2000-01-01 00:00:00'")

    def sign_in(self, authorization_url: str, *, deny: bool = False, username: str | None = None) -> str:
        """Goes through the pages of the site as a new browser would: signs in, then consents.

        Args:
            authorization_url: Where the client sends the browser.
            deny: Whether the user refuses.
            username: Whom to sign in; the first user unless given.

        Returns:
            The URL to which the site sends the browser in the end, which nobody requests.

        Raises:
            SignInError: The site sends the browser nowhere.
        """
        cookies: dict[str, str] = {}
        url, fields = authorization_url, None
        status, text = 0, ""
        with urllib3.PoolManager(retries=False, timeout=TIMEOUT) as http:
            for _ in range(PAGES):
                status, text, location = visit(http, url, fields, cookies)
                if location is not None:
                    url, fields = urljoin(url, location), None
                    if not url.startswith(f"{self.url}/"):
                        return location
                elif status == 200:
                    fields = self._filled(text, username or self.username, deny=deny)
                else:
                    break
        raise SignInError(f"the last page has status {status}:\n{text}")

    def _filled(self, page: str, username: str, *, deny: bool) -> dict[str, str]:
        """Returns what the form of a page sends when the user has filled it in."""
        form = Form(page)
        if "password" in form.fields:
            return form.fields | {"username": username, "password": self.password}
        return form.fields if deny else form.fields | form.buttons


class Form(HTMLParser):
    """The one form of a page.

    Attributes:
        fields: Its inputs and what they hold.
        buttons: Its buttons that have a name.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.buttons: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Takes up an input."""
        values = dict(attrs)
        if tag == "input" and (name := values.get("name")):
            inputs = self.buttons if values.get("type") == "submit" else self.fields
            inputs[name] = values.get("value") or ""


def visit(
    http: urllib3.PoolManager, url: str, fields: dict[str, str] | None, cookies: dict[str, str]
) -> tuple[int, str, str | None]:
    """Requests a page, or sends its form, with the cookies, and takes up new ones.

    Returns:
        The status, the page, and the Location that a redirect has.
    """
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    if fields is None:
        answer = http.request("GET", url, headers=headers, redirect=False)
    else:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        answer = http.request("POST", url, body=urlencode(fields), headers=headers, redirect=False)
    for value in answer.headers.getlist("Set-Cookie"):
        cookies |= {name: morsel.value for name, morsel in SimpleCookie(value).items()}
    return answer.status, answer.data.decode(), answer.headers.get("Location")


@contextmanager
def serve(folder: Path, lifetime: int = 600) -> Generator[Django]:
    """Serves for the length of a with block.

    Args:
        folder: An empty one.
        lifetime: Seconds until an access token expires; at least 1, as the toolkit takes 0 for its default.
    """
    require(
        importlib.util.find_spec("oauth2_provider"),
        "django-oauth-toolkit is missing: pip install django-oauth-toolkit",
    )

    def configure(ports: list[int]) -> list[str | Path]:
        for path in folder.glob(f"{DATABASE}*"):  # of an attempt at another port
            path.unlink()
        module = f"{__package__}.django_site"
        return [sys.executable, "-W", "ignore", "-m", module, HOST, str(ports[0]), folder, str(lifetime)]

    # Run from the package's parent, so that "django" is the distribution and not this file.
    cwd = Path(__file__).parents[1]
    with running(configure, folder / "django.log", "Serving on", cwd=cwd) as (port,):
        yield Django(f"http://{HOST}:{port}", lifetime, folder)
