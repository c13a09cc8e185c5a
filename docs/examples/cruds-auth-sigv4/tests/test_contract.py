"""The contract that every scheme has to keep, for a service like most and for S3."""

from typing import Any

from cruds_core.testing import AuthContract, Received
from reference import check

SECRET, TOKEN = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "AQoDYXdzEPT//////////wEXAMPLE"


class TestSigV4(AuthContract):
    """With temporary credentials."""

    version = 1
    scheme = "sigv4"
    service = "execute-api"
    secrets = ("secret_access_key", "session_token")
    signs_content = True
    bad_options = (
        {"region": ""},
        {"region": "eu west"},
        {"service": "S3"},
        {"access_key_id": ""},
        {"access_key_id": "AKID/EXAMPLE"},
        {"secret_access_key": ""},
        {"secret_access_key": "line\nbreak"},
        {"session_token": ""},
    )

    def options(self, url: str) -> dict[str, Any]:
        """Returns the options of the scheme."""
        return {
            "region": "eu-west-1",
            "service": self.service,
            "access_key_id": "ASIAEXAMPLE",
            "secret_access_key": SECRET,
            "session_token": TOKEN,
        }

    def verify(self, request: Received) -> None:
        """Computes the signature as AWS describes it."""
        check(request.method, request.target, request.headers, request.content, SECRET)
        assert request.headers["X-Amz-Security-Token"] == TOKEN


class TestSigV4ForS3(TestSigV4):
    """The same with the rules of S3."""

    service = "s3"
