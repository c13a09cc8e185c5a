"""What is signed, against what AWS publishes."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
from cruds_core import Request
from reference import check
from urllib3 import HTTPHeaderDict
from urllib3.util import parse_url

from cruds_auth_sigv4 import SigV4
from cruds_auth_sigv4 import scheme as sigv4

VECTORS: dict[str, dict[str, str]] = json.loads(
    Path(__file__).with_name("aws4_testsuite").joinpath("vectors.json").read_text(encoding="utf-8")
)
# Their paths hold what no request line can. What is sent is encoded, and so is signed encoded once more.
UNENCODED = {"get-space", "get-utf8"}

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
S3_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


def parsed(text: str) -> Request:
    """Returns the request of a vector as a Client would hand it to the scheme."""
    head, _, content = text.partition("\n\n")
    line, *fields = head.replace("\n ", " ").splitlines()
    method, _, target = line.removesuffix(" HTTP/1.1").partition(" ")
    headers = HTTPHeaderDict()
    for name, value in (field.split(":", 1) for field in fields):
        if name != "Host":
            headers.add(name, value)
    return Request(
        method, "https://example.amazonaws.com" + quote(target, "/?=&%$"), headers, content.encode()
    )


def scheme(**options: Any) -> SigV4:
    """Returns a scheme with the options of the suite."""
    given: dict[str, Any] = {"region": "us-east-1", "service": "service", "access_key_id": "AKIDEXAMPLE"}
    given |= {"secret_access_key": SECRET, **options}
    return SigV4(**given)


@pytest.fixture
def at_2015(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time at which the suite was signed."""
    monkeypatch.setattr(sigv4, "_now", lambda: datetime(2015, 8, 30, 12, 36, tzinfo=UTC))


@pytest.mark.usefixtures("at_2015")
@pytest.mark.parametrize("name", sorted(set(VECTORS) - UNENCODED))
def test_suite(name: str) -> None:
    """The scheme writes the Authorization that the suite gives."""
    request = parsed(VECTORS[name]["req"])
    token = re.search("x-amz-security-token:(.+)", VECTORS[name]["creq"])
    scheme(session_token=token and token[1]).authenticate(request)
    assert request.headers["Authorization"] == VECTORS[name]["authz"]


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_reference(name: str) -> None:
    """What the other tests compare with accepts the suite, and nothing that differs from it."""
    request = parsed(VECTORS[name]["req"])
    target = dots_removed(VECTORS[name]["req"].partition(" ")[2].partition(" HTTP/")[0])
    content = cast("bytes", request.content)
    headers = HTTPHeaderDict(request.headers)
    headers["Host"] = "example.amazonaws.com"
    if token := re.search("x-amz-security-token:(.+)", VECTORS[name]["creq"]):
        headers["X-Amz-Security-Token"] = token[1]
    with pytest.raises(AssertionError, match="no signature"):
        check(request.method, target, headers, content, SECRET)
    headers["Authorization"] = VECTORS[name]["authz"]
    check(request.method, target, headers, content, SECRET)
    for method, other_target, other_content, secret in (
        ("PATCH", target, content, SECRET),
        (request.method, f"{target}x", content, SECRET),
        (request.method, target, content + b" ", SECRET),
        (request.method, target, content, SECRET + "x"),
    ):
        with pytest.raises(AssertionError):
            check(method, other_target, headers, other_content, secret)


def dots_removed(target: str) -> str:
    """Returns the target as a Client would send it: without dot segments."""
    path, mark, query = target.partition("?")
    return (parse_url(f"http://x{path}").path or "/") + mark + query if "/." in path else target


# "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)", Amazon S3 API Reference
S3 = [
    (
        Request(
            "GET", "https://examplebucket.s3.amazonaws.com/test.txt", HTTPHeaderDict({"Range": "bytes=0-9"})
        ),
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    (
        Request(
            "PUT",
            "https://examplebucket.s3.amazonaws.com/test$file.text",
            HTTPHeaderDict(
                {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}
            ),
            b"Welcome to Amazon S3.",
        ),
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    (
        Request("GET", "https://examplebucket.s3.amazonaws.com/?lifecycle", HTTPHeaderDict()),
        "host;x-amz-content-sha256;x-amz-date",
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    (
        Request("GET", "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J", HTTPHeaderDict()),
        "host;x-amz-content-sha256;x-amz-date",
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
]


@pytest.mark.parametrize(("example", "names", "signature"), S3)
def test_s3_examples(example: Request, names: str, signature: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheme signs for S3 as the examples in its reference are signed."""
    monkeypatch.setattr(sigv4, "_now", lambda: datetime(2013, 5, 24, tzinfo=UTC))
    request = example.copy()
    scheme(service="s3", access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key=S3_SECRET).authenticate(
        request
    )
    assert request.headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}"
    )
