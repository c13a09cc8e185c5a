"""Drives the CRUDs of the interpreter that runs this through the calls, and prints what happened as JSON.

Usage: python driver.py URL ELSEWHERE TLS CLOSED DEMO
"""

import http.client
import inspect
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from calls import CALLS, SECRET, Call, Log, Site
from urllib3.exceptions import HTTPError

import cruds
from cruds import Client
from cruds.auth import OAuth2
from cruds.exception import OAuthAccessTokenError, OAuthStateError

FAMILIES = (HTTPError, OAuthAccessTokenError, OAuthStateError, RuntimeError)
DOCUMENTED: dict[type[Any], tuple[str, ...]] = {
    Client: ("__init__", "create", "read", "update", "delete", "download"),
    OAuth2: (
        "__init__",
        "access_token",
        "is_valid",
        "get_authorization_url",
        "parse_authorization_response",
        "exchange_code_for_token",
    ),
}


def returned(call: Call, site: Site) -> tuple[dict[str, Any], str]:
    """Return what a call returns or raises, as JSON has it, and the text of the error."""
    try:
        value = call.do(site)
    except Exception as error:
        # The documented families, whatever their members are called.
        families = [family.__name__ for family in FAMILIES if isinstance(error, family)]
        return {"raised": " and ".join(families) or type(error).__name__}, f"{error} {error.__cause__}"
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}, ""
    if isinstance(value, Path):
        return {"file": str(value.relative_to(site.folder))}, ""
    return {"value": value}, ""


def observe(call: Call, site: Site) -> dict[str, Any]:
    """Return everything that a call does, by aspect."""
    os.chdir(site.folder)
    with Log() as records, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        value, text = returned(call, site)
    said = [(record.name, record.getMessage()) for record in records]
    loud = [record for record in records if record.levelno >= logging.WARNING]
    return {
        "returned": value,
        "files": {path.name: path.read_text("latin-1") for path in site.folder.iterdir()},
        "waited": [seconds for seconds in site.waited if seconds],
        "warned": [warning.category.__name__ for warning in warned],
        "logged": [logged(record) for record in loud],
        "leaked": sorted({name for name, message in [*said, ("the error", text)] if SECRET in message}),
        **taken(site),
    }


def logged(record: logging.LogRecord) -> str:
    """Return the package that logged, and how urllib3's message begins; ours may be worded anew."""
    package = record.name.partition(".")[0].partition("_")[0]
    return f"urllib3 {record.getMessage().split()[0]}" if package == "urllib3" else package


def taken(site: Site) -> dict[str, Any]:
    """Return what arrived at the recording server."""
    connection = http.client.HTTPConnection(site.url.removeprefix("http://"))
    connection.request("GET", "/_taken")
    arrived: dict[str, Any] = json.load(connection.getresponse())
    connection.close()
    return arrived


def signatures() -> dict[str, list[list[str]]]:
    """Return name, kind and default of each parameter that users give."""
    return {
        f"{owner.__name__}.{name}": [
            [parameter.name, parameter.kind.name, repr(parameter.default)]
            for parameter in inspect.signature(getattr(owner, name)).parameters.values()
        ]
        for owner, names in DOCUMENTED.items()
        for name in names
    }


def main(url: str, elsewhere: str, tls: str, closed: str, demo: str) -> None:
    """Make every call, and print what happened, and how the calls are described."""
    logging.getLogger().setLevel(logging.DEBUG)
    waited: list[float] = []
    setattr(time, "sleep", waited.append)  # noqa: B010 - by which both versions pause
    seen: dict[str, Any] = {}
    for name, call in CALLS.items():
        waited.clear()
        with tempfile.TemporaryDirectory() as folder:
            seen[name] = observe(call, Site(url, elsewhere, tls, closed, demo, Path(folder), waited))
            os.chdir(Path(folder).parent)
    described = {name: {"row": call.row, "old": call.old, "new": call.new} for name, call in CALLS.items()}
    print(
        json.dumps(
            {"version": cruds.__version__, "calls": described, "seen": seen, "signatures": signatures()}
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
