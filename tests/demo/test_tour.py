"""What `make demo` prints."""

import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from cruds.cli import main


@pytest.fixture(scope="module")
def output() -> str:
    """What the command prints when no person is watching."""
    command = [sys.executable, "-m", "cruds", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_it_is_plain_where_no_terminal_is(output: str) -> None:
    """A pipe gets no escape sequences, and a line for each step."""
    assert "\x1b" not in output
    assert len(output.splitlines()) > 20


@pytest.mark.parametrize("status", [401, 404, 409, 422, 503])
def test_a_caller_sees_each_refusal(output: str, status: int) -> None:
    """Each refusal is shown as the exception that a caller gets."""
    assert re.search(rf"(Client|Server)Error: [A-Z]+ http://127.0.0.1:\d+/\S+ ?: ?{status} ", output)


def test_it_does_the_four_verbs_and_a_file(output: str) -> None:
    """Create, read, patch, replace, upload, download and delete are all on the way."""
    for done in ("create(", "read(", "update(", "replace=True", "files=", "download(", "delete("):
        assert done in output
    assert "1048580 bytes" in output
    assert "'attempts': 2" in output  # the 503 was retried, and answered


def test_a_token_is_renewed_and_recovered(output: str) -> None:
    """A token expires and is renewed, once for 32 threads; a revoked one is replaced after its 401."""
    steps = [
        "oauth2.token +read write, until ",
        r"is_valid\(\) +False",
        r'read\("books"\), with a new token +\[\{',
        "32 threads read +1 token request\n",
        r"is_valid\(\) +True",
        r'read\("books"\) +401, a new token, 200: \[\{',
    ]
    assert re.search(".*".join(steps), output, re.DOTALL)


def test_the_command_says_its_version() -> None:
    """`cruds --version` prints the version of the distribution."""
    assert CliRunner().invoke(main, ["--version"]).output == "cruds, version 2.0.0\n"
