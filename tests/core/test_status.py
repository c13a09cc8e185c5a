"""An error status as an exception: what it carries, what it says, and what it never says."""

import html
import http.client
import json
import tracemalloc
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from servers.fault import Fault, reply

from cruds.demo.api import DemoAPI
from cruds_auth_basic import ApiKey, Basic
from cruds_core import AuthABC, BearerToken, Client, ClientError, Request, ServerError, StatusError

# A password with what JSON, URLs and HTML write in another way.
SECRET = 's3cr"et &ü/\\<x'


def refused(answer: bytes, auth: Any = None, **options: Any) -> StatusError:
    """Returns the error that a read raises when the server gives this answer."""
    headers, params = options.pop("headers", None), options.pop("params", None)
    options.setdefault("retries", 0)
    with (
        Fault(answer) as server,
        Client(server.url, auth, **options) as client,
        pytest.raises(StatusError) as caught,
    ):
        client.read("things/7?page=2", params, headers=headers)
    return caught.value


def detail(error: StatusError) -> str:
    """Returns what the message says after the status."""
    return str(error).partition("Bad Request")[2].removeprefix(": ")


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, ClientError),
        (404, ClientError),
        (418, ClientError),
        (499, ClientError),
        (500, ServerError),
        (503, ServerError),
        (599, ServerError),
        (600, StatusError),
        (999, StatusError),
    ],
)
def test_class(status: int, cls: type[StatusError]) -> None:
    """4xx is a ClientError, 5xx a ServerError, and what is neither a StatusError."""
    error = refused(reply(status))
    assert type(error) is cls
    assert error.status == status


def test_attributes() -> None:
    """The whole answer is on the error: status, method, URL, headers, content, data, attempts."""
    answer = reply(422, b'{"field": "name"}', X_Request_Id="7")
    with Fault(reply(503), answer) as server, Client(server.url, backoff_factor=0) as client:
        with pytest.raises(ClientError) as caught:
            client.create("things?page=2", {"a": 1}, {"q": 1})
        error = caught.value
    assert (error.status, error.method, error.url, error.attempts) == (422, "POST", f"{server.url}/things", 2)
    assert (error.content, error.data) == (b'{"field": "name"}', {"field": "name"})
    assert error.headers["x-request-id"] == "7"
    assert (error.problem, error.retry_after) == (None, None)
    assert error.response.status == 422


def test_problem_details(api: DemoAPI) -> None:
    """Problem details are on the error as they came, and the message says their detail (RFC 9457)."""
    with Client(api.url, api.token, retries=0) as client, pytest.raises(ClientError) as caught:
        client.create("things", {"no": "name"})
    error = caught.value
    assert error.problem is not None
    assert error.problem["errors"] == [{"field": "name", "detail": "must be a non-empty string"}]
    assert error.data == error.problem
    phrase = http.client.responses[422]  # a later Python has another one
    faults = '{"errors": [{"field": "name", "detail": "must be a non-empty string"}]}'
    said = f'the content must be an object with a "name": {faults}'
    assert str(error) == f"POST {api.url}/things: 422 {phrase}: {said}"


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ({"title": "Bad Request", "detail": "no name"}, "no name"),
        ({"title": "Out of credit", "detail": "30 is less than 50"}, "Out of credit: 30 is less than 50"),
        ({"title": "Out of credit"}, "Out of credit"),
        ({"detail": "no name"}, "no name"),
        ({"title": 5, "detail": ["x"]}, "5: ['x']"),
        ({"title": None, "detail": ""}, '{"title": null, "detail": ""}'),
        ({"limit": 5}, '{"limit": 5}'),
    ],
)
def test_what_a_problem_says(problem: dict[str, Any], said: str) -> None:
    """The message has title and detail of a problem, without the title that only repeats the status."""
    content = json.dumps(problem).encode()
    assert detail(refused(reply(400, content, Content_Type="application/problem+json"))) == said


@pytest.mark.parametrize("member", ["title", "detail", "errors"])
def test_a_problem_that_nests_deep(member: str) -> None:
    """A problem that can be read is told of, though it may nest too deep for Python to write it."""
    for depth in range(800, 1024, 16):  # orjson reads 1024 levels
        content = f'{{"title": "Bad", "{member}": {"[" * depth}{"]" * depth}}}'.encode()
        said = detail(refused(reply(400, content, Content_Type="application/problem+json")))
        assert "[[[" in said


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (404, "404 Not Found"),
        (429, "429 Too Many Requests"),
        (499, "499 (not a registered status)"),
        (600, "600 (not a registered status)"),
    ],
)
def test_message(status: int, phrase: str) -> None:
    """The message names the method, the URL without its query, and the status in words."""
    error = refused(reply(status, b""))
    assert str(error) == f"GET {error.url}: {phrase}"
    assert "page=2" not in str(error)
    assert error.url.endswith("/things/7")


def test_message_counts_attempts() -> None:
    """The message says how often the request was sent when it was more than once."""
    error = refused(reply(500, b""), retries=2, backoff_factor=0)
    assert str(error).endswith("500 Internal Server Error (3 attempts)")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"plain text", "plain text"),
        (b"", ""),
        ("ü☃".encode(), "ü☃"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"a\r\nb\t  c", "a b c"),
        (b"\x1b[31mred\x1b[0m\x00\x07", "[31mred [0m"),
        ("a\u202eb\u200bc\u2028d".encode(), "a b c d"),
    ],
)
def test_the_message_shows_text_alone(content: bytes, said: str) -> None:
    """The content in a message is one line without control characters, which a terminal would obey."""
    assert detail(refused(reply(400, content, Content_Type="text/plain"))) == said


@pytest.mark.parametrize("kind", ["text", "problem"])
def test_the_message_is_short(kind: str) -> None:
    """A message shows 1024 characters of the content, and the error has all of it."""
    if kind == "text":
        answer = reply(400, b"x" * 100_000, Content_Type="text/plain")
    else:
        content = json.dumps({"detail": "x" * 100_000}).encode()
        answer = reply(400, content, Content_Type="application/problem+json")
    error = refused(answer)
    assert detail(error) == "x" * 1024 + "…"
    assert len(error.content) >= 100_000


SCHEMES: dict[str, tuple[AuthABC, str]] = {
    "token": (BearerToken("s3cret-token"), "s3cret-token"),
    "bearer header": (BearerToken("s3cret-token"), "Bearer s3cret-token"),
    "password": (Basic("ada", "s3cret"), "s3cret"),
    "pair": (Basic("ada", "s3cret"), "ada:s3cret"),
    "basic header": (Basic("ada", "s3cret"), "Basic YWRhOnMzY3JldA=="),
    "basic credentials": (Basic("ada", "s3cret"), "YWRhOnMzY3JldA=="),
    "key in a header": (ApiKey("X-Own", "s3cret"), "s3cret"),
    "key in a cookie": (ApiKey("sid", "s3cret", "cookie"), "s3cret"),
    "key in the query": (ApiKey("k", "s3 cret+/", "query"), "s3 cret+/"),
    "key as it was sent": (ApiKey("k", "s3 cret+/", "query"), "s3+cret%2B%2F"),
    "key, percent-encoded": (ApiKey("k", "s3 cret+/", "query"), "s3%20cret%2B%2F"),
}


@pytest.mark.parametrize(("auth", "echoed"), SCHEMES.values(), ids=SCHEMES)
def test_credentials_that_a_server_echoes_are_masked(auth: AuthABC, echoed: str) -> None:
    """What a scheme sent stands as *** in the message, in each form in which a server may say it back."""
    for answer in (
        reply(400, f"got {echoed}, and {echoed}".encode(), Content_Type="text/plain"),
        reply(
            400,
            json.dumps({"detail": f"got {echoed}, and {echoed}"}).encode(),
            Content_Type="application/problem+json",
        ),
    ):
        assert detail(refused(answer, auth)) == "got ***, and ***"


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        json.dumps(SECRET)[1:-1].replace("/", "\\/"),
        quote(SECRET, safe=""),
        quote(SECRET),
        quote_plus(SECRET),
        html.escape(SECRET),
    ],
    ids=["as it is", "JSON, ASCII", "JSON", "JSON of PHP", "URL", "path", "form", "HTML"],
)
def test_a_password_is_masked_as_others_write_it(written: str) -> None:
    """A password is masked where the server wrote it as JSON, URLs or HTML write its characters."""
    answer = reply(400, f"[{written}]".encode(), Content_Type="text/plain")
    assert detail(refused(answer, ("ada", SECRET))) == "[***]"


@pytest.mark.parametrize(
    "charset", ["no-such-charset", "undefined", "idna", "punycode", "hex", "unicode_escape", "utf-16", ""]
)
def test_a_charset_that_cannot_be_used(charset: str) -> None:
    """Whatever charset the server names, the error is a StatusError with a message."""
    error = refused(reply(400, b"[\\x]\xff", Content_Type=f"text/plain; charset={charset}"))
    assert "400 Bad Request: " in str(error)


def test_no_charset_is_kept() -> None:
    """What a server calls its charset takes no memory once the error is gone."""
    answers = [reply(400, b"x", Content_Type=f"text/plain; charset={n}{'y' * 50_000}") for n in range(40)]
    with Fault(answers[0], *answers) as server, Client(server.url, retries=0) as client:
        with pytest.raises(ClientError):
            client.read("x")
        tracemalloc.start()
        try:
            before = tracemalloc.take_snapshot()
            for _ in answers:
                with pytest.raises(ClientError):
                    client.read("x")
            after = tracemalloc.take_snapshot().compare_to(before, "filename")
        finally:
            tracemalloc.stop()
    assert sum(one.size_diff for one in after if "encodings" in one.traceback[0].filename) < 100_000


@pytest.mark.parametrize(
    ("charset", "said"), [("punycode", "blé-a"), ("KOI8-U", "blц╘-a"), ("Latin-1", "blÃ©-a")]
)
def test_charset_of_what_a_server_says(charset: str, said: str) -> None:
    """What a server says is read in the charset that it names, if text on the web is written in it."""
    answer = reply(400, "blé-a".encode(), Content_Type=f"text/plain; charset={charset}")
    assert detail(refused(answer)) == said


def test_a_password_is_masked_in_another_charset() -> None:
    """A password is masked where the server wrote it in the charset that it names."""
    answer = reply(400, "[pässword]".encode("latin-1"), Content_Type="text/plain; charset=iso-8859-1")
    assert detail(refused(answer, ("ada", "pässword"))) == "[***]"


@pytest.mark.parametrize(
    "name",
    ["Authorization", "Cookie", "X-Api-Key", "apikey", "X-Auth-Token", "X-Client-Secret", "X-Password"],
)
def test_credentials_in_headers_are_masked(name: str) -> None:
    """A credential that the user wrote into a header of that meaning is masked, too."""
    value = "sid=s3cret" if name == "Cookie" else "s3cret"
    answer = reply(400, b"got s3cret", Content_Type="text/plain")
    assert detail(refused(answer, headers={name: value})) == "got ***"


def test_a_secret_at_the_end_of_what_is_shown_is_masked() -> None:
    """A secret that reaches over the end of what a message shows is not shown in part."""
    content = b"x" * 1019 + b"s3cret-token" + b"y" * 1000
    error = refused(reply(400, content, Content_Type="text/plain"), "s3cret-token")
    assert "s3cr" not in str(error)
    assert "***" in str(error)


def test_other_headers_are_not_masked() -> None:
    """What is no credential is shown as the server says it."""
    answer = reply(400, b"nothing in de-CH-1996", Content_Type="text/plain")
    error = refused(answer, "s3cret", headers={"Accept-Language": "de-CH-1996"})
    assert detail(error) == "nothing in de-CH-1996"


class Rewriter(AuthABC):
    """Writes the query in its own way, as some signatures want it, and sets a header that is no secret."""

    def authenticate(self, request: Request) -> None:
        """Do both."""
        request.url = request.url.replace("+", "%20") + "&nonce=n0nce-of-ours"
        request.headers["Date"] = "Tuesday-of-1996"


def test_what_a_scheme_only_writes_anew_is_not_masked() -> None:
    """The caller's parameters in another encoding are no credentials, nor is a Date; what is added is."""
    answer = reply(
        400, b"nothing in de-CH 1996 for Tuesday-of-1996, n0nce-of-ours", Content_Type="text/plain"
    )
    error = refused(answer, Rewriter(), params={"place": "de-CH 1996"})
    assert detail(error) == "nothing in de-CH 1996 for Tuesday-of-1996, ***"


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("100000", 100_000.0), ("soon", None)])
def test_retry_after(value: str, seconds: float | None) -> None:
    """The seconds of Retry-After are on the error, and in its message."""
    error = refused(reply(429, b"", Retry_After=value))
    assert error.retry_after == seconds
    assert ("asks to wait" in str(error)) is (seconds is not None)


@pytest.mark.parametrize("status", [401, 403])
def test_hint_after_a_redirect_to_another_origin(status: int) -> None:
    """A refusal at another origin, to which a redirect led, says why no credentials came along."""
    with Fault(reply(status, b"")) as other, Fault(reply(302, b"", Location=f"{other.url}/x?t=1")) as first:
        with Client(first.url, "s3cret", retries=0) as client, pytest.raises(ClientError) as caught:
            client.read("x")
        assert "Authorization" not in other.received[0].headers
    assert f"a redirect led to {other.url}, which gets no credentials" in str(caught.value)
    assert caught.value.url == f"{other.url}/x"


def test_no_hint_without_a_redirect() -> None:
    """A refusal at the host itself says nothing of redirects."""
    assert "redirect led" not in str(refused(reply(401, b""), "s3cret"))
    with Fault(reply(302, b"", Location="/y"), reply(401, b"")) as server:
        with Client(server.url, "s3cret", retries=0) as client, pytest.raises(ClientError) as caught:
            client.read("x")
        assert "redirect led" not in str(caught.value)
        assert f"GET {server.url}/y (redirected from GET {server.url}/x): 401" in str(caught.value)


@pytest.mark.parametrize(
    ("auth", "challenges", "said"),
    [
        ("s3cret", 'Basic realm="x"', "sent with Bearer credentials; the server asks for Basic"),
        (
            ("ada", "s3cret"),
            'Digest realm="x", nonce="y", Bearer',
            "sent with Basic credentials; the server asks for Digest, Bearer",
        ),
        (None, 'Basic realm="a, Bearer b"', "sent without Authorization; the server asks for Basic"),
        (None, "", "sent without Authorization"),
    ],
)
def test_a_401_says_who_asked_for_what(auth: Any, challenges: str, said: str) -> None:
    """The message of a 401 says with which scheme the request was sent, and which the server asks for."""
    error = refused(reply(401, b"", WWW_Authenticate=challenges), auth)
    assert str(error) == f"GET {error.url}: 401 Unauthorized ({said})"


@pytest.mark.parametrize("value", ["s3cret-key", "s3cret-key x", "s3cret=key"])
@pytest.mark.parametrize("form", ["scheme", "header"])
def test_a_401_shows_no_key_that_stands_alone(form: str, value: str) -> None:
    """A key that is the whole of Authorization, without the name of a scheme, is not shown as one."""
    if form == "scheme":
        error = refused(reply(401, b""), ApiKey("Authorization", value))
    else:
        error = refused(reply(401, b""), headers={"Authorization": value})
    assert "s3cret" not in str(error)
