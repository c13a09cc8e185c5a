"""The contract of auth schemes fails what is wrong, in the check that is about it alone, and nothing else."""

import os
import subprocess
import sys
import unittest
import warnings
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from distributions import Site

from contract import right_schemes, wrong_schemes
from contract.wrong_schemes import Wrong
from cruds_core import Plugins, Request
from cruds_core.testing import AuthContract, Received, Reply, sharing

WRONG = Plugins([EntryPoint(wrong.name, wrong_schemes.__name__, "cruds.auth") for wrong in wrong_schemes.ALL])


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer seconds until something is held to be stuck, as some of them are, and fewer children."""
    monkeypatch.setattr(sharing, "LIMIT", 5.0)
    monkeypatch.setattr(sharing, "FORKS", 1)


def checks_of(contract: type[AuthContract]) -> list[str]:
    """The checks that a test runner finds."""
    return [name for name in dir(contract) if name.startswith("test_") and callable(getattr(contract, name))]


def failures(contract: type[AuthContract], **declared: Any) -> dict[str, str]:
    """The checks that fail, and what they say."""
    found: dict[str, str] = {}
    checked = type("Checked", (contract,), {"plugins": right_schemes.PLUGINS, **declared})
    for name in checks_of(checked):
        try:
            with warnings.catch_warnings(record=True):  # no errors, as they are in our own tests
                warnings.simplefilter("default")
                getattr(checked(), name)()
        except unittest.SkipTest:
            continue
        except AssertionError as error:
            found[name] = str(error)
        except Exception as error:
            found[name] = f"no message but {type(error).__name__}: {error}"
    return found


@pytest.mark.parametrize("wrong", wrong_schemes.ALL, ids=lambda wrong: wrong.name)
@pytest.mark.usefixtures("limit")
def test_what_is_wrong_fails_its_check_and_no_other(wrong: Wrong) -> None:
    """A scheme, or a contract, that is wrong in one thing fails one check, which says what to do."""
    declared = dict(wrong.changes)
    if wrong.scheme is not None:
        declared = {"scheme": wrong.name, "plugins": WRONG, **declared}
    found = failures(wrong.contract, **declared)
    assert list(found) == [wrong.check], found
    assert wrong.says in found[wrong.check]
    assert right_schemes.SECRET not in found[wrong.check]


@pytest.mark.parametrize(
    "contract",
    [
        right_schemes.KeyContract,
        right_schemes.KeyFunctionContract,
        right_schemes.NamedContract,
        right_schemes.TokenContract,
        right_schemes.SignerContract,
        right_schemes.AnswererContract,
    ],
)
def test_what_is_right_fails_no_check(contract: type[AuthContract]) -> None:
    """The schemes that the wrong ones are made of keep the contract."""
    assert failures(contract) == {}


def test_every_check_has_a_scheme_that_fails_it() -> None:
    """No check is there that nothing was seen to fail."""
    tried = {wrong.check for wrong in wrong_schemes.ALL} | {"test_importing_it_does_nothing_else"}
    assert tried == {name for name in dir(AuthContract) if name.startswith("test_")}


PLUGIN = """
from contract.right_schemes import Key
{line}
@hookimpl
def cruds_register_auth(register):
    register("careless", Key)
"""

# In an interpreter of its own alone: that of the tests has taken long already.
SPIN = """
import sys, time
end = max(time.process_time() + 2.2, 6 * time.process_time())
while "pytest" not in sys.modules and time.process_time() < end: pass
"""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "import stray_dependency",
            "imports stray_dependency, of stray-dependency, which it does not require",
        ),
        ("import importlib; importlib.import_module('stray_dependency')", "Add that to the dependencies"),
        (
            "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
            "starts a thread",
        ),
        ("import socket; socket.getaddrinfo('127.0.0.1', 1)", "the audit event socket.getaddrinfo"),
        (
            "import subprocess, sys; subprocess.run([sys.executable, '-V'])",
            "the audit event subprocess.Popen",
        ),
        ("import os; os.environ['A_VARIABLE_OF_OURS'] = '1'", "the audit event os.putenv"),
        ("import logging; logging.basicConfig()", "sets up logging"),
        (SPIN, "s of the processor"),
        ("import sys; sys.modules.pop('json', None); print('hello')", None),
        ("import wanted_dependency", None),
    ],
)
def test_an_import_that_does_something_fails_its_check_and_no_other(
    line: str, says: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin imports what its distribution requires, which may import what is there; and starts nothing."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    site = Site(tmp_path)
    site.install("Stray_Dependency", {}, "")
    site.install("wanted-dependency", {}, "import stray_dependency")
    site.install("careless", ["careless"], PLUGIN.format(line=line))
    metadata = tmp_path / "careless-1.0.dist-info/METADATA"
    metadata.write_text(metadata.read_text() + 'Requires-Dist: Wanted_Dependency>=1; python_version > "3"\n')
    try:
        found = failures(right_schemes.KeyContract, scheme="careless", plugins=site.plugins())
    finally:
        site.forget()
    assert list(found) == (["test_importing_it_does_nothing_else"] if says else []), found
    assert (says or "") in "".join(found.values())


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({"version": 2}, "version must be one of (1,) (got 2)"),
        ({"sign_content": True}, 'did you mean "signs_content"'),
        ({"secret": ("key",)}, 'did you mean "secrets"'),
        ({"renew_tokens": True}, 'did you mean "renews_tokens"'),
        ({"expires": 3600}, 'did you mean "expire"'),
        ({"secrets": "key"}, 'secrets must be a tuple of names, like ("key",)'),
        ({"bad_options": {"key": ""}}, 'bad_options must be a tuple of dicts, like ({"key": ""},)'),
        ({"sends_header": True}, "sends_header must be the name of a header, or None (got True)"),
        ({"answers_challenge": True}, "answers_challenge must be the WWW-Authenticate"),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(declared: dict[str, Any], says: str) -> None:
    """A misspelt capability, which would leave a check out, and an unknown version are errors at once."""
    with pytest.raises(TypeError) as caught:
        type("Misspelt", (right_schemes.KeyContract,), declared)
    assert says in str(caught.value)


def test_verify_is_to_assert() -> None:
    """A verify that returns what it finds is told to assert it: it would pass whatever arrives."""

    def verify(_: AuthContract, request: Received) -> bool:
        return "X-Key" in request.headers

    found = failures(right_schemes.KeyContract, verify=verify)
    says = "it returned True, and is to assert instead"
    assert says in found["test_credentials_arrive_with_every_verb_and_content"]


def test_a_scheme_that_raises_anything_is_named() -> None:
    """An exception that is no CrudsError, in the middle of a check, is told with what to raise instead."""

    class Raises(right_schemes.Key):
        """Has a bug."""

        def authenticate(self, request: Request) -> None:
            raise LookupError("a bug")

    plugins = Plugins([EntryPoint("key", "raises", "cruds.auth")])
    plugins.factory = lambda _: Raises  # type: ignore[method-assign, assignment]
    found = failures(right_schemes.KeyContract, plugins=plugins)
    assert (
        "raised LookupError: a bug\nWhat a scheme raises is an AuthError"
        in found["test_two_clients_share_it"]
    )
    assert "test_nothing_goes_to_another_origin" not in found


def test_nonces_can_be_new_each_time() -> None:
    """The contract asks with challenges, and answers with headers, that its author makes."""

    class Fresh(right_schemes.AnswererContract):
        """Makes a challenge for each refusal."""

        asked = 0

        def challenge(self) -> str:
            Fresh.asked += 1
            return super().challenge()

        def accept(self, request: Received) -> Reply:
            return Reply.json({}, 200, **{"Next-Nonce": "n"})

    assert failures(Fresh) == {}
    assert Fresh.asked > 10


@pytest.mark.parametrize("name", ["test_secrets", "_secret", "response", "verified"])
def test_an_author_has_names_of_his_own(name: str) -> None:
    """What an author adds for himself is not taken for a mistake."""
    assert getattr(type("Own", (right_schemes.KeyContract,), {name: "own"}), name) == "own"


@pytest.mark.parametrize(
    ("method", "says"), [("options", "must define options(url)"), ("verify", "must define verify(request)")]
)
def test_what_is_left_out_is_asked_for(method: str, says: str) -> None:
    """A contract without what must be defined says what that is."""
    found = failures(right_schemes.KeyContract, **{method: getattr(AuthContract, method)})
    assert any(says in message for message in found.values()), found


# What is made of a scheme that declares no capability, twice.
CHECKS = 2 * len(checks_of(right_schemes.KeyContract))

MODULE = """
import unittest
from contract import right_schemes

class TestRight(right_schemes.KeyContract{bases}):
    plugins = right_schemes.PLUGINS

class TestWrong(TestRight):
    def verify(self, request):
        pass
"""


@pytest.mark.parametrize(
    ("command", "bases", "says"),
    [
        (["unittest", "test_key"], ", unittest.TestCase", [f"Ran {CHECKS} tests in", "FAILED (failures=1)"]),
        (
            ["pytest", "-p", "no:cacheprovider", "--rootdir=.", "-W", "error", "test_key.py"],
            "",
            [f"1 failed, {CHECKS - 1} passed in"],
        ),
    ],
)
def test_it_runs_by(command: list[str], bases: str, says: list[str], tmp_path: Path) -> None:
    """The contract is a TestCase for unittest, and a class of tests for a plain pytest."""
    (tmp_path / "test_key.py").write_text(MODULE.format(bases=bases))
    result = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = result.stdout + result.stderr
    assert result.returncode == 1, said
    assert all(words in said for words in says), said
    assert "Let it assert that they are there" in said
