"""The tutorial and the how-to pages do what they say: each of their programs runs, and is looked at."""

import getpass
import inspect
import os
import re
import ssl
import subprocess
import sys
import webbrowser
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest
import servers.proxy
import servers.tls
from documents import ROOT, Stage, blocks
from servers.process import require_distribution

from cruds.demo.api import DemoAPI
from cruds.exception import (
    OAuthAccessTokenError,
    OAuthAuthorizationError,
    ProxyError,
    RequestError,
    TLSError,
)
from cruds_core.testing.server import Reply, Server

HOWTO = ROOT / "docs" / "howto"


def programs(page: str) -> list[str]:
    """Returns the programs of a how-to page."""
    return blocks(HOWTO / f"{page}.md")


def granted(stage: Stage) -> list[str]:
    """Returns the grant type of each token request that was successful."""
    assert {request["status"] for request in stage.authority.token_requests} <= {200}
    return [request["grant_type"] for request in stage.authority.token_requests]


def run_pytest(folder: Path) -> str:
    """Runs the tests in a folder, and returns what pytest says of those that passed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    ran = subprocess.run(
        [*command, folder], capture_output=True, text=True, check=False, cwd=folder, timeout=120
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def over_tls(server: Server, certificates: servers.tls.Certificates, *, asks: bool = False) -> None:
    """Lets a server that runs speak TLS from now on, and perhaps ask for a certificate of the client's."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.ca_path)
    context.load_cert_chain(certificates.good_path)
    context.verify_mode = ssl.CERT_REQUIRED if asks else ssl.CERT_NONE
    server.socket = context.wrap_socket(server.socket, server_side=True)  # the same file descriptor
    server.url = server.url.replace("http://", "https://")


def test_each_page_is_tested() -> None:
    """Each page with a program has a test of its name here."""
    pages = {page.stem.replace("-", "_") for page in HOWTO.glob("*.md") if blocks(page)}
    functions = [name for name, _ in inspect.getmembers(sys.modules[__name__], inspect.isfunction)]
    assert {page for page in pages if not any(name.startswith(f"test_{page}") for name in functions)} == set()


def test_the_tutorial(stage: Stage, tmp_path: Path) -> None:
    """The blocks of the tutorial run in one prompt, print what it says, and its tests pass."""
    *prompt, program, tests = blocks("docs/tutorial.md")
    scope: dict[str, Any] = {}
    try:
        for block in prompt:
            exec(compile(block, "tutorial", "exec"), scope)  # noqa: S102 - our own text
    finally:
        for name in ("server", "shop", "authority"):
            if name in scope:
                scope[name].close()
    url = scope["server"].url
    assert stage.said == [
        url,
        "{'id': 1, 'name': 'Dune', 'year': 1956}",
        "[{'id': 1, 'name': 'Dune', 'year': 1965}]",
        "b''",
        f"GET {url}/books/99: 404 Not Found: there is no such object",
        "404 there is no such object",
        "{'key': 'first', 'attempts': 3}",
        "cover.png 4000",
        "cover.png 4000",
        "read write True",
        "[{'id': 1, 'name': 'Dune'}]",
        "2 token requests",
        "[{'id': 1, 'name': 'Dune'}]",
    ]
    told = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:35671", "\n".join(stage.said))
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    shown = re.findall(r" prints [^`]*`([^`]+)`", page) + re.findall(
        r"^```text\n(.*?)^```", page, re.M | re.S
    )
    assert len(shown) == 6
    assert [text for text in shown if text.strip() not in told] == []
    (tmp_path / "books.py").write_text(program)
    (tmp_path / "test_books.py").write_text(tests)
    assert "2 passed" in run_pytest(tmp_path)


def test_client_credentials(stage: Stage) -> None:
    """The program has one token for all its requests, by the grant of the page."""
    stage.run(programs("client-credentials")[0])
    assert stage.said == ["Dune"]
    assert granted(stage) == ["client_credentials"]
    assert stage.authority.token_requests[0]["scope"] == "read write"


@pytest.mark.parametrize("password", ["ada's password", "another"])
def test_password(stage: Stage, monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    """The user's password gets a token, and a wrong one a word to the user."""
    stage.answers.append("ada")
    monkeypatch.setattr(getpass, "getpass", lambda: password)
    stage.api.database.execute(
        "INSERT INTO object VALUES (?, ?, ?, ?)", ["Dune", '{"name": "Dune"}', "books", "1"]
    )
    [program] = programs("password")
    if password == "another":
        with pytest.raises(SystemExit, match="the password is wrong"):
            stage.run(program)
    else:
        stage.run(program)
        assert stage.said == ["Dune"]
        assert granted(stage) == ["password"]


@pytest.mark.parametrize("agrees", [True, False])
def test_sign_in(stage: Stage, monkeypatch: pytest.MonkeyPatch, agrees: bool) -> None:
    """The browser comes back to the program, which reads with the user's token or says no."""
    stage.authority.client_secret = ""  # a public client
    stage.authority.denies = not agrees
    stage.api.database.execute(
        "INSERT INTO object VALUES (?, ?, ?, ?)", ["Dune", '{"name": "Dune"}', "books", "1"]
    )
    seen: list[bytes] = []

    def browser(url: str) -> None:
        back = stage.authority.sign_in(url)
        icon = back.partition("/callback")[0] + "/favicon.ico"
        with urlopen(icon) as answer:
            answer.read()
        with urlopen(back) as answer:
            seen.append(answer.read())

    thread: list[Thread] = []

    def open_browser(url: str) -> None:
        thread.append(Thread(target=browser, args=[url]))
        thread[0].start()

    monkeypatch.setattr(webbrowser, "open", open_browser)
    [program] = programs("sign-in")
    if agrees:
        stage.run(program)
        assert stage.said == ["Dune"]
        assert granted(stage) == ["authorization_code"]
        assert stage.authority.token_requests[0]["code_verifier"]
    else:
        with pytest.raises(OAuthAuthorizationError, match="access_denied"):
            stage.run(program)
    thread[0].join()
    assert seen == [b"Thank you. You may close this window."]


def test_web_back_end(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two users sign in, each in a browser of their own; a second process of the site has their tokens."""
    require_distribution("flask")
    monkeypatch.setenv("SESSION_KEY", "a key of the sessions")
    [program] = programs("web-back-end")
    app = stage.run(program).app
    browsers: dict[str, Any] = {}
    for user in ("ada", "grace"):
        browser = browsers[user] = app.test_client()
        browser.post(f"/log-in/{user}")
        assert browser.get("/books").location == "/sign-in"
        back = stage.authority.sign_in(browser.get("/sign-in").location)
        assert back.startswith("https://app.example.com/callback?")
        assert browser.get(back.removeprefix("https://app.example.com")).location == "/books"
        assert browser.get("/books").json == []
    sent = {request.headers["Authorization"] for request in stage.api.requests}
    assert len(sent) == 2
    assert granted(stage) == ["authorization_code"] * 2
    # A redirect of one browser is nothing to another, and works once in its own.
    back = stage.authority.sign_in(browsers["ada"].get("/sign-in").location)
    path = back.removeprefix("https://app.example.com")
    assert browsers["grace"].get(path).status_code == 400
    assert [browsers["ada"].get(path).status_code for _ in range(2)] == [302, 400]
    assert browsers["ada"].get("/books").json == []
    assert stage.api.requests[-1].headers["Authorization"] not in sent  # of the new sign-in
    # Another process: the same program, started again.
    again = stage.run(program).app.test_client()
    again.post("/log-in/ada")
    assert again.get("/books").json == []
    again.post("/log-in/mallory")
    assert again.get("/books").location == "/sign-in"
    assert granted(stage) == ["authorization_code"] * 3
    # Who says no is told so.
    location: str = browsers["ada"].get("/sign-in").location
    state = parse_qs(urlsplit(location).query)["state"][0]
    no = browsers["ada"].get(f"/callback?error=access_denied&state={state}&iss={stage.authority.url}")
    assert (no.status_code, "refused" in no.text) == (403, True)
    # An outage is no reason to sign in.
    stage.authority.expire_all()
    stage.authority.answers.append(Reply(500))
    assert browsers["ada"].get("/books").status_code == 503
    stage.authority.close()
    assert browsers["ada"].get("/books").status_code == 503


def test_notebooks(stage: Stage) -> None:
    """The user signs in at the first run, nobody at the second, and no output holds a token."""
    stage.authority.redirect_uri = "https://app.example.com/callback"
    [program] = programs("notebooks")
    stage.run(program)
    stage.run(program)
    assert granted(stage) == ["authorization_code"]
    assert [line.split()[0] for line in stage.said] == ["Sign", "[]", "<Client", "[]", "<Client"]
    tokens = [*stage.authority.issued["access_token"], *stage.authority.issued["refresh_token"]]
    assert len(tokens) == 2
    assert not any(token in line for token in tokens for line in stage.said)


def test_proxies(stage: Stage, auth_proxy: servers.proxy.Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program sends goes through the proxy: the token request and the call, with the password."""
    url = auth_proxy.url.replace("http://", f"http://{auth_proxy.user}:{auth_proxy.password}@")
    monkeypatch.setenv("HTTPS_PROXY", url)
    [program] = programs("proxies")
    stage.run(program)
    assert stage.said == ["[]"]
    assert f"POST {stage.authority.url}/token" in auth_proxy.log()
    assert f"GET {stage.api.url}/books" in auth_proxy.log()
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with pytest.raises(OAuthAccessTokenError) as caught:
        stage.run(program)
    assert isinstance(caught.value.__cause__, ProxyError)


def test_corporate_cas(stage: Stage, tls: servers.tls.Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the company's CA both servers are reached, without it neither; a client's own is shown."""
    ours, mutual = programs("corporate-cas")
    over_tls(stage.authority, tls)
    over_tls(stage.api, tls)
    monkeypatch.setenv("COMPANY_CA", str(tls.ca_path))
    monkeypatch.setenv("CLIENT_CERTIFICATE", str(tls.good_path))
    stage.run(ours)
    assert stage.said == ["[]"]
    monkeypatch.setenv("COMPANY_CA", str(tls.wrong_name_path))  # a certificate that has signed none
    with pytest.raises(OAuthAccessTokenError) as untrusted:
        stage.run(ours)
    assert isinstance(untrusted.value.__cause__, TLSError)
    with pytest.raises(TLSError):
        stage.run(mutual)

    monkeypatch.setenv("COMPANY_CA", str(tls.ca_path))
    mutual = mutual.replace('"books"', '"health"')  # needs no other credentials
    with DemoAPI() as asking:
        over_tls(asking, tls, asks=True)
        stage.api = asking
        stage.run(mutual)
        assert stage.said[1:] == ["{'status': 'ok'}"]
        with pytest.raises(RequestError):
            stage.run(re.sub("cert_file=.*", "", mutual).replace("=manager", "=manager, retries=0"))


def test_retries(stage: Stage) -> None:
    """What fails for a moment is there after all, and what is to come later is told with the time."""
    first, second = programs("retries")
    module = stage.run(first)
    assert stage.said == ["{'key': 'a', 'attempts': 3}", "flaky again in 3600 s"]
    assert module.found[1:] == [None, *[[]] * 8]
    stage.run(second)
    assert stage.said[2:] == ["2"]


def test_threads(stage: Stage) -> None:
    """Sixteen threads have one token and no more connections than there are threads."""
    [program] = programs("threads")
    stage.run(program)
    assert stage.said == ["100 books"]
    assert granted(stage) == ["client_credentials"]
    assert stage.api.connections <= 16


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of a pool, while the servers have threads
def test_processes(stage: Stage) -> None:
    """Four processes have one token, and another run has it, too."""
    [program] = programs("processes")
    for _ in range(2):
        stage.run(program).main()
    assert stage.said == [f"[{', '.join(['[]'] * 20)}]"] * 2
    assert granted(stage) == ["client_credentials"]


def test_testing(stage: Stage, tmp_path: Path) -> None:
    """The tests of the page pass, and its own API answers."""
    tests, api = programs("testing")
    (tmp_path / "test_books.py").write_text(tests)
    assert "6 passed" in run_pytest(tmp_path)
    stage.run(api)
    assert stage.said == ["[{'name': 'Dune'}]"]


def test_from_requests(stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both programs print the same, and both copies are the cover."""
    require_distribution("requests")
    text = (HOWTO / "from-requests.md").read_text(encoding="utf-8")
    old, new = re.findall(r"^```py(?:thon)?\n(.*?)^```", text, re.M | re.S)
    assert "import requests" in old
    monkeypatch.chdir(tmp_path)
    Path("cover.png").write_bytes(b"\x89PNG")
    Path("copies").mkdir()
    for program in (old, new):
        stage.run(program)
        assert Path("copies/cover.png").read_bytes() == b"\x89PNG"
        Path("copies/cover.png").unlink()
        stage.api.database.execute("DELETE FROM object")
    assert stage.said == ["404 there is no such object", "Dune"] * 2


def test_from_httpx(stage: Stage) -> None:
    """The program prints what that with httpx does, which is tried by hand: httpx is not installed here."""
    [program] = programs("from-httpx")
    stage.run(program)
    assert stage.said == ["404 there is no such object", "Dune"]
