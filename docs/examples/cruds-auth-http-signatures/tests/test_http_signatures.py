"""What the scheme signs, and what it refuses."""

from __future__ import annotations

import io
import pickle
import tracemalloc
from typing import Any

import pytest
from cruds_core import AuthError, Content, Headers, Request
from cruds_core.multipart import Stream
from cruds_core.testing import AuthContract, Received

import keys
from cruds_auth_http_signatures import HttpSignatures
from verifier import Message, verify

KEY, PUBLIC = keys.make("ed25519")
CHECK = keys.check("ed25519", PUBLIC)


class TestContract(AuthContract):
    """The contract of CRUDs, with each request verified as it arrived."""

    version = 1
    scheme = "http-signatures"
    secrets = ("key",)
    bad_options = (
        {"key": "no key"},
        {"key_id": ""},
        {"algorithm": "hs256"},
        {"components": ()},
        {"lifetime": 0},
    )
    sends_header = "Signature"
    signs_content = True

    def options(self, url: str) -> dict[str, Any]:
        return {"key": KEY, "key_id": "key-1"}

    def verify(self, request: Received) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        parameters = verify(Message(request.method, request.target, headers, request.content), CHECK)
        covered = str(parameters["covered"]).split()
        assert covered[:4] == ["@method", "@authority", "@path", "@query"]
        assert not request.content or "content-digest" in covered


def key_from_elsewhere() -> str:
    return KEY


def sign(
    auth: HttpSignatures, url: str, content: Content = None, method: str = "POST", **headers: str
) -> Request:
    given = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    request = Request(method, url, given, content)
    auth.authenticate(request)
    return request


def received(request: Request, target: str, host: str, content: bytes = b"") -> Message:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Message(request.method, target, {"host": host, **headers}, content)


@pytest.mark.parametrize("algorithm", keys.ALGORITHMS)
def test_every_algorithm_signs(algorithm: str) -> None:
    """What is signed is verified with the public part of the key, and names its algorithm."""
    key, public = keys.make(algorithm)
    request = sign(HttpSignatures(key, "key-1", algorithm), "https://api.example.com/x", b"{}")
    parameters = verify(received(request, "/x", "api.example.com", b"{}"), keys.check(algorithm, public))
    assert parameters["alg"] == algorithm


@pytest.mark.parametrize(
    ("url", "target", "host"),
    [
        ("https://API.example.com/x?a=1&b=%20", "/x?a=1&b=%20", "api.example.com"),
        ("https://api.example.com:443/x", "/x", "api.example.com"),
        ("http://api.example.com:80/x?", "/x?", "api.example.com"),
        ("https://api.example.com:8443/", "/", "api.example.com:8443"),
        ("https://api.example.com", "/", "api.example.com"),
        ("https://api.example.com.:8443/x", "/x", "api.example.com:8443"),
        ("http://[::1]:8080/x", "/x", "[::1]:8080"),
        ("https://api.example.com/%C3%A4%7Eb//c;d", "/%C3%A4%7Eb//c;d", "api.example.com"),
    ],
)
def test_the_url_is_signed_as_the_server_receives_it(url: str, target: str, host: str) -> None:
    """Path, query and authority are those of the request line and Host: small letters, no default port."""
    message = received(sign(HttpSignatures(KEY, "key-1"), url), target, host)
    parameters = verify(message, CHECK)
    assert parameters["covered"] == "@method @authority @path @query"
    for other in ("/other", target + "?more=1"):
        with pytest.raises(AssertionError):
            verify(Message(message.method, other, message.headers, b""), CHECK)


def test_the_target_uri_has_no_default_port() -> None:
    """A server puts @target-uri together from Host, which has no default port: so does the signature."""
    auth = HttpSignatures(KEY, "key-1", components=["@target-uri"])
    verify(received(sign(auth, "http://api.example.com:80/x?q=1"), "/x?q=1", "api.example.com"), CHECK)


def test_a_host_that_the_caller_sets_is_signed() -> None:
    """Where the caller sets Host, that one is sent, and so it is the authority."""
    request = sign(HttpSignatures(KEY, "key-1"), "http://127.0.0.1:8080/x", Host="api.example.com")
    verify(received(request, "/x", "api.example.com"), CHECK)


def test_content_and_its_type_are_covered_where_there_is_content() -> None:
    """A request with content covers its digest and its type; other content under them is refused."""
    auth = HttpSignatures(KEY, "key-1")
    request = sign(auth, "https://api.example.com/x", b'{"a":1}', Content_Type="application/json")
    message = received(request, "/x", "api.example.com", b'{"a":1}')
    assert verify(message, CHECK)["covered"] == "@method @authority @path @query content-digest content-type"
    with pytest.raises(AssertionError, match="Content-Digest"):
        verify(received(request, "/x", "api.example.com", b'{"a":2}'), CHECK)
    with pytest.raises(AssertionError):
        verify(Message("POST", "/x", {**message.headers, "content-type": "text/plain"}, b'{"a":1}'), CHECK)


def test_empty_content_has_a_digest() -> None:
    """Content of no bytes is content: nobody can put some in its place."""
    request = sign(HttpSignatures(KEY, "key-1"), "https://api.example.com/x", b"")
    parameters = verify(received(request, "/x", "api.example.com"), CHECK)
    assert parameters["covered"] == "@method @authority @path @query content-digest"


def test_a_digest_that_the_caller_gave_is_replaced() -> None:
    """The digest that is sent is always that of the content."""
    request = sign(
        HttpSignatures(KEY, "key-1"), "https://api.example.com/x", b"a", Content_Digest="sha-256=:AA==:"
    )
    verify(received(request, "/x", "api.example.com", b"a"), CHECK)


def test_a_file_is_digested_in_constant_memory() -> None:
    """A file of 8 MB takes less than 1 MB to sign, from wherever it stands."""
    size = 8_000_000
    file = io.BytesIO(bytes(size))
    auth = HttpSignatures(KEY, "key-1")
    sign(auth, "https://api.example.com/x", b"")  # what is made once
    request = Request("POST", "https://api.example.com/x", Headers(), Stream([file]))
    tracemalloc.start()
    try:
        auth.authenticate(request)
        auth.authenticate(request)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    verify(received(request, "/x", "api.example.com", bytes(size)), CHECK)


class _Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False


def test_a_stream_that_cannot_seek_is_refused() -> None:
    """What can be read only once is refused before it is read; without a digest it is signed."""
    pipe = _Pipe(b"content")
    with pytest.raises(
        AuthError, match=r'^POST https://api.example.com/x cannot be signed: .* leave "content-digest"'
    ):
        sign(HttpSignatures(KEY, "key-1"), "https://api.example.com/x?token=1", Stream([pipe]))
    assert pipe.read() == b"content"
    auth = HttpSignatures(KEY, "key-1", components=("@method", "@path"))
    verify(received(sign(auth, "https://api.example.com/x", Stream([pipe])), "/x", "api.example.com"), CHECK)


def test_each_attempt_has_its_own_nonce_and_time() -> None:
    """Two signatures of one request differ in their nonce, and each expires after its lifetime."""
    auth = HttpSignatures(KEY, "key-1", lifetime=60, tag="app")
    first, second = (
        verify(received(sign(auth, "https://api.example.com/x"), "/x", "api.example.com"), CHECK)
        for _ in range(2)
    )
    assert first["nonce"] != second["nonce"]
    assert (first["keyid"], first["tag"]) == ("key-1", "app")
    assert int(str(first["expires"])) - int(str(first["created"])) == 60


def test_a_signature_of_the_caller_is_replaced() -> None:
    """The request carries one signature: what a caller wrote there does not stay beside it."""
    request = sign(
        HttpSignatures(KEY, "key-1"),
        "https://api.example.com/x",
        Signature="old=:AA==:",
        signature_input="old=()",
    )
    verify(received(request, "/x", "api.example.com"), CHECK)


def test_a_field_that_is_not_there_is_an_error() -> None:
    """A field that is to be covered and is missing is an AuthError that names it."""
    auth = HttpSignatures(KEY, "key-1", components=("@method", "date"))
    with pytest.raises(AuthError, match=r'cannot be signed: .*"date" not found'):
        sign(auth, "https://api.example.com/x")


def test_a_callable_is_asked_at_each_request() -> None:
    """A key that changes is followed, and what is no key is an AuthError that does not quote it."""
    other, public = keys.make("ed25519")
    answers = [KEY, other, "not a key"]
    auth = HttpSignatures(lambda: answers.pop(0), "key-1")
    for check in (CHECK, keys.check("ed25519", public)):
        verify(received(sign(auth, "https://api.example.com/x"), "/x", "api.example.com"), check)
    with pytest.raises(
        AuthError, match="what the callable given as key returned is no private key"
    ) as caught:
        sign(auth, "https://api.example.com/x")
    assert "not a key" not in str(caught.value)
    assert caught.value.__context__ is None


def test_it_pickles_with_an_importable_callable() -> None:
    """A scheme that has signed is pickled without its key, and signs when it is back; a plain key is not."""
    auth = HttpSignatures(key_from_elsewhere, "key-1", tag="app")
    sign(auth, "https://api.example.com/x")
    data = pickle.dumps(auth)
    assert KEY.splitlines()[1].encode() not in data
    again: HttpSignatures = pickle.loads(data)  # noqa: S301 - ours
    verify(received(sign(again, "https://api.example.com/x"), "/x", "api.example.com"), CHECK)
    with pytest.raises(TypeError, match="key is a plain text"):
        pickle.dumps(HttpSignatures(KEY, "key-1"))


RSA_KEY = keys.make("rsa-pss-sha512")[0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"key": 1}, TypeError, "key must be a str or a callable"),
        ({"key": "secret"}, ValueError, "key is no private key for ed25519; give one in PEM"),
        ({"key": PUBLIC}, ValueError, "key is no private key for ed25519"),
        ({"key": RSA_KEY}, ValueError, "key is no private key for ed25519"),
        ({"key": KEY, "algorithm": "hmac-sha256"}, ValueError, "key is empty or not base64"),
        ({"key": "", "algorithm": "hmac-sha256"}, ValueError, "key is empty or not base64"),
        ({"algorithm": "hs256"}, ValueError, "algorithm must be one of ed25519, .* \\(got 'hs256'\\)"),
        ({"algorithm": ["ed25519"]}, ValueError, "algorithm must be one of"),
        ({"key_id": ""}, ValueError, "key_id is empty or"),
        ({"key_id": "ä"}, ValueError, "key_id is empty or"),
        ({"key_id": None}, TypeError, "key_id must be a str"),
        ({"components": "@method"}, TypeError, "components must be a sequence of names"),
        ({"components": ()}, ValueError, "components is empty"),
        ({"components": ["@status"]}, ValueError, "components must be .* \\(got '@status'\\)"),
        ({"components": ["Content-Type"]}, ValueError, "components must be .* small letters"),
        ({"components": ["@path", "@path"]}, ValueError, "components has '@path' twice"),
        ({"components": [1]}, ValueError, "components must be fields in small"),
        ({"lifetime": 0}, ValueError, "lifetime must be from 1"),
        ({"lifetime": float("inf")}, ValueError, "lifetime must be from 1"),
        ({"lifetime": "300"}, TypeError, "lifetime must be seconds"),
        ({"tag": ""}, ValueError, "tag is empty or"),
        ({"label": "Sig"}, ValueError, "label is empty or"),
        ({"digest": "md5"}, ValueError, "digest must be"),
        ({"alg": "no"}, TypeError, "alg and nonce must be True or False"),
        ({"nonce": None}, TypeError, "alg and nonce must be True or False"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    """What cannot work is refused when the scheme is made, by the name of the option and without the key."""
    given: dict[str, Any] = {"key": KEY, "key_id": "key-1", **options}
    with pytest.raises(error, match=message) as caught:
        HttpSignatures(**given)
    assert KEY.splitlines()[1] not in str(caught.value)
    assert caught.value.__context__ is None


def test_parameters_of_components_are_kept() -> None:
    """A component with parameters, as RFC 9421 writes them, is covered as it is."""
    auth = HttpSignatures(KEY, "key-1", components=("@path", '"@query-param";name="id"'))
    request = sign(auth, "https://api.example.com/x?a=1&id=7")
    verify(received(request, "/x?a=2&id=7", "api.example.com"), CHECK)
    with pytest.raises(AssertionError):
        verify(received(request, "/x?a=1&id=8", "api.example.com"), CHECK)
