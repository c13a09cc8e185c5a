"""The computations of Digest, against the examples of the RFCs and against hashlib."""

import hashlib
import io
import unicodedata
from dataclasses import dataclass

import pytest
from servers.digest import parse

from cruds_auth_basic.challenge import parse_challenges
from cruds_auth_basic.session import Session
from cruds_core import AuthError, Content, Headers, Request
from cruds_core.multipart import encode_form

HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
USERHASH = hashlib.md5("ü:r".encode(), usedforsecurity=False).hexdigest()
FORMS = [name + suffix for name in HASHES for suffix in ("", "-sess")]


@dataclass(frozen=True)
class Example:
    """An example of an RFC: a GET with its challenge, and what answers it."""

    challenge: str
    username: str
    password: str
    uri: str
    cnonce: str
    sent_username: str
    response: str


RFC_7616_CHALLENGE = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


def rfc_7616(algorithm: str, response: str) -> Example:
    """Returns an example of RFC 7616, section 3.9.1."""
    return Example(
        challenge=RFC_7616_CHALLENGE.format(algorithm),
        username="Mufasa",
        password="Circle of Life",
        uri="/dir/index.html",
        cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        sent_username="Mufasa",
        response=response,
    )


EXAMPLES = {
    "RFC 7616, section 3.9.1, MD5": rfc_7616("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
    "RFC 7616, section 3.9.1, SHA-256": rfc_7616(
        "SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
    ),
    # What the RFC prints here belongs to another hash function: erratum 4897.
    "RFC 7616, section 3.9.2, corrected": Example(
        challenge='Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, '
        'nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", '
        'opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true',
        username="Jäsøn Doe",
        password="Secret, or not?",
        uri="/doe.json",
        cnonce="NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
        sent_username="793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b",
        response="3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5",
    ),
    "RFC 2617, section 3.5": Example(
        challenge='Digest realm="testrealm@host.com", qop="auth,auth-int", '
        'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"',
        username="Mufasa",
        password="Circle Of Life",
        uri="/dir/index.html",
        cnonce="0a4f113b",
        sent_username="Mufasa",
        response="6629fae49393a05397450978507c4ef1",
    ),
    # The RFC prints the response for a password that it does not: erratum 749.
    "RFC 2069, section 2.4, corrected": Example(
        challenge='Digest realm="testrealm@host.com", '
        'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"',
        username="Mufasa",
        password="CircleOfLife",
        uri="/dir/index.html",
        cnonce="",
        sent_username="Mufasa",
        response="1949323746fe6a43ef61f9606e7febea",
    ),
}


def session_for(challenge: str, cnonce: str = "0a4f113b") -> Session:
    """Returns the session that a WWW-Authenticate leads to, with a known cnonce."""
    session = Session.from_challenge(parse_challenges(challenge)[0].parameters)
    session.cnonce = cnonce
    return session


def request(method: str, target: str, content: Content = None) -> Request:
    """Returns a request to some server."""
    return Request(method, f"http://a{target}", Headers(), content)


def answer(
    session: Session, content: Content = None, credentials: tuple[str, str] = ("u", "p")
) -> dict[str, str]:
    """Returns the parameters of the next Authorization for a PUT."""
    return parse(session.authorization(*credentials, request("PUT", "/x?y=1", content)))


def expected(given: dict[str, str], content: bytes = b"", first_nonce: str = "", a1: bytes = b"u:r:p") -> str:
    """Returns the response that RFC 7616, section 3.4.1 has for a PUT to /x?y=1."""

    def h(data: bytes) -> bytes:
        name = HASHES[given.get("algorithm", "MD5").removesuffix("-sess")]
        return hashlib.new(name, data, usedforsecurity=False).hexdigest().encode()

    nonce, nc, cnonce = (given[name].encode() for name in ("nonce", "nc", "cnonce"))
    if given["algorithm"].endswith("-sess"):
        a1 = h(a1) + b":" + first_nonce.encode() + b":" + cnonce
    a2 = b"PUT:/x?y=1" + (b":" + h(content) if given["qop"] == "auth-int" else b"")
    return h(b":".join((h(a1), nonce, nc, cnonce, given["qop"].encode(), h(a2)))).decode()


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_examples_of_the_rfcs(example: Example) -> None:
    """Each example of the RFCs is answered as it is printed there, or as its erratum has it."""
    session = session_for(example.challenge, example.cnonce)
    given = parse(session.authorization(example.username, example.password, request("GET", example.uri)))
    challenge = parse_challenges(example.challenge)[0].parameters
    echoed = {
        name: challenge[name] for name in ("realm", "nonce", "opaque", "algorithm") if name in challenge
    }
    proof = {"username": example.sent_username, "uri": example.uri, "response": example.response}
    count = {"qop": "auth", "nc": "00000001", "cnonce": example.cnonce} if "qop" in challenge else {}
    userhash = {"userhash": "true"} if "userhash" in challenge else {}
    assert given == echoed | proof | count | userhash


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("qop", ["auth", "auth-int"])
def test_every_form(form: str, qop: str) -> None:
    """Every algorithm and session form gives what hashlib gives, and a nextnonce keeps the session's key."""
    session = session_for(f'Digest realm="r", nonce="first", algorithm={form}, qop="{qop}"')
    for nonce, nc in (("first", "00000001"), ("first", "00000002"), ("next", "00000001")):
        if nonce != session.nonce:
            session.renew(nonce)
        given = answer(session, b"content")
        assert (given["nonce"], given["nc"], given["qop"], given["algorithm"]) == (nonce, nc, qop, form)
        assert given["response"] == expected(given, b"content", first_nonce="first")


@pytest.mark.parametrize("written", ["md5", "sha-256-SESS", "Sha-512-256"])
def test_algorithm_in_any_case(written: str) -> None:
    """An algorithm is known in any case, and sent back as the server wrote it."""
    given = answer(session_for(f'Digest realm="r", nonce="n", algorithm={written}, qop="auth"'))
    assert given["algorithm"] == written
    known = given | {"algorithm": written.upper().replace("SESS", "sess")}
    assert given["response"] == expected(known, first_nonce="n")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="none"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00content", id="bytes"),
        pytest.param(io.BytesIO(b"read" * 50_000), id="reader"),
        pytest.param(encode_form({"note": "x", "file": io.BytesIO(b"\xff" * 200_000)})[0], id="multipart"),
    ],
)
def test_auth_int_protects_content(content: Content) -> None:
    """With auth-int content of any kind is part of the proof, wherever its reader stands."""
    data = content or b"" if content is None or isinstance(content, bytes) else content.read()
    given = answer(session_for('Digest realm="r", nonce="n", algorithm=MD5, qop="auth-int"'), content)
    assert given["response"] == expected(given, data)


class Stream:
    """Content that can be read only once."""

    def read(self, size: int = -1, /) -> bytes:
        """Nobody may."""
        raise AssertionError

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Nobody may."""
        raise AssertionError

    def seekable(self) -> bool:
        """It is not."""
        return False


def test_auth_int_refuses_a_stream() -> None:
    """With auth-int a stream is refused unread, and with auth it is not looked at."""
    with pytest.raises(AuthError, match="cannot be signed: its content is a stream"):
        answer(session_for('Digest realm="r", nonce="n", qop="auth-int"'), Stream())
    assert answer(session_for('Digest realm="r", nonce="n", qop="auth"'), Stream())["qop"] == "auth"


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ("auth,auth-int", "auth"),
        ("auth-int, auth", "auth"),
        ("token, AUTH-INT", "auth-int"),
        ("Auth", "auth"),
    ],
)
def test_choice_of_qop(offered: str, taken: str) -> None:
    """Of several qop auth is taken, and one that nobody knows is passed over."""
    assert answer(session_for(f'Digest realm="r", nonce="n", qop="{offered}", algorithm=MD5'))["qop"] == taken


@pytest.mark.parametrize(
    "parameters",
    [
        {"realm": "r"},
        {"nonce": "n"},
        {"realm": "r", "nonce": "n", "qop": "auth-conf"},
        {"realm": "r", "nonce": "n", "algorithm": "SHA-512"},
        {"realm": "r", "nonce": "n", "algorithm": "MD5-sess-sess", "qop": "auth"},
        {"realm": "r", "nonce": "n", "algorithm": ""},
        {"realm": "r", "nonce": "n", "algorithm": "MD5-sess"},
    ],
    ids=str,
)
def test_unusable_challenge(parameters: dict[str, str]) -> None:
    """A challenge that lacks realm or nonce, or asks for what RFC 7616 does not define, is refused."""
    with pytest.raises(ValueError, match=r"unknown|no nonce|without qop"):
        Session.from_challenge(parameters)


def test_cnonces_differ() -> None:
    """Each session has a cnonce of its own, of at least 128 bits in hexadecimal."""
    parameters = {"realm": "r", "nonce": "n", "qop": "auth"}
    cnonces = {Session.from_challenge(parameters).cnonce for _ in range(100)}
    assert len(cnonces) == 100
    assert min(map(len, cnonces)) >= 32


@pytest.mark.parametrize(
    ("username", "challenge", "sent"),
    [
        ("ü", "", {"username": "Ã¼"}),
        ("ü ä'\"*%", ", charset=UTF-8", {"username*": "UTF-8''%C3%BC%20%C3%A4%27%22%2A%25"}),
        ("plain", ", charset=utf-8", {"username": "plain"}),
        ("ü", ", charset=UTF-8, userhash=TRUE", {"username": USERHASH, "userhash": "true"}),
        ('a"b\\c', "", {"username": 'a"b\\c'}),
        ("plain", ", userhash=false", {"username": "plain"}),
    ],
)
def test_forms_of_the_username(username: str, challenge: str, sent: dict[str, str]) -> None:
    """A username goes out quoted, as username* where the server knows UTF-8, or hashed if asked for."""
    session = session_for(f'Digest realm="r", nonce="n", qop="auth", algorithm=MD5{challenge}')
    given = answer(session, credentials=(username, "p"))
    assert {name: given[name] for name in given if name.startswith("user")} == sent
    assert given["response"] == expected(given, a1=f"{username}:r:p".encode())


def test_utf8_is_normalised() -> None:
    """With charset=UTF-8 username and password are in Normalization Form C (RFC 7616, section 4)."""
    apart = unicodedata.normalize("NFD", "jäger")
    session = session_for('Digest realm="r", nonce="n", qop="auth", algorithm=MD5, charset=UTF-8')
    given = answer(session, credentials=(apart, apart))
    assert given["username*"] == "UTF-8''j%C3%A4ger"
    assert given["response"] == expected(given, a1="jäger:r:jäger".encode())


def test_octets_of_the_server_come_back() -> None:
    """What is not ASCII in realm, nonce and opaque goes back octet by octet, and into the proof."""
    octets = 'r "ü" \\'.encode().decode("latin-1")
    written = octets.replace("\\", "\\\\").replace('"', '\\"')
    session = session_for(
        f'Digest realm="{written}", nonce="{written}", opaque="{written}", qop="auth", algorithm=MD5'
    )
    given = answer(session)
    assert (given["realm"], given["nonce"], given["opaque"]) == (octets, octets, octets)
    as_sent = given | {"nonce": 'r "ü" \\'}  # so that its UTF-8 are the octets of the server
    assert given["response"] == expected(as_sent, a1='u:r "ü" \\:p'.encode())
