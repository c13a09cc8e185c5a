"""A key for each algorithm, and what checks its signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from verifier import Check

ALGORITHMS = (
    "ed25519",
    "ecdsa-p256-sha256",
    "ecdsa-p384-sha384",
    "rsa-pss-sha512",
    "rsa-v1_5-sha256",
    "hmac-sha256",
)


def make(algorithm: str) -> tuple[str, str]:
    """A new key and its public part, in PEM; for hmac-sha256 twice the same secret in base64."""
    key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if algorithm == "hmac-sha256":
        secret = base64.b64encode(secrets.token_bytes(64)).decode()
        return secret, secret
    if algorithm == "ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    elif algorithm.startswith("ecdsa"):
        key = ec.generate_private_key(ec.SECP256R1() if "p256" in algorithm else ec.SECP384R1())
    else:
        key = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), public.decode()


def check(algorithm: str, public: str) -> Check:
    """What checks a signature with the public part of a key (RFC 9421, section 3.3)."""
    if algorithm == "hmac-sha256":
        secret = base64.b64decode(public)
        return lambda signature, data: _same(hmac.digest(secret, data, hashlib.sha256), signature)
    key = load_pem_public_key(public.encode())
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key.verify
    if isinstance(key, rsa.RSAPublicKey):
        if algorithm == "rsa-v1_5-sha256":
            return lambda signature, data: key.verify(signature, data, padding.PKCS1v15(), SHA256())
        pss = padding.PSS(padding.MGF1(SHA512()), salt_length=64)
        return lambda signature, data: key.verify(signature, data, pss, SHA512())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    of = ec.ECDSA(SHA256() if "p256" in algorithm else SHA384())
    return lambda signature, data: key.verify(_der(signature, key.key_size // 8), data, of)


def _same(expected: bytes, signature: bytes) -> None:
    assert hmac.compare_digest(expected, signature)


def _der(signature: bytes, size: int) -> bytes:
    assert len(signature) == 2 * size
    return encode_dss_signature(int.from_bytes(signature[:size]), int.from_bytes(signature[size:]))
