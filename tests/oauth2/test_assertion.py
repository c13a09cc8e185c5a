"""private_key_jwt: assertions as a server verifies them, and keys that cannot sign them."""

import base64
import functools
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, utils, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from servers.fault import Fault, reply

from cruds_auth_oauth2 import OAuth2
from cruds_core import AuthError

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# Every token has expired when it comes, so that the next call asks for another.
ANSWER = reply(200, b'{"access_token": "a", "expires_in": 0, "refresh_token": "r"}')
FAULT = "private_key must be a private key that can sign"
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


@functools.cache
def key(kind: str) -> Any:
    """Returns the private key of a kind, the same at each call."""
    match kind:
        case "RSA":
            return rsa.generate_private_key(65537, 2048)
        case "weak":
            return rsa.generate_private_key(65537, 1024)  # noqa: S505 - it is to be refused
        case "Ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "Ed448":
            return ed448.Ed448PrivateKey.generate()
        case "X25519":
            return x25519.X25519PrivateKey.generate()
        case "secp256k1":
            return ec.generate_private_key(ec.SECP256K1())
        case _:
            return ec.generate_private_key(CURVES[kind])


def pem(
    kind: str,
    layout: PrivateFormat = PrivateFormat.PKCS8,
    encryption: KeySerializationEncryption | None = None,
) -> str:
    """Returns a private key in PEM."""
    written: bytes = key(kind).private_bytes(Encoding.PEM, layout, encryption or NoEncryption())
    return written.decode()


def public_pem(kind: str) -> str:
    """Returns a public key in PEM."""
    return str(key(kind).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def jwk(kind: str, *, private: bool = True, **members: Any) -> str:
    """Returns a key as a JWK with these members beside its own."""
    kinds: dict[str, Any] = {"RSA": RSAKey, "Ed25519": OKPKey, "X25519": OKPKey}
    made = kinds.get(kind, ECKey).import_key(pem(kind)).as_dict(private=private)
    return json.dumps({**made, **members})


def without(text: str, *names: str) -> str:
    """Returns a JWK without these members."""
    return json.dumps({name: value for name, value in json.loads(text).items() if name not in names})


def forms(private_key: str | Callable[[], str], calls: int = 1, **options: Any) -> list[dict[str, str]]:
    """Returns the forms of a client that is asked so often for a token, which needs no other credentials."""
    with Fault(ANSWER) as server:
        if options.get("issuer") == "":
            options["issuer"] = server.url
        oauth2 = OAuth2(f"{server.url}/token", "client ü", None, None, private_key=private_key, **options)
        for _ in range(calls):
            oauth2.access_token()
    found: list[dict[str, str]] = []
    for request in server.received:
        assert "Authorization" not in request.headers
        pairs = parse_qsl(request.content.decode("ascii"), strict_parsing=True)
        assert len(dict(pairs)) == len(pairs)
        found.append(dict(pairs) | {"url": f"{server.url}{request.target}", "origin": server.url})
    return found


def decoded(part: str) -> bytes:
    """Returns what is written in base64url without padding (RFC 7515, section 2)."""
    assert "=" not in part
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def verified(assertion: str, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns header and claims of an assertion whose signature is right."""
    signed, _, signature = assertion.rpartition(".")
    header, claims = (json.loads(decoded(part)) for part in signed.split("."))
    octets, public = decoded(signature), key(kind).public_key()
    digest: Any = HASHES.get(header["alg"][2:])
    match header["alg"][:2]:
        case "RS":
            public.verify(octets, signed.encode(), padding.PKCS1v15(), digest)
        case "PS":
            salt = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
            public.verify(octets, signed.encode(), salt, digest)
        case "ES":  # RFC 7518, section 3.4: both numbers, of the same length
            half = len(octets) // 2
            pair = int.from_bytes(octets[:half], "big"), int.from_bytes(octets[half:], "big")
            public.verify(utils.encode_dss_signature(*pair), signed.encode(), ec.ECDSA(digest))
        case _:
            public.verify(octets, signed.encode())
    return header, claims


# What is sent


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("RSA", "RS256"),
        ("ES256", "ES256"),
        ("ES384", "ES384"),
        ("ES512", "ES512"),
        ("Ed25519", "EdDSA"),
    ],
)
@pytest.mark.parametrize("written", [pem, jwk])
def test_assertion(written: Callable[[str], str], kind: str, algorithm: str) -> None:
    """A key signs, in PEM or as a JWK, with the algorithm of its kind, what RFC 7523, section 3, asks for."""
    before = int(time.time())
    (form,) = forms(written(kind))
    header, claims = verified(form["client_assertion"], kind)
    assert header["alg"] == algorithm
    assert set(header) <= {"alg", "typ", "kid"}
    assert set(claims) == {"iss", "sub", "aud", "iat", "exp", "jti"}
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("client ü", "client ü", form["url"])
    assert before <= claims["iat"] <= time.time()
    assert claims["exp"] == claims["iat"] + 60


def test_form() -> None:
    """The form names the client, the type of assertion and the assertion, and no secret (section 2.2)."""
    (form,) = forms(pem("ES256"), token_params={"audience": "api"})
    assert set(form) == {
        *("grant_type", "client_id", "client_assertion_type", "client_assertion", "audience"),
        *("url", "origin"),
    }
    assert (form["grant_type"], form["client_id"]) == ("client_credentials", "client ü")
    assert form["client_assertion_type"] == TYPE


def test_each_request_has_its_own() -> None:
    """Every request has an assertion of its own, a refresh too: servers accept a jti once."""
    found = forms(pem("ES256"), calls=5, username="ada", password="pw-0123456")
    assert [form["grant_type"] for form in found] == ["password"] + ["refresh_token"] * 4
    identifiers = {verified(form["client_assertion"], "ES256")[1]["jti"] for form in found}
    assert len(identifiers) == 5
    assert all(len(identifier) >= 20 for identifier in identifiers)


def test_two_clients_have_their_own() -> None:
    """Two clients with one key never use the same jti."""
    found = [*forms(pem("Ed25519")), *forms(pem("Ed25519"))]
    assert len({verified(form["client_assertion"], "Ed25519")[1]["jti"] for form in found}) == 2


@pytest.mark.parametrize(
    ("options", "audience"),
    [
        ({}, "url"),
        ({"issuer": ""}, "origin"),  # that of the server
        ({"assertion_audience": "urn:as"}, "urn:as"),
        ({"assertion_audience": "urn:as", "issuer": ""}, "urn:as"),
    ],
)
def test_audience(options: dict[str, Any], audience: str) -> None:
    """An assertion is for the audience that is given, else for the issuer, else for the token endpoint."""
    (form,) = forms(pem("ES256"), **options)
    _, claims = verified(form["client_assertion"], "ES256")
    assert claims["aud"] == form.get(audience, audience)


@pytest.mark.parametrize(
    ("members", "given", "sent"),
    [
        ({}, None, None),
        ({}, "given", "given"),
        ({"kid": "own"}, None, "own"),
        ({"kid": "own"}, "given", "given"),
        ({}, "ü", "ü"),
    ],
)
def test_key_id(members: dict[str, Any], given: str | None, sent: str | None) -> None:
    """An assertion names its key as it was given, or as the JWK does, or not at all."""
    (form,) = forms(jwk("ES256", **members), private_key_id=given)
    assert verified(form["client_assertion"], "ES256")[0].get("kid") == sent


@pytest.mark.parametrize(
    ("kind", "algorithm"), [("RSA", "RS384"), ("RSA", "PS256"), ("RSA", "PS512"), ("ES256", "ES256")]
)
def test_algorithm_of_a_jwk(kind: str, algorithm: str) -> None:
    """A JWK that names its algorithm is used with this one."""
    (form,) = forms(jwk(kind, alg=algorithm, use="sig", key_ops=["sign"]))
    assert verified(form["client_assertion"], kind)[0]["alg"] == algorithm


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("RSA", pem("RSA", PrivateFormat.TraditionalOpenSSL)),
        ("ES256", pem("ES256", PrivateFormat.TraditionalOpenSSL)),
        ("ES256", pem("ES256").replace("\n", "\r\n")),
        ("ES256", f"\n  {pem('ES256')}\n\n"),
        ("ES256", f"\n {jwk('ES256')} \n"),
    ],
    ids=["PKCS #1", "SEC 1", "CRLF", "white space", "white space around a JWK"],
)
def test_other_ways_to_write_a_key(kind: str, text: str) -> None:
    """Keys are read as other tools write them, with any line breaks and white space around."""
    (form,) = forms(text)
    verified(form["client_assertion"], kind)


# Keys that a callable returns


def test_key_of_a_callable() -> None:
    """A callable that returns the key is asked at each request: a key that was replaced is followed."""
    keys = iter([pem("ES256"), jwk("Ed25519", kid="new")])
    first, second = forms(lambda: next(keys), calls=2)
    assert verified(first["client_assertion"], "ES256")[0]["alg"] == "ES256"
    assert verified(second["client_assertion"], "Ed25519")[0]["kid"] == "new"


@pytest.mark.parametrize(
    "wrong", ["", "garbage-0123", pem("weak"), public_pem("ES256"), None, 5, b"-----BEGIN"]
)
def test_callable_without_a_key(wrong: Any) -> None:
    """Where the callable returns no key that can sign, the error shows nothing of it, and nothing is sent."""
    with Fault(ANSWER) as server:
        oauth2 = OAuth2(server.url, "id", None, None, private_key=lambda: wrong)
        with pytest.raises(AuthError, match="the callable given as private_key") as caught:
            oauth2.access_token()
    assert not server.received
    assert not shown(wrong, caught.value)


# Keys that cannot sign


def shown(text: object, error: BaseException) -> list[str]:
    """Returns the words of a key, those of more than four characters, that an error and its causes show."""
    said: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        said += [str(cause), repr(cause), repr(vars(cause))]
        cause = cause.__cause__ or cause.__context__
    words = set(str(text).replace('"', " ").replace(",", " ").split()) - {"PRIVATE", "Ed25519"}
    return [word for word in words if len(word) > 4 and word in "".join(said)]


NO_KEYS = {
    "nothing": "",
    "a word": "garbage-0123",
    "a secret": "s3cret-0123456789",
    "no base64": "-----BEGIN PRIVATE KEY-----\ngarbage-0123\n-----END PRIVATE KEY-----",
    "no DER": "-----BEGIN PRIVATE KEY-----\nAAAAAAAAAAAA\n-----END PRIVATE KEY-----",
    "half a PEM": pem("ES256")[:80],
    "encrypted": pem("ES256", encryption=BestAvailableEncryption(b"passphrase")),
    "encrypted as PKCS #1": pem(
        "RSA", PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"passphrase")
    ),
    "OpenSSH": pem("Ed25519", PrivateFormat.OpenSSH),
    "public RSA": public_pem("RSA"),
    "public EC": public_pem("ES256"),
    "public Ed25519": public_pem("Ed25519"),
    "weak RSA": pem("weak"),
    "Ed448": pem("Ed448"),
    "X25519": pem("X25519"),
    "another curve": pem("secp256k1"),
    "no JSON": "{garbage-0123",
    "half a JWK": jwk("ES256")[:-40],
    "no JWK": "{}",
    "null": "null",
    "no type": without(jwk("ES256"), "kty"),
    "another type": jwk("ES256", kty="garbage-0123"),
    "a type that is no text": jwk("ES256", kty=["EC"]),
    "deep JSON": '{"a":' * 100_000,
    "an oct JWK": json.dumps(OctKey.generate_key(256).as_dict(private=True)),
    "a public RSA JWK": jwk("RSA", private=False),
    "a public EC JWK": jwk("ES256", private=False),
    "a public OKP JWK": jwk("Ed25519", private=False),
    "an X25519 JWK": jwk("X25519"),
    "another curve as a JWK": jwk("secp256k1"),
    "a weak JWK": json.dumps({"kty": "RSA", "n": "wQ", "e": "AQAB", "d": "AQ"}),
    "a JWK with a number that is none": jwk("ES256", d="garbage-0123!"),
    "a JWK with a number of another type": jwk("ES256", d=5),
    "a JWK whose point is not on the curve": jwk("ES256", x="AQ", y="AQ"),
    "a key set": json.dumps({"keys": [json.loads(jwk("ES256"))]}),
    "a JWK to encrypt": jwk("RSA", use="enc"),
    "a JWK to verify": jwk("ES256", key_ops=["verify"]),
    "a JWK without signature": jwk("RSA", alg="none"),
    "a JWK that signs as a secret": jwk("RSA", alg="HS256"),
    "a JWK that wraps keys": jwk("RSA", alg="RSA-OAEP"),
    "an RSA JWK that says EC": jwk("RSA", alg="ES256"),
    "a JWK of another curve than it says": jwk("ES384", alg="ES256"),
    "a JWK with an unknown algorithm": jwk("ES256", alg="garbage-0123"),
    "a JWK with an algorithm that is no text": jwk("ES256", alg=5),
    "a JWK with a kid that is no text": jwk("ES256", kid=5),
}


@pytest.mark.parametrize("text", NO_KEYS.values(), ids=NO_KEYS)
def test_key_that_cannot_sign(text: str) -> None:
    """What is no private key that signs is refused at construction, by an error that shows none of it."""
    with pytest.raises(ValueError, match=f"^{FAULT}") as caught:
        OAuth2("https://as.example.com", "id", None, None, private_key=text)
    assert not shown(text, caught.value)


@pytest.mark.parametrize(
    "wrong",
    [b"-----BEGIN", 5, 0, ["a"], {"kty": "EC"}, pytest.param(key("ES256"), id="a key's object")],
    ids=repr,
)
def test_key_of_a_wrong_type(wrong: Any) -> None:
    """A key is text, or a callable that returns it; bytes, a dict or a key object are not."""
    with pytest.raises(TypeError, match=r"^private_key must be a str or a callable .* \(got "):
        OAuth2("https://as.example.com", "id", None, None, private_key=wrong)


# Arguments that go with it


@pytest.mark.parametrize("name", ["private_key_id", "assertion_audience"])
@pytest.mark.parametrize("value", [5, b"x", ["x"]])
def test_argument_of_a_wrong_type(name: str, value: Any) -> None:
    """What an assertion says is a str."""
    options: dict[str, Any] = {"private_key": pem("ES256"), name: value}
    with pytest.raises(TypeError, match=f"^{name} must be a str"):
        OAuth2("https://as.example.com", "id", None, None, **options)


@pytest.mark.parametrize("options", [{"private_key_id": "k"}, {"assertion_audience": "urn:as"}])
def test_argument_without_a_key(options: dict[str, Any]) -> None:
    """What says something of an assertion is refused where there is none."""
    with pytest.raises(ValueError, match=next(iter(options))):
        OAuth2("https://as.example.com", "id", "secret", None, **options)


@pytest.mark.parametrize(
    ("secret", "method", "said"),
    [
        ("secret", None, 'client_secret is given, which token_endpoint_auth_method "private_key_jwt"'),
        ("secret", "client_secret_basic", "private_key"),
        ("secret", "client_secret_post", "private_key"),
        (None, "none", "private_key"),
    ],
)
def test_key_beside_another_method(secret: str | None, method: Any, said: str) -> None:
    """A client with a key proves itself by this alone, and is refused what would not be used."""
    with pytest.raises(ValueError, match=said):
        OAuth2(
            *("https://as.example.com", "id", secret, None),
            private_key=pem("ES256"),
            token_endpoint_auth_method=method,
        )
