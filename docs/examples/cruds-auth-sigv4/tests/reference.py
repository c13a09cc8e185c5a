"""The signature as AWS describes it, and nothing else: what a server computes from what it received.

"Create a signed AWS API request", AWS Identity and Access Management User Guide.
"""

import hashlib
import hmac
import re
from urllib.parse import quote, unquote_to_bytes

from urllib3 import HTTPHeaderDict

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([^,]+), "
    r"Signature=([0-9a-f]{64})"
)


def check(method: str, target: str, headers: HTTPHeaderDict, content: bytes, secret: str) -> None:
    """Raises an AssertionError unless a request, as it was received, is signed with the secret.

    Args:
        method: The method.
        target: The path with the query, as in the request line.
        headers: The headers.
        content: The content.
        secret: The secret access key.
    """
    received = {name.lower(): ",".join(headers.getlist(name)) for name in headers}
    parts = AUTHORIZATION.fullmatch(received.get("authorization", ""))
    assert parts, "there is no signature"
    _, day, region, service, names, signature = parts.groups()
    signed = names.split(";")
    date = received["x-amz-date"]
    assert date.startswith(day), "the scope is of another day"
    # "you must include the host header ... and any x-amz-* headers in the request"
    assert {"host", *(name for name in received if name.startswith("x-amz-"))} <= set(signed)

    content_hash = hashlib.sha256(content).hexdigest()
    assert received.get("x-amz-content-sha256", content_hash) == content_hash, "the content is another"
    path, _, query = target.partition("?")
    pairs = [pair.partition("=")[::2] for pair in query.split("&") if pair]
    canonical = "\n".join(
        [
            method,
            canonical_path(path, service),
            "&".join(f"{name}={value}" for name, value in sorted((encoded(n), encoded(v)) for n, v in pairs)),
            *(f"{name}:{' '.join(received.get(name, '').split())}" for name in sorted(signed)),
            "",
            names,
            content_hash,
        ]
    )
    scope = f"{day}/{region}/{service}/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for step in (day, region, service, "aws4_request", to_sign):
        key = hmac.digest(key, step.encode(), "sha256")
    assert hmac.compare_digest(key.hex(), signature), "the signature is of another request, or by another key"


def canonical_path(path: str, service: str) -> str:
    """Returns the path of the canonical request."""
    if service == "s3":
        return "/".join(encoded(segment) for segment in path.split("/"))
    segments = [segment for segment in path.split("/") if segment]  # and no dot segments: none is ever sent
    return quote("/".join(["", *segments, ""] if path.endswith("/") and segments else ["", *segments]) or "/")


def encoded(text: str) -> str:
    """Returns text with all but the unreserved characters encoded (RFC 3986, section 2.3)."""
    return quote(unquote_to_bytes(text), safe="")
