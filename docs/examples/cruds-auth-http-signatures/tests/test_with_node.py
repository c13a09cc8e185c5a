"""A second opinion: Node's http-message-signatures, on requests as they arrive at a server."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import keys
import pytest
from cruds_auth_http_signatures import HttpSignatures
from cruds_core import Client
from cruds_core.testing import Received, Reply
from cruds_core.testing.loopback import Loopback

FOLDER = Path(__file__).with_name("node")
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(
    NODE is None or not (FOLDER / "node_modules").exists(),
    reason="needs Node: npm install --no-package-lock --prefix tests/node",
)


def verified(requests: list[tuple[str, str, Received]]) -> list[bool | str]:
    """What Node says of requests: True, or why not. Each comes with its algorithm and public key."""
    given = [
        {
            "algorithm": algorithm,
            "key": public,
            "request": {
                "method": request.method,
                "url": request.url,
                "headers": {name.lower(): value for name, value in request.headers.items()},
            },
        }
        for algorithm, public, request in requests
    ]
    ran = subprocess.run(  # noqa: S603 - ours
        [str(NODE), "verify.mjs"], input=json.dumps(given), cwd=FOLDER, capture_output=True, text=True, check=True
    )
    said: list[bool | str] = json.loads(ran.stdout)
    return said


@pytest.mark.parametrize("algorithm", keys.ALGORITHMS)
def test_node_verifies_what_arrives(algorithm: str) -> None:
    """Node verifies each request of a Client, and refuses it with another method or path, and with another key."""
    key, public = keys.make(algorithm)
    with Loopback(lambda _: Reply.json({}), lambda _: Reply.json({})) as server:
        auth = HttpSignatures(key, "key-1", algorithm, tag="app")
        with Client(f"{server.url}/api", auth) as client:
            client.read("things/ä b", params={"q": "1+1=2 & more"})
            client.create("things", {"name": "ä"})
            client.update("things/1", b"\x00\xff", replace=True)
            client.delete("things/1")
    assert len(server.calls) == 4
    assert verified([(algorithm, public, one) for one in server.calls]) == [True] * 4
    one = server.calls[0]
    changed: list[Any] = [
        (algorithm, public, Received("HEAD", one.url, one.headers, b"")),
        (algorithm, public, Received(one.method, one.url + "x", one.headers, b"")),
        (algorithm, keys.make(algorithm)[1], one),
    ]
    assert True not in verified(changed)
