"""Calls to a moto that checks signatures: what is let in, and what is not."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from cruds_core import Client, ClientError

from cruds_auth_sigv4 import SigV4

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Principal": {"AWS": "*"}}],
}
ROLE = "arn:aws:iam::123456789012:role/reader"


@dataclass(frozen=True)
class Moto:
    """A running moto, and a user that it knows."""

    url: str
    access_key_id: str
    secret_access_key: str

    def client(self, service: str, **options: Any) -> Client:
        """Returns a Client that calls a service as the user, or as the options say."""
        user: dict[str, Any] = {
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
        }
        auth = SigV4("us-east-1", service, **{**user, **options})
        return Client(self.url, auth=auth, serialize=False, retries=0)


def ask(client: Client, **parameters: Any) -> str:
    """Calls an action of a service that takes forms, and returns the XML of its answer."""
    pairs = {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()
    }
    return str(client.create("/", urlencode(pairs), headers=FORM).decode())


def tagged(xml: str, *names: str) -> list[str]:
    """Returns the texts of elements, by their names."""
    return [found[1] for name in names if (found := re.search(f"<{name}>(.*?)</{name}>", xml))]


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """A moto that checks the signature of each action but the first four, which make a user and a role."""
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "4"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 60
        while "Running on" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        server = Moto(f"http://127.0.0.1:{port}", "any", "any")
        with server.client("iam") as iam:
            ask(iam, Action="CreateUser", UserName="ada")
            ask(iam, Action="PutUserPolicy", UserName="ada", PolicyName="all", PolicyDocument=ALLOW)
            ask(iam, Action="CreateRole", RoleName="reader", AssumeRolePolicyDocument=TRUST)
            key = ask(iam, Action="CreateAccessKey", UserName="ada")
        yield Moto(server.url, *tagged(key, "AccessKeyId", "SecretAccessKey"))
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def s3(moto: Moto) -> Iterator[Client]:
    """A Client for S3, where there is a bucket "example"."""
    with moto.client("s3") as client:
        client.update("/example", None, replace=True)
        yield client


@pytest.mark.parametrize(("service", "action"), [("iam", "GetUser"), ("sts", "GetCallerIdentity")])
def test_right_key(moto: Moto, service: str, action: str) -> None:
    """A request that is signed with the key of a user is let in as that user."""
    with moto.client(service) as client:
        assert "user/ada" in ask(client, Action=action)


@pytest.mark.parametrize(
    ("service", "action"), [("iam", "GetUser"), ("sts", "GetCallerIdentity"), ("s3", "")]
)
def test_wrong_key(moto: Moto, service: str, action: str) -> None:
    """A request that is signed with another key is refused for its signature, and the key is not shown."""
    with (
        moto.client(service, secret_access_key="another-key") as client,
        pytest.raises(ClientError, match="SignatureDoesNotMatch") as caught,
    ):
        ask(client, Action=action) if action else client.read("/")
    assert caught.value.status == 403
    assert "another-key" not in repr(caught.value)


@pytest.mark.parametrize("name", ["plain.txt", "a b+c/(1)$&=,;:@é.txt", "slashes//twice/", "100%25.txt"])
def test_names_in_s3(s3: Client, name: str) -> None:
    """An object of any name is stored, found by a prefix and read again."""
    uri = f"/example/{quote(name)}"
    s3.update(uri, name.encode(), replace=True)
    found = s3.read("/example", params={"list-type": "2", "prefix": name, "encoding-type": "url"}).decode()
    assert quote(name) in found
    assert s3.read(uri) == name.encode()


def test_unencoded_uri(s3: Client) -> None:
    """What the uri leaves unencoded is signed as it is sent."""
    s3.update("/example/a (1)$.txt", b"content", replace=True)
    assert b"<Key>a (1)$.txt</Key>" in s3.read("/example?prefix=a+(1)$&delimiter=/:;@!'()*,")


def test_file(s3: Client, tmp_path: Path) -> None:
    """A file is hashed in pieces, and stored whole."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3_000_000))
    with path.open("rb") as file:
        file.seek(1)
        s3.update("/example/file", file, replace=True)
    assert s3.read("/example/file") == path.read_bytes()[1:]


def test_headers_of_the_caller(moto: Moto) -> None:
    """What the caller signed, dated and hashed is replaced, and another header is signed as it is."""
    headers = {
        **FORM,
        "authorization": "AWS4-HMAC-SHA256 Credential=x",
        "x-amz-date": "20150830T123600Z",
        "x-amz-content-sha256": "0" * 64,
        "X-Amz-Security-Token": "old",
        "X-Amz-Meta-Note": "two  spaces",
    }
    with moto.client("sts") as sts:
        assert b"user/ada" in sts.create("/", "Action=GetCallerIdentity", headers=headers)


def test_session_token(moto: Moto) -> None:
    """Temporary credentials are let in with their token, and refused with another."""
    with moto.client("sts") as sts:
        answer = ask(sts, Action="AssumeRole", RoleArn=ROLE, RoleSessionName="test")
    key_id, secret, token = tagged(answer, "AccessKeyId", "SecretAccessKey", "SessionToken")
    options = {"access_key_id": key_id, "secret_access_key": lambda: secret}
    with moto.client("sts", **options, session_token=lambda: token) as role:
        assert "assumed-role/reader/test" in ask(role, Action="GetCallerIdentity")
    with (
        moto.client("sts", **options, session_token="other") as role,
        pytest.raises(ClientError, match="InvalidClientTokenId"),
    ):
        ask(role, Action="GetCallerIdentity")
