"""Every fault of the tables ends in data or one clear error: soon, in little memory, and nothing is left."""

import logging
import os
import socket
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from servers.process import require
from servers.tls import Certificates

from cruds_core import Client, CrudsError, RequestError
from cruds_core.testing.leaks import Leaks

from .case import SECRET, Case, Data
from .places import place
from .table import CASES, count, tables

TRIED = [
    pytest.param(case, verb, id=f"{case.fault}{case.variant}, {verb}".encode("ascii", "replace").decode())
    for case in CASES
    for verb in case.verbs
]


def call(client: Client, case: Case, verb: str, folder: Path) -> object:
    """Call a verb; what a download leaves is what is in its file."""
    if case.call is not None:
        return case.call(client)
    match verb:
        case "read":
            return client.read("items", {"q": "asked"})
        case "create":
            return client.create("items", {"name": "x"})
        case "update":
            return client.update("items/1", {"name": "x"})
        case "delete":
            return client.delete("items/1")
        case _:
            return client.download("items", folder, "item").read_bytes()


def client_of(url: str, case: Case, tls: Certificates) -> Client:
    """Returns a Client with the token that nobody must see."""
    options: dict[str, Any] = {"retries": 1, "backoff_factor": 0, "timeout": 5, "auth": SECRET}
    options |= {"verify_ssl": tls.ca_path} if case.place != "unknown" else {}
    return Client(url, **options | case.options)


def sockets() -> dict[Path, str]:
    """Returns the open files of this process that are sockets, and which."""
    folder = Path("/proc/self/fd")
    require(folder.exists(), f"{folder} is missing: it is Linux's")
    files = {entry: leads_to(entry) for entry in folder.iterdir()}
    return {entry: target for entry, target in files.items() if target.startswith("socket:")}


def leads_to(entry: Path) -> str:
    """Returns what an open file is, nothing where it is closed by now."""
    try:
        return str(entry.readlink())
    except OSError:
        return ""


def left_open(port: int) -> int:
    """Returns how many connections to a port this process has."""
    return sum(peer_of(entry) == port for entry in sockets())


def peer_of(entry: Path) -> int | None:
    """Returns the port that a socket is connected to, None where it is to none."""
    try:
        with socket.socket(fileno=os.dup(int(entry.name))) as copy:
            return copy.getpeername()[1] if copy.family == socket.AF_INET else None
    except OSError:  # it is closed by now, or has no peer
        return None


def same(value: Any, expected: Any) -> bool:
    """Returns whether two values are the same, NaN and NaN too."""
    return type(value) is type(expected) and (value == expected or repr(value) == repr(expected))


@dataclass
class Tried:
    """What came of a case."""

    outcome: object
    seconds: float
    memory: int


def attempt(client: Client, case: Case, verb: str, folder: Path) -> Tried:
    """Call a verb as often as the case asks for, and measure it."""
    outcome: object = None
    tracemalloc.start()
    began = time.monotonic()
    try:
        for number in range(case.calls):
            time.sleep(0.1 if number else 0)  # so that the end of a connection has arrived
            outcome = call(client, case, verb, folder)
    except Exception as error:
        outcome = error
    seconds = time.monotonic() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Tried(outcome, seconds, peak)


@pytest.mark.parametrize(("case", "verb"), TRIED)
def test_fault(
    case: Case, verb: str, tls: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault gives the outcome of its row within its bounds, leaves nothing open, tells no credentials."""
    caplog.set_level(logging.DEBUG)
    open_before = set(sockets().values())
    with place(case, tls) as (url, server):
        port = int(url.rpartition(":")[2])
        before = left_open(port)
        with client_of(url, case, tls) as client:
            tried = attempt(client, case, verb, tmp_path)
            if isinstance(tried.outcome, RequestError) and not case.keeps:
                assert left_open(port) == before
        assert left_open(port) == before
        received = [] if server is None else server.received
    assert set(sockets().values()) <= open_before  # also one that was reset, and has no peer any more
    assert tried.seconds < case.seconds
    assert tried.memory < case.megabytes * 1e6
    leaks = Leaks()
    leaks.know(SECRET)
    assert not leaks.are_in(caplog.text)
    for request in received:
        is_ours = request.headers["Host"] == url.partition("://")[2]
        assert is_ours or "Authorization" not in request.headers
        assert "X-Injected" not in request.headers
        assert b"\nX-Injected" not in request.content
    unsafe = sum(request.method in ("POST", "PATCH") for request in received)
    if isinstance(case.gives, Data):
        assert same(tried.outcome, case.gives.value), tried.outcome
        if verb in ("create", "update"):  # again only where the server has refused it
            assert unsafe == case.calls + len(case.scripts) - 1
        return
    error = tried.outcome
    assert type(error) is case.gives, error
    assert isinstance(error, CrudsError) or case.call is not None
    assert case.says in str(error)
    assert list(leaks.in_error(error)) == []
    assert list(tmp_path.iterdir()) == []  # nothing of a download
    assert received == [] or case.call is None
    assert unsafe <= case.sent


def test_the_table_of_the_page_has_these_cases() -> None:
    """docs/reliability.md has a row for each of these cases, no other, and counts them."""
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")
    faults = page.partition("## Faults\n")[2].partition("\n## ")[0]
    assert faults.partition("### ")[2].rstrip() == tables().removeprefix("### ")
    assert count() in faults
