"""A second opinion on every algorithm: Node's http-message-signatures."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cruds_core import Headers, Request

import keys
from cruds_auth_http_signatures import HttpSignatures

FOLDER = Path(__file__).with_name("node")
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(
    NODE is None or not (FOLDER / "node_modules").exists(),
    reason="needs Node: npm install --no-package-lock --prefix tests/node",
)


def verified(algorithm: str, requests: list[tuple[str, dict[str, Any]]]) -> list[bool | str]:
    """What Node says of requests, each of which comes with a public key: True, or why not."""
    given = [{"algorithm": algorithm, "key": public, "request": request} for public, request in requests]
    ran = subprocess.run(  # noqa: S603 - ours
        [str(NODE), "verify.mjs"], input=json.dumps(given), cwd=FOLDER, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    said: list[bool | str] = json.loads(ran.stdout)
    return said


def signed(auth: HttpSignatures, method: str, url: str, content: bytes | None = None) -> dict[str, Any]:
    """A request as verify.mjs takes one."""
    request = Request(method, url, Headers({"Content-Type": "application/json"} if content else {}), content)
    auth.authenticate(request)
    return {"method": method, "url": url, "headers": {k.lower(): v for k, v in request.headers.items()}}


@pytest.mark.parametrize("algorithm", keys.ALGORITHMS)
def test_node_verifies_what_is_signed(algorithm: str) -> None:
    """Node verifies requests with and without content, and refuses another method, path, digest or key."""
    key, public = keys.make(algorithm)
    auth = HttpSignatures(key, "key-1", algorithm, tag="app")
    post = signed(auth, "POST", "https://api.example.com:8443/a%20b?q=1%2B1&empty=", b'{"a":1}')
    get = signed(auth, "GET", "https://api.example.com")
    right = [(public, post), (public, get)]
    wrong = [
        (public, {**post, "method": "PUT"}),
        (public, {**post, "url": post["url"] + "1"}),
        (public, {**post, "headers": {**post["headers"], "content-digest": "sha-256=:AA==:"}}),
        (keys.make(algorithm)[1], post),
    ]
    said = verified(algorithm, right + wrong)
    assert said[:2] == [True, True]
    assert len(said) == 6 and True not in said[2:]
