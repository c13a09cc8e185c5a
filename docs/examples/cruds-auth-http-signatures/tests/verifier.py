"""A verifier by the text of RFC 9421 and RFC 9530, of the standard library alone."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

#: Takes a signature and what it is of, and raises if it is not.
Check = Callable[[bytes, bytes], object]

_STRING = r'"[^"\\]*"'
_COMPONENT = re.compile(rf"{_STRING}(?:;name={_STRING})?")
_INPUT = re.compile(rf"([a-z*][a-z0-9_.*-]*)=(\(((?:{_COMPONENT.pattern}(?: {_COMPONENT.pattern})*)?)\)(.*))")
_PARAMETER = re.compile(rf";([a-z]+)=([0-9]+|{_STRING})")
_DIGEST = re.compile(r"(sha-256|sha-512)=:([A-Za-z0-9+/=]+):")


@dataclass(frozen=True)
class Message:
    """A request as a server sees it: where it went stands in Host.

    Attributes:
        method: The method.
        target: Path and query.
        headers: The headers, by names in small letters.
        content: The content.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    content: bytes

    def component(self, identifier: str) -> str:
        """The value of a component (RFC 9421, section 2)."""
        path, _, query = self.target.partition("?")
        name, _, parameter = identifier[1:].removesuffix('"').partition('";name="')
        derived = {
            "@method": self.method,
            "@authority": self.headers["host"].lower().removesuffix(":80"),
            "@path": path,
            "@query": f"?{query}",
            "@target-uri": f"http://{self.headers['host'].removesuffix(':80')}{self.target}",
            "@request-target": self.target,
            "@scheme": "http",
            "@query-param": "".join(value for key, value in parse_qsl(query) if key == parameter),
        }
        if name.startswith("@"):
            return derived[name]
        assert name in self.headers, f'"{name}" is covered, and not there'
        return self.headers[name].strip()


def verify(message: Message, check: Check, *, now: float | None = None) -> dict[str, str | int]:
    """Check the only signature of a message, and its digest where the signature covers one.

    Returns:
        The parameters of the signature, with the names of its components under ``"covered"``.

    Raises:
        AssertionError: There is no valid signature.
    """
    found = _INPUT.fullmatch(message.headers.get("signature-input", ""))
    assert found, f"no Signature-Input (got {message.headers.get('signature-input')!r})"
    label, inner, listed, after = found.groups()
    covered = tuple(_COMPONENT.findall(listed))
    parameters: dict[str, str | int] = {
        name: value.strip('"') if value.startswith('"') else int(value)
        for name, value in _PARAMETER.findall(after)
    }
    assert _PARAMETER.sub("", after) == "", f"unknown parameters: {after}"
    assert len(set(covered)) == len(covered), "a component is covered twice"
    value = message.headers.get("signature", "")
    assert value.startswith(f"{label}=:") and value.endswith(":"), "no Signature with the label of its input"
    # RFC 9421, section 2.5: each line ends with a line feed, but for the last
    lines = [f"{identifier}: {message.component(identifier)}" for identifier in covered]
    base = "\n".join([*lines, f'"@signature-params": {inner}'])
    try:
        check(base64.b64decode(value[len(label) + 2 : -1], validate=True), base.encode("ascii"))
    except Exception as error:
        msg = f"the signature is not that of:\n{base}"
        raise AssertionError(msg) from error
    if "expires" in parameters:
        assert int(str(parameters["expires"])) > (time.time() if now is None else now), "it has expired"
    if '"content-digest"' in covered:
        _check_digest(message)
    return {**parameters, "covered": " ".join(covered).replace('"', "")}


def _check_digest(message: Message) -> None:
    found = _DIGEST.fullmatch(message.headers["content-digest"])
    assert found, "no Content-Digest"
    digest = hashlib.new(found[1].replace("-", ""), message.content).digest()
    assert digest == base64.b64decode(found[2]), "Content-Digest is not that of the content"
