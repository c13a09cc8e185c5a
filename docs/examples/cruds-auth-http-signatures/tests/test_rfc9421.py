"""The scheme, and the verifier of these tests, against RFC 9421, appendix B."""

from __future__ import annotations

import time

import pytest
from cruds_core import Headers, Request

import keys
import rfc9421
from cruds_auth_http_signatures import HttpSignatures
from verifier import Message, verify

CHECKS = {
    "b21": keys.check("rsa-pss-sha512", rfc9421.RSA_PSS_PUBLIC_KEY),
    "b22": keys.check("rsa-pss-sha512", rfc9421.RSA_PSS_PUBLIC_KEY),
    "b23": keys.check("rsa-pss-sha512", rfc9421.RSA_PSS_PUBLIC_KEY),
    "b25": keys.check("hmac-sha256", rfc9421.SHARED_SECRET),
    "b26": keys.check("ed25519", rfc9421.ED25519_PUBLIC_KEY),
}


def message(signed: dict[str, str], content: bytes = rfc9421.CONTENT) -> Message:
    headers = {name.lower(): value for name, value in {**rfc9421.HEADERS, **signed}.items()}
    return Message(rfc9421.METHOD, rfc9421.TARGET, headers, content)


@pytest.mark.parametrize("vector", CHECKS)
def test_the_verifier_accepts_the_signatures_of_the_rfc(vector: str) -> None:
    """The verifier that the scheme is held to accepts each signature of a request in appendix B."""
    signature_input, signature = rfc9421.SIGNED[vector]
    verify(message({"Signature-Input": signature_input, "Signature": signature}), CHECKS[vector])


def test_the_verifier_refuses_what_was_changed() -> None:
    """A method, a target, a field, a content or a signature that is another is refused."""
    signature_input, signature = rfc9421.SIGNED["b23"]
    signed = {"Signature-Input": signature_input, "Signature": signature}
    whole = message(signed)
    verify(whole, CHECKS["b23"])
    for changed in (
        Message("PUT", whole.target, whole.headers, whole.content),
        Message(whole.method, "/bar?param=Value&Pet=dog", whole.headers, whole.content),
        Message(whole.method, "/foo?param=Value", whole.headers, whole.content),
        message({**signed, "Date": "Tue, 20 Apr 2021 02:07:56 GMT"}),
        message({**signed, "Host": "example.org"}),
        message({**signed, "Signature": rfc9421.SIGNED["b22"][1].replace("b22", "b23")}),
        message({"Signature": signature}),
        message({"Signature-Input": signature_input}),
        message(signed, b'{"hello": "World"}'),
    ):
        with pytest.raises(AssertionError):
            verify(changed, CHECKS["b23"])


@pytest.mark.parametrize(
    ("vector", "key", "options"),
    [
        (
            "b25",
            rfc9421.SHARED_SECRET,
            {
                "key_id": "test-shared-secret",
                "algorithm": "hmac-sha256",
                "components": ("date", "@authority", "content-type"),
            },
        ),
        (
            "b26",
            rfc9421.ED25519_KEY,
            {
                "key_id": "test-key-ed25519",
                "components": ("date", "@method", "@path", "@authority", "content-type", "content-length"),
            },
        ),
    ],
)
def test_the_scheme_writes_the_signatures_of_the_rfc(
    vector: str, key: str, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the time of the vectors, the scheme writes B.2.5 and B.2.6 to the byte."""
    monkeypatch.setattr(time, "time", lambda: float(rfc9421.CREATED))
    fields = {name: rfc9421.HEADERS[name] for name in ("Date", "Content-Type")}
    request = Request("POST", f"https://example.com{rfc9421.TARGET}", Headers(fields), rfc9421.CONTENT)
    plain = {"lifetime": None, "label": f"sig-{vector}", "alg": False, "nonce": False}
    HttpSignatures(key, **{**plain, **options}).authenticate(request)  # type: ignore[arg-type]
    assert (request.headers["Signature-Input"], request.headers["Signature"]) == rfc9421.SIGNED[vector]


def test_the_digest_is_that_of_the_rfc() -> None:
    """The SHA-512 digest of the content in B.2 is the one written there."""
    request = Request("POST", "https://example.com/", Headers(), rfc9421.CONTENT)
    HttpSignatures(rfc9421.ED25519_KEY, "key-1", digest="sha-512").authenticate(request)
    assert request.headers["Content-Digest"] == rfc9421.HEADERS["Content-Digest"]


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("ed25519", rfc9421.ED25519_KEY),
        ("ecdsa-p256-sha256", rfc9421.P256_KEY),
        ("rsa-pss-sha512", rfc9421.RSA_PSS_KEY),
        ("hmac-sha256", rfc9421.SHARED_SECRET),
    ],
)
def test_the_keys_of_the_rfc_are_read(algorithm: str, key: str) -> None:
    """Every form of a key in B.1 is read: PKCS #8, that of RSASSA-PSS, that of SEC 1, and a shared secret."""
    request = Request("GET", "https://example.com/", Headers())
    HttpSignatures(key, "key-1", algorithm).authenticate(request)
    assert f'alg="{algorithm}"' in request.headers["Signature-Input"]
