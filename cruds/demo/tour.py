"""What `make demo` shows: the client at work against an API on this machine, and what a caller sees."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic, sleep

from rich.console import Console
from rich.text import Text

from cruds import Client
from cruds.demo.api import DemoAPI
from cruds.demo.authorization import AuthorizationServer
from cruds_auth_oauth2 import OAuth2
from cruds_core import StatusError


class Story:
    """Prints each step as a line: what was done, and what came of it."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def title(self, text: str) -> None:
        """Begin a part."""
        self._console.print(Text(f"\n{text}", style="bold"))

    def step(self, done: str, result: object) -> None:
        """Print a call that returned."""
        self._line(done, str(result), "green")

    @contextmanager
    def refused(self, done: str, status: int) -> Generator[None]:
        """Print a call that is refused with this status; it is an error if it is not."""
        try:
            yield
        except StatusError as error:
            if error.status != status:
                raise
            self._line(done, f"{type(error).__name__}: {error}", "yellow")
        else:
            msg = f"the API should have refused this with {status}: {done}"
            raise AssertionError(msg)

    def _line(self, done: str, result: str, style: str) -> None:
        self._console.print(Text.assemble(f"  {done:<40} ", (result, style)), soft_wrap=True)


def tour(console: Console | None = None) -> None:
    """Start the API, walk through the client's calls, and end the API.

    Args:
        console: Where it is printed; standard output unless given.
    """
    story = Story(console or Console(highlight=False))
    with DemoAPI() as api, tempfile.TemporaryDirectory() as folder:
        story.title(f"A JSON API at {api.url}, and a Client with username and password")
        with Client(api.url, auth=(api.username, api.password)) as client:
            _crud(story, client)
            _files(story, client, folder)
            _refusals(story, client)
        story.title("The same API with a bearer token, and with nothing")
        with Client(api.url, auth=api.token) as client:
            story.step('read("books")', client.read("books"))
        with Client(api.url) as client, story.refused('read("books") without credentials', 401):
            client.read("books")
        story.title(f"{len(api.requests)} requests over {api.connections} connections")
    _oauth2(story)
    story.title("The code: cruds/demo/tour.py")


def _crud(story: Story, client: Client) -> None:
    story.step('create("books", {...})', client.create("books", {"name": "Dune", "year": 1956}))
    story.step('create("books", {...})', client.create("books", {"name": "Emma", "year": 1815}))
    story.step('read("books")', client.read("books"))
    story.step('read("books", params={"year": 1815})', client.read("books", params={"year": 1815}))
    story.step('read("books/1")', client.read("books/1"))
    story.step('update("books/1", {"year": 1965})', client.update("books/1", {"year": 1965}))
    replacement = {"name": "Dune", "pages": 412}
    story.step('update("books/1", {...}, replace=True)', client.update("books/1", replacement, replace=True))
    story.step('delete("books/2")', client.delete("books/2"))


def _files(story: Story, client: Client, folder: str) -> None:
    story.title("Files: uploaded as a form, streamed, and downloaded whole or not at all")
    cover = io.BytesIO(b"\x89PNG" + bytes(1 << 20))
    answer = client.create("books/1/files", None, files={"note": "front", "cover": ("cover.png", cover)})
    story.step('create("books/1/files", files=...)', answer["files"][0])
    path = client.download("books/1/files/cover.png", folder)
    story.step('download("books/1/files/cover.png")', f"{path.name}, {path.stat().st_size} bytes")


def _refusals(story: Story, client: Client) -> None:
    story.title("What a caller sees when the answer is no")
    with story.refused('read("books/99")', 404):
        client.read("books/99")
    with story.refused('create("books", {"name": "Dune"})', 409):
        client.create("books", {"name": "Dune"})
    with story.refused('create("books", {"title": "Dune"})', 422):
        client.create("books", {"title": "Dune"})
    start = monotonic()
    answer = client.read("flaky", params={"key": "demo", "times": 1, "status": 503, "retry_after": 1})
    story.step(
        'read("flaky"): 503, Retry-After: 1', f"{answer}, {monotonic() - start:.1f} s later, by itself"
    )
    with story.refused('read("flaky"): Retry-After: 3600', 503):
        client.read("flaky", params={"key": "later", "times": 9, "status": 503, "retry_after": 3600})


def _oauth2(story: Story) -> None:
    with AuthorizationServer(lifetime=1) as authority, DemoAPI(token=authority.is_active) as api:
        story.title(f"The same API with OAuth 2.0: client credentials, from {authority.url}")
        oauth2 = OAuth2(authority.token_url, authority.client_id, authority.client_secret, "read write")
        with Client(api.url, auth=oauth2) as client:
            story.step('create("books", {...})', client.create("books", {"name": "Dune"}))
            if (token := oauth2.token) and token.expires_at:
                story.step("oauth2.token", f"{token.scope}, until {token.expires_at:%H:%M:%S} UTC")
            sleep(1)
            story.step("1 s later: is_valid()", oauth2.is_valid())
            story.step('read("books"), with a new token', client.read("books"))
            sleep(1)
            authority.lifetime = 3600
            before = len(authority.token_requests)
            with ThreadPoolExecutor(32) as threads:
                list(threads.map(client.read, ["books/1"] * 32))
            asked = len(authority.token_requests) - before
            story.step("expired again, and 32 threads read", f"{asked} token request")
            authority.revoke_all()
            story.step("the server revokes it: is_valid()", f"{oauth2.is_valid()}: nobody told us")
            found = client.read("books")
            refused, answered = (request.status for request in api.requests[-2:])
            story.step('read("books")', f"{refused}, a new token, {answered}: {found}")
