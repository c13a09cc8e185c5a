"""The examples of the README and the documents run, against the embedded API."""

import builtins
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from cruds.demo.api import DemoAPI
from cruds.demo.authorization import AuthorizationServer

ROOT = Path(__file__).parents[1]
PLACES = ("*.md", "cruds_*/README.md", "docs/*.md", "docs/examples/*/README.md")
PAGES = [page for place in PLACES for page in ROOT.glob(place)]
EXAMPLES = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")
    for page in sorted(PAGES)
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S), 1)
]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of a pool, while the servers have threads
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs(example: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every Python example of the documents runs as it stands, with the API's address put in."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with (
        AuthorizationServer(client_id="a-client", client_secret="a secret") as authority,
        DemoAPI(
            username="ada",
            password="secret",
            token=lambda token: token == "a bearer token" or authority.is_active(token),
        ) as api,
    ):
        code = re.sub(r"https?://api\.example\.com(/v1)?", api.url, example)
        code = re.sub(r"api\.example\.com(/v1)?", api.url.removeprefix("http://"), code)
        code = re.sub(r"https://auth\.example\.com", authority.url, code)
        module = ModuleType("example")
        monkeypatch.setitem(sys.modules, "example", module)  # what it defines can be imported, as by a pickle
        said: list[str] = []

        def show(*words: object) -> None:
            said.append(" ".join(map(str, words)))

        def ask(_: str) -> str:
            """A user who goes where the program says, and tells where the browser was sent."""
            return authority.sign_in(said[-1].split()[-1])

        monkeypatch.setattr(builtins, "print", show)
        monkeypatch.setattr(builtins, "input", ask)
        exec(compile(code, "example", "exec"), vars(module))  # noqa: S102 - our own text
        if "def callback(session, url)" in example:
            session: dict[str, str] = {}
            assert module.callback(session, authority.sign_in(module.login(session))) == []
        if "def main()" in example:
            module.main()
            assert said == [f"[{', '.join(['[]'] * 10)}]"]


def test_the_store_of_the_documents_keeps_the_contract(tmp_path: Path) -> None:
    """The store that docs/stores.md shows passes its own tests, as they stand there."""
    [example] = [param.values[0] for param in EXAMPLES if "(StoreContract)" in str(param.values[0])]
    (tmp_path / "test_store.py").write_text(str(example))
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        str(tmp_path),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert ran.returncode == 0, ran.stdout
    assert " passed" in ran.stdout


def test_local_links_lead_somewhere() -> None:
    """Every relative link of the documents names a file that is there."""
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_tests_that_the_security_page_names_are_there() -> None:
    """Each test in the table of docs/security.md is one that runs."""
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    source = ""
    named = re.findall(r"`(test_\w+\.py)?(?:::)?(test_\w+)?`", page)
    assert len(named) > 100
    for file, name in named:
        source = (ROOT / "tests" / "oauth2" / file).read_text(encoding="utf-8") if file else source
        assert not name or f"def {name}(" in source, f"{file}::{name}"


def test_the_tests_that_the_reliability_page_names_are_there() -> None:
    """Each row of a table in docs/reliability.md names a test, and each is one that runs."""
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = [row for row in re.findall(r"^\| (?!what |---|\*\*)(.*) \|$", page, re.M) if row.strip("| ")]
    assert len(rows) > 10
    for row in rows:
        source = ""
        named = re.findall(r"`([\w/]+\.py)?::(test_\w+)`", row)
        assert named, row
        for file, name in named:
            source = (ROOT / "tests" / file).read_text(encoding="utf-8") if file else source
            assert f"def {name}(" in source, f"{file}::{name}"
