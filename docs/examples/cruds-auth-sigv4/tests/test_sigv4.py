"""What is signed and what is not, and where the credentials come from."""

import io
import json
import logging
import pickle
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from traceback import TracebackException
from typing import Any

import pytest
from cruds_core import AuthError, Plugins, Request
from reference import check
from urllib3 import HTTPHeaderDict

from cruds_auth_sigv4 import SigV4
from cruds_auth_sigv4 import scheme as sigv4

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def scheme(**options: Any) -> SigV4:
    """Returns a scheme for STS, unless the options say otherwise."""
    given: dict[str, Any] = {"region": "eu-west-1", "service": "sts", "access_key_id": "AKIDEXAMPLE"}
    given |= {"secret_access_key": SECRET, **options}
    return SigV4(**given)


def request(url: str = "https://api.example.com/v1?q=1", content: Any = None, method: str = "GET") -> Request:
    """Returns a request without credentials."""
    return Request(method, url, HTTPHeaderDict(), content)


def verified(sent: Request, content: bytes = b"", secret: str = SECRET) -> None:
    """Checks a signed request as a server that received it would."""
    target = "/" + sent.url.split("/", 3)[3]
    headers = HTTPHeaderDict(sent.headers)
    headers.setdefault("Host", sent.url.split("/")[2])
    check(sent.method, target, headers, content, secret)


@pytest.mark.parametrize(
    "query",
    ["a+b=c+d", "&a=1&&b", "a=1&a=0&A=2", "acl", "q=a=b", "q=%c3%a9/:;,@!$'()*", "z=%41&y=~._-", "q=%2B"],
)
@pytest.mark.parametrize("service", ["s3", "sts"])
def test_query(service: str, query: str) -> None:
    """A query is signed as AWS reads it, however it was written."""
    sent = request(f"https://api.example.com/v1?{query}")
    scheme(service=service).authenticate(sent)
    verified(sent)


def test_plus_in_a_query() -> None:
    """A "+" in a query is sent as the space that it stands for in a form, which no server reads otherwise."""
    sent = request("https://api.example.com/v1?a+b=c%2Bd")
    scheme().authenticate(sent)
    assert sent.url == "https://api.example.com/v1?a%20b=c%2Bd"


@pytest.mark.parametrize("path", ["", "/", "/a//b/", "/a%20b", "/a:b@c,d;e=f", "/%41", "/a%2Fb", "/100%25"])
@pytest.mark.parametrize("service", ["s3", "sts"])
def test_path(service: str, path: str) -> None:
    """A path is signed as AWS reads it, encoded once for S3 and once more for the others."""
    sent = request(f"https://api.example.com{path}")
    scheme(service=service).authenticate(sent)
    verified(sent)


@pytest.mark.parametrize("service", ["s3", "sts"])
def test_encoded_dots_stay(service: str) -> None:
    """Dots that are encoded are not decoded: they would be taken out of the path that is sent."""
    sent = request("https://api.example.com/v1/%2E%2E/other")
    scheme(service=service).authenticate(sent)
    assert sent.url == "https://api.example.com/v1/%2E%2E/other"


def test_host_of_the_caller() -> None:
    """A Host that the caller sets is what is signed, as it is what is sent."""
    sent = request()
    sent.headers["Host"] = "other.example.com"
    scheme().authenticate(sent)
    verified(sent)


def test_every_attempt_is_signed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that was signed before carries one signature, of the new time."""
    sent = request()
    for hour in (12, 13):
        now = datetime(2026, 1, 2, hour, tzinfo=UTC)
        monkeypatch.setattr(sigv4, "_now", lambda now=now: now)
        scheme().authenticate(sent)
        assert sent.headers.getlist("X-Amz-Date") == [f"20260102T{hour}0000Z"]
        assert len(sent.headers.getlist("Authorization")) == 1
        verified(sent)


def test_content_of_a_reader_in_pieces() -> None:
    """A reader is hashed piece by piece, and never as a whole."""
    asked: list[int | None] = []

    class Reader(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(size)
            return super().read(size)

    content = bytes(range(256)) * 20_000
    sent = request(content=Reader(content), method="PUT")
    scheme(service="s3").authenticate(sent)
    verified(sent, content)
    assert len(asked) > 2
    assert all(size and size <= 1 << 20 for size in asked)


class Pipe(io.BytesIO):
    """A reader that cannot seek."""

    def seekable(self) -> bool:
        """Says so."""
        return False


def test_stream_is_refused() -> None:
    """Content that cannot be read twice is refused, and not read at all."""
    pipe = Pipe(b"content")
    with pytest.raises(AuthError, match="cannot be signed"):
        scheme(service="s3").authenticate(request(content=pipe, method="PUT"))
    assert pipe.read() == b"content"


def test_unsigned_content() -> None:
    """With sign_content=False the content is left alone over https, and signed over http all the same."""
    auth = scheme(service="s3", sign_content=False)
    sent = request(content=Pipe(b"content"), method="PUT")
    auth.authenticate(sent)
    assert sent.headers["X-Amz-Content-SHA256"] == "UNSIGNED-PAYLOAD"
    sent = request("http://127.0.0.1:1/x", b"content", "PUT")
    auth.authenticate(sent)
    verified(sent, b"content")


def test_content_hash_where_it_is_wanted() -> None:
    """Other services get the header with the hash where the caller has set one, of whatever value."""
    sent = request(content=b"content", method="POST")
    scheme().authenticate(sent)
    assert "X-Amz-Content-SHA256" not in sent.headers
    sent.headers["x-amz-content-sha256"] = "anything"
    scheme().authenticate(sent)
    verified(sent, b"content")


def test_log_has_no_token(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged while a request is signed: botocore's own way would log the session token."""
    caplog.set_level(logging.DEBUG)
    scheme(session_token="temporary-token").authenticate(request())
    assert caplog.records == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"access_key_id": None}, "access_key_id and secret_access_key go together"),
        ({"secret_access_key": None}, "access_key_id and secret_access_key go together"),
        ({"access_key_id": None, "secret_access_key": None, "session_token": "x"}, "session_token needs"),
        ({"profile": "x"}, "profile is where"),
        ({"sign_content": False}, 'for S3 alone .got service="sts"'),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    """Options that contradict each other are refused with what to do."""
    with pytest.raises(ValueError, match=message):
        scheme(**options)


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An environment in which botocore finds nothing, and asks nobody."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "DEFAULT_PROFILE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    sigv4.credentials_of.cache_clear()
    yield
    sigv4.credentials_of.cache_clear()


@pytest.mark.usefixtures("no_credentials")
def test_credentials_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials of its own, the scheme has those of the environment. No traceback shows them."""
    auth = SigV4("eu-west-1", "sts")
    with pytest.raises(AuthError, match="botocore finds no credentials"):
        auth.authenticate(request())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    sent = request()
    auth.authenticate(sent)
    verified(sent)
    assert "Credential=AKIDENVIRONMENT/" in sent.headers["Authorization"]
    assert sent.headers["X-Amz-Security-Token"] == "token"
    with pytest.raises(AuthError) as caught:
        auth.authenticate(request(content=Pipe(b"content"), method="PUT"))
    shown = "".join(TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "credentials = " in shown
    assert SECRET not in shown


@pytest.mark.usefixtures("no_credentials")
def test_credentials_of_a_profile_are_renewed(tmp_path: Path) -> None:
    """Temporary credentials of a profile are asked for again when they are about to expire."""
    soon = datetime.now(UTC) + timedelta(minutes=1)
    answer = {
        "Version": 1,
        "SecretAccessKey": SECRET,
        "SessionToken": "token",
        "Expiration": soon.isoformat(),
    }
    script = tmp_path / "script.py"
    script.write_text(
        f"import json, time\nprint(json.dumps({answer!r} | {{'AccessKeyId': 'ASIA' + str(time.time_ns())}}))"
    )
    (tmp_path / "config").write_text(f"[profile work]\ncredential_process = {sys.executable} {script}\n")
    auth = SigV4("eu-west-1", "sts", profile="work")
    ids: set[str] = set()
    for _ in range(2):
        sent = request()
        auth.authenticate(sent)
        verified(sent)
        ids.add(sent.headers["Authorization"].split("=")[1].split("/")[0])
    assert len(ids) == 2


@pytest.mark.usefixtures("no_credentials")
def test_profile_that_is_missing() -> None:
    """A profile that is not there is an AuthError when it is needed."""
    with pytest.raises(AuthError, match="could not be found"):
        SigV4("eu-west-1", "sts", profile="work").authenticate(request())


def test_repr_and_pickle() -> None:
    """The repr shows no secret; one that finds its credentials can be pickled, one with a key cannot."""
    assert repr(scheme(session_token="x")) == (
        "SigV4(region='eu-west-1', service='sts', access_key_id='AKIDEXAMPLE')"
    )
    assert repr(pickle.loads(pickle.dumps(SigV4("eu-west-1", "sts")))) == (
        "SigV4(region='eu-west-1', service='sts', access_key_id=None)"
    )
    with pytest.raises(TypeError, match="secret_access_key is a plain text"):
        pickle.dumps(scheme())


def test_by_name() -> None:
    """The scheme is built by its name, from what a configuration file would hold."""
    options = json.loads('{"region": "eu-west-1", "service": "s3", "profile": "work"}')
    assert isinstance(Plugins().create("sigv4", **options), SigV4)
