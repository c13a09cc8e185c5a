"""The Python examples of the documents, and a place with servers where they run as they stand."""

import builtins
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from cruds.demo.api import DemoAPI
from cruds.demo.authorization import AuthorizationServer

ROOT = Path(__file__).parents[1]
PLACES = ("*.md", "cruds_*/README.md", "docs/**/*.md")
PAGES = sorted(page for place in PLACES for page in ROOT.glob(place) if "node_modules" not in page.parts)


def blocks(page: Path | str) -> list[str]:
    """Returns the Python examples of a page, which is named by its path below the root."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)


@dataclass
class Stage:
    """The servers that the examples talk to, and what came of one.

    Attributes:
        authority: In the place of auth.example.com.
        api: In the place of api.example.com/v1.
        said: What was printed, a line for each call of print().
        answers: What the user answers to input(), in turn; else the URL that a browser comes back to, which
            was sent where the last line says.
    """

    authority: AuthorizationServer
    api: DemoAPI
    said: list[str] = field(default_factory=list[str])
    answers: list[str] = field(default_factory=list[str])

    def put_in(self, example: str) -> str:
        """Returns an example with the addresses of the servers."""
        example = re.sub(r"https?://api\.example\.com(/v1)?", self.api.url, example)
        example = re.sub(r"api\.example\.com(/v1)?", self.api.url.removeprefix("http://"), example)
        return re.sub(r"https://auth\.example\.com", self.authority.url, example)

    def run(self, example: str) -> ModuleType:
        """Runs an example, and returns the module that it is: what it defines can be imported."""
        module = ModuleType("example")
        sys.modules["example"] = module
        exec(compile(self.put_in(example), "example", "exec"), vars(module))  # noqa: S102 - our own text
        return module


@contextmanager
def staged(monkeypatch: pytest.MonkeyPatch, home: Path) -> Generator[Stage]:
    """A stage for the length of a with block. Its files are in a folder of the test's."""
    with (
        AuthorizationServer(
            client_id="a-client", client_secret="a secret", username="ada", password="ada's password"
        ) as authority,
        DemoAPI(
            username="ada",
            password="secret",
            token=lambda token: token == "a bearer token" or authority.is_active(token),
        ) as api,
    ):
        stage = Stage(authority, api)

        def show(*words: object) -> None:
            stage.said.append(" ".join(map(str, words)))

        def ask(_: str = "") -> str:
            return stage.answers.pop(0) if stage.answers else authority.sign_in(stage.said[-1].split()[-1])

        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("CLIENT_SECRET", "a secret")
        monkeypatch.setenv("TOKEN_KEY", "8UPvlpTPxx0MCBh5xPYXUO6xWmfK3O3zlwLWXBBpZuM=")
        monkeypatch.setattr(builtins, "print", show)
        monkeypatch.setattr(builtins, "input", ask)
        monkeypatch.setitem(sys.modules, "example", ModuleType("example"))  # and taken away again
        yield stage
