"""CRUDs behaves as 1.9.1 does where that is documented, and differs where `docs/migrating.md` says so."""

import gzip
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any, NamedTuple

import pytest
from servers.process import HOST, free_ports, require
from servers.tls import Certificates

import cruds
from cruds.demo.api import DemoAPI
from cruds_core.testing.server import Connection, Reply, Server

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "migrating.md"
VERSION = "1.9.1"
SLOW = 0.5  # seconds: longer than the calls wait
MEETING = 5  # seconds that one of two threads waits for the other
OURSELVES = ("accept:", "accept-encoding:", "user-agent:")  # headers that a Client sends by itself
TOKEN_REQUESTS = ("accept:", "connection:", "content-type:")  # those of an OAuth2
FORM = "content-type: application/x-www-form-urlencoded"
# Each of these is in the calls of one row, and left out in all others.
OWN_HEADERS = "Default headers"
TOKEN_HEADERS = "Headers of a token request"
PKCE = "PKCE"
LOGGED_RETRY = "urllib3 Retrying", "Log messages"
RAW = {
    "/no-length": b'\r\n{"ok": true}',
    "/odd-chunks": b'Transfer-Encoding: chunked\r\n\r\n0xc\r\n{"ok": true}\r\n0\r\n\r\n',
}


class Recording(Connection):
    """Keeps each request, and answers as its path says."""

    server: "Recorder"  # pyright: ignore[reportIncompatibleVariableOverride]

    def reply(self) -> Reply:
        """Keep the request, and answer it."""
        recorder = self.server.shared
        if self.path == "/_taken":
            return Reply(200, json.dumps(recorder.take()).encode())
        line = self.requestline.removesuffix(" HTTP/1.1")
        headers = sorted(f"{name.lower()}: {value}" for name, value in self.headers.items())
        recorder.arrived.append([line, headers, self.content.decode("latin-1")])
        recorder.attempts[self.path] += 1
        word, _, rest = self.path.removeprefix("/").partition("/")
        if word != "token":  # whose connections end with each answer, as `Connection: close` shows
            recorder.connected.add(self.client_address)
        query = {name: values[-1] for name, values in self.query.items()}
        kind = {"Content-Type": query["type"]} if "type" in query else {}
        match self.command, word:
            case "CONNECT", _:
                return Reply(403)
            case _, "reply":
                disposition = {"Content-Disposition": text} if (text := query.get("disposition")) else {}
                status = int(query.get("status", 200))
                return Reply(status, query.get("content", "content").encode(), kind | disposition)
            case _, "token":
                return token_reply(rest, query, recorder.attempts[self.path] - 1)
            case _, "status":
                statuses = rest.split(",")
                status = int(statuses[min(recorder.attempts[self.path], len(statuses)) - 1])
                after = {"Retry-After": query["retry_after"]} if "retry_after" in query else {}
                return Reply(status, b"" if status in (204, 304) else b'{"why": "because"}', kind | after)
            case _, "redirect":
                return Reply(int(rest), b"", {"Location": query["to"]})
            case _, "hops" if rest != "0":
                return Reply(302, b"", {"Location": f"/hops/{int(rest) - 1}"})
            case _, "private" if self.headers["Authorization"] != f"Bearer {query['token']}":
                return Reply(401, b"", {"WWW-Authenticate": "Bearer"})
            case _, "image":
                return Reply(200, b"\x89PNG\xff", {"Content-Type": "image/png"})
            case _, "gzip":
                return Reply(200, gzip.compress(b"[1]"), {"Content-Encoding": "gzip"})
            case _, "cut-gzip":
                content = gzip.compress(b"[1]") + gzip.compress(b" " * 9)[:-8]
                return Reply(200, content, {"Content-Encoding": "gzip"})
            case _, "three-codings":
                content = gzip.compress(gzip.compress(gzip.compress(b"[1]")))
                return Reply(200, content, {"Content-Encoding": "gzip, gzip, gzip"})
            case _, "broken-gzip":
                return Reply(200, b"no gzip", {"Content-Encoding": "gzip"})
            case _:
                return Reply(200, b'{"ok": true}', {"Content-Type": "application/json"})

    do_CONNECT = Connection.answer

    def send(self, reply: Reply) -> None:
        """Send the reply late, partly or not at all, where the path asks for it."""
        announced = {"/short": 100, "/huge": (512 << 20) + 1}.get(self.path)
        if announced or self.path in ("/lost", *RAW):
            self.close_connection = True
        if announced:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nshort" % announced)
        elif self.path in RAW:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + RAW[self.path])
        elif self.path != "/lost":
            if self.path == "/slow" or "late" in self.query:
                time.sleep(SLOW)
            if self.path == "/pair":
                with suppress(BrokenBarrierError):
                    self.server.pair.wait(MEETING)
            super().send(reply)


def token_reply(tokens: str, members: dict[str, str], attempt: int) -> Reply:
    """The answer to one of several token requests; what it holds is separated by commas, for each in turn."""
    turns = {"access_token": tokens.split(","), **{name: text.split(",") for name, text in members.items()}}
    answer: dict[str, Any] = {"token_type": "Bearer"}
    answer |= {name: texts[attempt] for name, texts in turns.items() if attempt < len(texts)}
    status = int(answer.pop("status", 200))
    if "expires_in" in answer:
        answer["expires_in"] = int(answer["expires_in"])
    if status != 200:
        answer = {"error": "invalid_grant", "error_description": "no"} if status < 500 else {}
    return Reply(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})


class Recorder(Server):
    """A server whose answers are asked for by path, and that keeps what arrives.

    Args:
        certificate: A PEM file with key and certificate, to speak TLS.
        shared: The recorder that keeps what arrives; itself unless given.
    """

    def __init__(self, certificate: Path | None = None, shared: "Recorder | None" = None) -> None:
        self.shared = shared or self
        self.arrived: list[list[Any]] = []
        self.connected: set[Any] = set()
        self.attempts: Counter[str] = Counter()
        self.pair = Barrier(2)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
        if self.context and certificate:
            self.context.load_cert_chain(certificate)
        super().__init__(Recording)

    def server_bind(self) -> None:
        """Bind, and speak TLS where there is a certificate."""
        super().server_bind()
        if self.context:
            self.socket = self.context.wrap_socket(self.socket, server_side=True)

    def take(self) -> dict[str, Any]:
        """Return what arrived since the last time, and begin anew."""
        taken = {"arrived": self.arrived, "connections": len(self.connected)}
        self.arrived, self.connected, self.attempts = [], set(), Counter()
        return taken


class Observed(NamedTuple):
    """What one version did, and what it says of itself."""

    version: str
    calls: dict[str, dict[str, Any]]
    seen: dict[str, dict[str, Any]]
    signatures: dict[str, list[list[str]]]
    stored: list[list[str]]


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a venv that has the released package, kept from one session to the next."""
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # a worker has a folder of its own in that of the session
        session = session.parent
    home = session.parent / f"cruds-{VERSION}-{sys.implementation.cache_tag}"
    python = home / "bin" / "python"
    # -I: the cruds of the current folder is another one.
    check = [str(python), "-I", "-c", f"import cruds; assert cruds.__version__ == '{VERSION}'"]
    if not python.exists() or subprocess.run(check, check=False, capture_output=True).returncode:
        shutil.rmtree(home, ignore_errors=True)
        # Made beside, and moved when it is whole: another session may be at it, too.
        with tempfile.TemporaryDirectory(dir=home.parent) as folder:
            failure = install(Path(folder) / "venv")
            require(not failure, f"cruds {VERSION} cannot be installed: {failure}")
            with suppress(OSError):  # the other session was faster
                (Path(folder) / "venv").rename(home)
    return python


def install(venv: Path) -> str:
    """Makes a venv with the released package, and returns what failed."""
    python = str(venv / "bin" / "python")
    # Its requirement of certifi may be newer than what the index has.
    packages = ["--no-deps", f"cruds=={VERSION}", "urllib3>=2.8,<3", "certifi"]
    if uv := shutil.which("uv"):
        commands = [
            [uv, "venv", "--quiet", "--python", sys.executable, str(venv)],
            [uv, "pip", "install", "--quiet", "--python", python, *packages],
        ]
    else:
        commands = [
            [sys.executable, "-m", "venv", str(venv)],
            [python, "-m", "pip", "install", "--quiet", *packages],
        ]
    for command in commands:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            return result.stderr
    return ""


@pytest.fixture(scope="module")
def both(released: Path, tls: Certificates) -> tuple[Observed, Observed]:
    """What 1.x and 2.0 did in turn, against the same server."""
    with Recorder() as plain, Recorder(tls.good_path, plain) as secure:
        old, new = (drive(python, plain, secure, tls) for python in (released, Path(sys.executable)))
    assert (old.version, new.version) == (VERSION, cruds.__version__)
    return old, new


def drive(python: Path, plain: Recorder, secure: Recorder, tls: Certificates) -> Observed:
    """Runs one version through the calls."""
    closed = f"http://{HOST}:{free_ports(1)[0]}"
    environment = {**os.environ, "SSL_CERT_FILE": str(tls.ca_path)}
    if python != Path(sys.executable):
        environment.pop("PYTHONPATH", None)  # it may lead to our own cruds
    with DemoAPI(username="ann", password="pw", token="token") as api:
        elsewhere = plain.url.replace(HOST, "localhost")
        places = [plain.url, elsewhere, secure.url.replace("http:", "https:"), closed, api.url]
        command = [str(python), str(FOLDER / "driver.py"), *places]
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert result.returncode == 0, result.stderr
        stored = [[seen.method, seen.target, str(seen.status)] for seen in api.requests]
    text = result.stdout
    for url, name in ((plain.url, "server"), (elsewhere, "elsewhere"), (secure.url, "tls")):
        text = re.sub(url.removeprefix("http://") + r"(?!\d)", name, text)
    return Observed(**json.loads(text), stored=stored)


def aspects(both: tuple[Observed, Observed], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the versions did in a call, without what differs from run to run and what every call has."""
    row = both[1].calls[name]["row"]
    own = {
        header
        for version in both
        for other, call in version.calls.items()
        for _, headers, _ in version.seen[other]["arrived"]
        for header in headers
        if (call["row"] == OWN_HEADERS != row and header.startswith(OURSELVES))
        or (call["row"] == TOKEN_HEADERS != row and header.startswith(TOKEN_REQUESTS))
    }
    old, new = (aspects_of(version.seen[name], row, {"host: server", *own}) for version in both)
    return old, new


def aspects_of(seen: dict[str, Any], row: str, own: set[str]) -> dict[str, Any]:
    """What a version did in a call."""
    requests: list[tuple[str, list[str], str]] = []
    for line, all_headers, all_content in seen["arrived"]:
        is_form = any(header.startswith(FORM) for header in all_headers)
        headers, content = as_form(all_headers, all_content, row) if is_form else (all_headers, all_content)
        request = json.dumps([line, [masked(header) for header in headers if header not in own], content])
        boundary = re.search(r"^--([0-9a-f]{32})\r\n", content)
        requests.append(json.loads(request.replace(boundary[1], "BOUNDARY") if boundary else request))
    return {
        **seen,
        "arrived": [line for line, _, _ in requests],
        "headers": distinct(headers for _, headers, _ in requests),
        "content": distinct(content for _, _, content in requests),
        "logged": [text for text in seen["logged"] if text != LOGGED_RETRY[0] or row == LOGGED_RETRY[1]],
    }


def as_form(headers: list[str], content: str, row: str) -> tuple[list[str], str]:
    """A form in the order of its names, without what is random or the matter of another row."""
    fields = [re.sub("^(code_verifier)=.*", r"\1=RANDOM", one) for one in sorted(content.split("&"))]
    if row != PKCE and "grant_type=authorization_code" in fields:
        headers = [header for header in headers if not header.startswith("content-length:")]
        fields = [field for field in fields if not field.startswith("code_verifier=")]
    return headers, "&".join(fields)


def masked(header: str) -> str:
    """A header without versions and without what depends on optional packages."""
    return re.sub(r"(user-agent: .*?/)[\d.]+", r"\1N", header).partition(",br")[0].partition(",zstd")[0]


def distinct(values: Iterable[Any]) -> list[Any]:
    """The different values, in the order of their first."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def test_what_is_documented_is_as_it_was(both: tuple[Observed, Observed], subtests: pytest.Subtests) -> None:
    """A call without a row in the page sends, returns, logs and leaves behind the same in both versions."""
    for name, call in both[1].calls.items():
        if not call["row"]:
            with subtests.test(name):
                old, new = aspects(both, name)
                assert new == old


def test_what_differs_differs_as_listed(both: tuple[Observed, Observed], subtests: pytest.Subtests) -> None:
    """A call with a row in the page differs in what is listed for it, and in nothing else."""
    for name, call in both[1].calls.items():
        if call["row"]:
            with subtests.test(f"{call['row']}: {name}"):
                assert call["new"] != call["old"]
                assert call["new"].keys() == call["old"].keys()
                old, new = aspects(both, name)
                assert old == {**old, **call["old"]}
                assert new == {**old, **call["new"]}


def test_the_page_lists_what_differs(both: tuple[Observed, Observed]) -> None:
    """The tables of the page have one row of four cells for each difference that is tested, and no other."""
    page = PAGE.read_text(encoding="utf-8")
    tables = re.findall(r"^\| What .*\n\|[- |]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    rows = [line.strip("| ").split(" | ") for table in tables for line in table.splitlines()]
    assert {len(row) for row in rows} == {4}
    assert sorted(row[0] for row in rows) == sorted({call["row"] for call in both[1].calls.values()} - {""})


def test_parameters_are_as_they_were(both: tuple[Observed, Observed]) -> None:
    """Parameters keep names, order and defaults; those that are new are keyword-only and have a default."""
    old, new = both
    for name, parameters in old.signatures.items():
        kept, added = new.signatures[name][: len(parameters)], new.signatures[name][len(parameters) :]
        assert kept == parameters
        for _, kind, default in added:
            assert kind == "KEYWORD_ONLY"
            assert "empty" not in default


def test_the_demo_sees_the_same_requests(both: tuple[Observed, Observed]) -> None:
    """A day's work at an API with state makes the same requests with the same outcome in both versions."""
    old, new = both
    assert len(old.stored) > 10
    assert new.stored == old.stored
