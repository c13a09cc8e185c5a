"""Every fault of the table ends in data or one clear error: soon, in little memory, with nothing left behind."""

import logging
import math
import re
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from servers.fault import Fault, Script
from servers.process import require
from servers.tls import Certificates

from cruds_core import Client, CrudsError, RequestError
from cruds_core.testing.leaks import Leaks

from . import answers, callers, connections, contents, heads, values
from .case import SECRET, Case, Data
from .places import place

MODULES: list[ModuleType] = [connections, heads, contents, values, answers, callers]
CASES: list[Case] = [case for module in MODULES for case in module.CASES]
TRIED = [
    pytest.param(case, verb, id=f"{case.fault}, {verb}".encode("ascii", "replace").decode())
    for case in CASES
    for verb in case.verbs
]
ONCE = ("create", "update", "request")  # what may be sent once, unless the server said that it did nothing
OPEN = ("01", "08")  # the states ESTABLISHED and CLOSE_WAIT in /proc/net/tcp


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


def left_open(port: int) -> int:
    """Returns how many connections to a port this process has, as the system sees it."""
    table = require(Path("/proc/net/tcp").exists(), "/proc/net/tcp is missing: it is Linux's") and Path(
        "/proc/net/tcp"
    )
    rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] in OPEN for row in rows)


def same(value: object, expected: object) -> bool:
    """Returns whether two values are the same; NaN is NaN."""
    if isinstance(value, list) and isinstance(expected, list):
        pairs: Any = zip(value, expected, strict=True)
        return all(same(one, other) for one, other in pairs)
    if isinstance(value, float) and math.isnan(value):
        return isinstance(expected, float) and math.isnan(expected)
    return type(value) is type(expected) and value == expected


@pytest.mark.parametrize(("case", "verb"), TRIED)
def test_fault(
    case: Case, verb: str, tls: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault gives the outcome of its row within its bounds, leaves nothing open, and tells no credentials."""
    caplog.set_level(logging.DEBUG)
    leaks = Leaks()
    leaks.know(SECRET)
    with place(case, tls) as (url, server):
        options: dict[str, Any] = {"retries": 1, "backoff_factor": 0, "timeout": 5, "auth": SECRET}
        options |= {"verify_ssl": tls.ca_path} if case.place != "unknown" else {}
        calls = case.options.get("calls", 1)
        options |= {name: value for name, value in case.options.items() if name != "calls"}
        outcome: object = None
        with Client(url, **options) as client:
            tracemalloc.start()
            began = time.monotonic()
            try:
                for _ in range(calls):
                    outcome = call(client, case, verb, tmp_path)
            except Exception as error:
                outcome = error
            took = time.monotonic() - began
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            port = int(url.rpartition(":")[2])
            if isinstance(outcome, RequestError):  # the connection of which is of no more use
                assert left_open(port) == 0
        assert left_open(port) == 0
        received = [] if server is None else server.received
    if isinstance(case.gives, Data):
        assert same(outcome, case.gives.value), outcome
    else:
        assert type(outcome) is case.gives, outcome
        assert case.says in str(outcome)
        assert isinstance(outcome, CrudsError) or case.call is not None
        assert list(leaks.in_error(outcome)) == []
        assert list(tmp_path.iterdir()) == []
        assert case.call is None or received == []
    assert took < case.seconds
    assert peak < case.megabytes * 1e6
    assert not leaks.are_in(caplog.text)
    origin = url.partition("://")[2]
    for request in received:
        assert "X-Injected" not in request.headers
        assert b"\nX-Injected" not in request.content
        assert request.headers["Host"] == origin or "Authorization" not in request.headers
    if verb in ONCE and not isinstance(case.gives, Data) and "503" not in case.fault and "429" not in case.fault:
        assert len([request for request in received if request.target == received[0].target]) <= 1 or (
            "redirected to itself" in case.fault
        )
