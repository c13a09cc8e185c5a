"""The seven rules of the registry, kept with distributions that lie in throw-away folders."""

import dataclasses
import importlib.util
import inspect
import re
import sys
import threading
import types
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, cast

import pytest
from distributions import Site, plugin
from servers.process import free_ports

from cruds.demo.api import DemoAPI
from cruds_core import (
    BrokenPluginError,
    Client,
    ClientError,
    ConnectError,
    PluginConflictError,
    PluginError,
    Plugins,
    RequestEvent,
    ResponseTooLargeError,
    UnknownSchemeError,
    hookimpl,
)
from cruds_core.plugins import default

SECRET = "hunter2"


# Rule 1: nothing is scanned or imported until a scheme is asked for by name; then only that plugin.

WATCHED = """
import json, sys
before, opened = set(sys.modules), []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
{statements}
new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
metadata = [path for path in opened if path.endswith("entry_points.txt")]
print(json.dumps([len(metadata), sorted(new & {{"pluggy", "cruds_auth_basic"}})]))
"""

NAMELESS = """
import cruds_core
class Own(cruds_core.AuthABC):
    def authenticate(self, request):
        pass
for auth in (None, "token", Own()):
    cruds_core.Client("localhost", auth).close()
"""


def test_a_client_without_a_named_scheme_needs_no_plugins(site: Site) -> None:
    """Clients with None, a token or an AuthABC read no metadata, and import neither a plugin nor pluggy."""
    site.install("slow-plugin", ["slow"], "import time\ntime.sleep(30)\n")
    assert site.run(WATCHED.format(statements=NAMELESS)) == [0, []]
    assert site.log() == {}


def test_import_of_the_umbrella_scans_nothing(site: Site) -> None:
    """To import cruds, and to look around in it, reads no metadata and imports no plugin."""
    site.install("alpha-plugin", ["alpha"])
    looking = "import cruds\ncruds.auth.AuthABC, dir(cruds.auth), cruds.Client('localhost')"
    scanned, imported = site.run(WATCHED.format(statements=looking))
    assert (scanned, "cruds_auth_basic" in imported) == (0, False)
    assert site.log() == {}


def test_a_named_scheme_imports_its_plugin_alone(site: Site) -> None:
    """Of more than fifty plugins, that of the scheme that is asked for is imported."""
    for number in range(50):
        site.install(f"p{number}-plugin", [f"p{number}"])
    naming = "import cruds_core\ncruds_core.Client('localhost', {'scheme': 'p7', 'token': 't'})"
    scanned, imported = site.run(WATCHED.format(statements=naming))
    assert (scanned > 50, imported) == (True, ["pluggy"])
    assert site.log() == {"p7_plugin": ["imported", "registered"]}


def test_metadata_is_read_once(site: Site) -> None:
    """A scheme that was found is found again without a look at the disk."""
    for number in range(3):
        site.install(f"p{number}-plugin", [f"p{number}"])
    script = """
import json, sys, cruds_core
auth, opened = {"scheme": "p1", "token": "t"}, []
cruds_core.Client("localhost", auth)
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
cruds_core.Client("localhost", auth)
print(json.dumps([path for path in opened if "-info" in path]))
"""
    assert site.run(script) == []


def test_the_list_of_schemes_imports_nothing(site: Site) -> None:
    """The names of all schemes are known from metadata alone."""
    site.install("alpha-plugin", ["one", "alpha"])
    site.install("broken-plugin", ["broken"], "1 / 0")
    assert site.plugins().schemes() == ["alpha", "broken", "one"]
    assert site.log() == {}


# Rules 2 and 5: a broken plugin breaks its own schemes, when they are used.


def hook(
    *statements: str, mark: str = "hookimpl", name: str = "cruds_register_auth", argument: str = "register"
) -> str:
    """Returns the source of a module with one hook."""
    body = "".join(f"    {line}\n" for line in ("log('registered')", *statements))
    return f"@{mark}\ndef {name}({argument}):\n{body}"


WORKS = "register('broken', type('Broken', (AuthABC,), {'authenticate': lambda self, request: None}))"

# By kind: the module, the cause that is chained, and a part of the reason that is given.
BROKEN = {
    "import-error": ("import no_such_module", "ModuleNotFoundError", "it raised ModuleNotFoundError"),
    "exception": ("1 / 0", "ZeroDivisionError", "it raised ZeroDivisionError"),
    "exit": ("raise SystemExit(3)", "SystemExit", "it raised SystemExit"),
    # What a Rust extension raises that panics is no Exception.
    "panic": ("class Panic(BaseException): pass\nraise Panic", "Panic", "it raised Panic"),
    "half": (hook(WORKS, "raise OSError(5, 'no device')"), "OSError", "it raised OSError"),
    "undeclared": (hook(WORKS, "register('alpha', AuthABC)"), "NoneType", '"alpha"'),
    "twice": (hook(WORKS, WORKS), "NoneType", "twice"),
    "uncallable": (hook("register('broken', 'Broken')"), "NoneType", "cannot be called"),
    "silent": (hook(), "NoneType", "does not register"),
    "no-hook": ("", "NoneType", "does not register"),
    "unmarked": (hook(WORKS, mark="staticmethod"), "NoneType", "does not register"),
    "misspelt": (hook(WORKS, name="cruds_register_oauth"), "PluginValidationError", "cruds_register_oauth"),
    "signature": (hook(WORKS, argument="register, name"), "PluginValidationError", "signature"),
    "wrapper": (hook(WORKS, "return (yield)", mark="hookimpl(wrapper=True)"), "NoneType", "wrapper"),
    "old-wrapper": (hook(WORKS, "yield", mark="hookimpl(hookwrapper=True)"), "NoneType", "wrapper"),
    "plain-wrapper": (
        hook("pass", mark="hookimpl(wrapper=True)", argument="register, limit=3"),
        "PluginValidationError",
        "not a generator function",
    ),
    "misspelt-beside-optional": (
        hook(mark="hookimpl(optionalhook=True)", name="cruds_later", argument="")
        + hook(WORKS, name="cruds_register_oauth"),
        "PluginValidationError",
        '"cruds_register_oauth"; did you mean "cruds_register_auth"?',
    ),
    "told-in-lines": (
        "raise ImportError('\\n\\nno such library\\nread the manual')",
        "ImportError",
        "it raised ImportError: no such library; ",
    ),
    "nothing-told": ("raise ImportError", "ImportError", "it raised ImportError; "),
    "text-left-out": (f"raise ValueError({SECRET!r})", "ValueError", "it raised ValueError; "),
    "misspelt-observer": (
        hook(WORKS) + hook(name="cruds_request_start", argument="event"),
        "PluginValidationError",
        "cruds_request_start",
    ),
}


@pytest.fixture(params=list(BROKEN))
def kind(request: pytest.FixtureRequest, site: Site) -> str:
    """One way to be broken, installed with the schemes "broken" and "spare" beside a plugin that works."""
    kind: str = request.param
    site.install("Broken.Plugin", ["broken", "spare"], BROKEN[kind][0])
    site.install("alpha-plugin", ["alpha"])
    return kind


def test_a_broken_plugin_is_named_with_its_cause_and_cure(site: Site, kind: str) -> None:
    """It says what is broken and how, chains what was raised, and gives the command that removes it."""
    with pytest.raises(BrokenPluginError) as caught:
        site.plugins().create("broken")
    _, cause, reason = BROKEN[kind]
    assert type(caught.value.__cause__).__name__ == cause
    message = str(caught.value)
    assert '"Broken.Plugin"' in message
    assert '"broken"' in message
    assert reason in message
    assert message.endswith(f"{sys.executable} -m pip uninstall Broken.Plugin")


def test_a_broken_plugin_breaks_no_other(site: Site, kind: str) -> None:
    """Other schemes are what they were, before and after a broken plugin was used."""
    plugins = site.plugins()
    assert plugins.create("alpha", token="before").access_token() == "before"
    for scheme in ("broken", "spare"):
        with pytest.raises(BrokenPluginError, match=f'"{scheme}"'):
            plugins.factory(scheme)
    assert plugins.create("alpha", token="after").access_token() == "after"
    assert plugins.schemes() == ["alpha", "broken", "spare"], kind


def test_a_broken_plugin_stays_broken(site: Site, kind: str) -> None:
    """Each later use raises a new error with the first cause; the plugin is not run again."""
    plugins, errors = site.plugins(), list[BrokenPluginError]()
    for scheme in ("broken", "broken", "spare"):
        with pytest.raises(BrokenPluginError) as caught:
            plugins.factory(scheme)
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 3
    assert [error.__cause__ for error in errors] == [errors[0].__cause__] * 3
    log = site.log()["broken_plugin"]
    assert len(log) == len(set(log)), kind


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("no_such_module", ModuleNotFoundError),
        ("broken_plugin:missing", AttributeError),
        ("not a module", Exception),
    ],
)
def test_an_entry_point_that_leads_nowhere(site: Site, value: str, cause: type[Exception]) -> None:
    """An entry point without a module or an object behind it breaks its own scheme."""
    site.install("broken-plugin", {"broken": value, "whole": "broken_plugin"}, plugin("whole"))
    plugins = site.plugins()
    with pytest.raises(BrokenPluginError, match="pip uninstall broken-plugin") as caught:
        plugins.create("broken")
    assert isinstance(caught.value.__cause__, cause)
    assert plugins.create("whole", token="t").access_token() == "t"


@pytest.mark.parametrize("factory", ["object", "lambda: None", "lambda: AuthABC", "dict"])
def test_a_factory_that_builds_no_scheme(site: Site, factory: str) -> None:
    """What is built must be an AuthABC; the other schemes of the plugin are not affected."""
    source = plugin("whole") + f"    register('broken', {factory})\n"
    site.install("broken-plugin", ["broken", "whole"], source)
    plugins = site.plugins()
    with pytest.raises(BrokenPluginError, match="pip uninstall broken-plugin"):
        plugins.create("broken")
    assert plugins.create("whole", token="t").access_token() == "t"


def test_a_plugin_may_name_schemes_of_its_own_only(site: Site) -> None:
    """A plugin that catches the refusal of another's name has not got it, and keeps its own."""
    grab = "try:\n        register('alpha', None)\n    except Exception:\n        log('refused')"
    site.install("greedy-plugin", ["greedy"], plugin("greedy") + f"    {grab}\n")
    site.install("alpha-plugin", ["alpha"])
    plugins = site.plugins()
    assert type(plugins.create("greedy", token="t")).__module__ == "greedy_plugin"
    assert type(plugins.create("alpha", token="t")).__module__ == "alpha_plugin"
    assert site.log()["greedy_plugin"] == ["imported", "registered", "refused"]


def test_an_interrupted_import_is_no_broken_plugin(site: Site) -> None:
    """A KeyboardInterrupt while a plugin is imported ends the call, and the next one tries again."""
    stop = "import pathlib\nonce = pathlib.Path(__file__ + '.once')\n"
    stop += "if not once.exists():\n    once.touch()\n    raise KeyboardInterrupt\n"
    site.install("alpha-plugin", ["alpha"], stop + plugin("alpha"))
    plugins = site.plugins()
    with pytest.raises(KeyboardInterrupt):
        plugins.factory("alpha")
    assert plugins.create("alpha", token="t").access_token() == "t"


def test_a_plugin_that_asks_for_itself_does_not_hang(site: Site) -> None:
    """A plugin that asks the registry for its own scheme while it is loaded is broken."""
    source = hook("import __main__", "__main__.plugins.factory('loop')")
    site.install("loop-plugin", ["loop"], source)
    script = """
import json, threading
from cruds_core import BrokenPluginError, Plugins
plugins, found = Plugins(), []
def ask():
    try:
        plugins.factory("loop")
    except BrokenPluginError as error:
        found.append(str(error))
thread = threading.Thread(target=ask, daemon=True)
thread.start()
thread.join(30)
print(json.dumps(found))
"""
    (message,) = site.run(script)
    assert "pip uninstall loop-plugin" in message


def test_a_distribution_that_was_half_removed_breaks_no_other(site: Site) -> None:
    """Metadata of which pip left the entry points alone, without a name, does not matter to other schemes."""
    site.install("gone-plugin", ["gone"])
    site.install("alpha-plugin", ["alpha"])
    (site.folder / "gone_plugin-1.0.dist-info" / "METADATA").unlink()
    (site.folder / "gone_plugin.py").unlink()
    plugins = site.plugins()
    assert plugins.create("alpha", token="t").access_token() == "t"
    with pytest.raises(BrokenPluginError):
        plugins.factory("gone")


def test_importlib_metadata_makes_no_difference(site: Site) -> None:
    """Where that library was imported it reads all metadata, and raises where pip left none."""
    site.install("gone-plugin", ["gone"])
    site.install("alpha-plugin", ["alpha"])
    (site.folder / "gone_plugin-1.0.dist-info" / "METADATA").unlink()
    script = "import importlib_metadata, json, cruds_core\nprint(json.dumps(cruds_core.Plugins().schemes()))"
    assert {"alpha", "gone"} <= set(site.run(script))


def test_metadata_that_is_no_utf_8_breaks_no_scheme(site: Site) -> None:
    """Metadata in another encoding keep neither the other schemes nor that of their own from being used."""
    for name in ("alpha-plugin", "latin-plugin"):
        site.install(name, [name.partition("-")[0]])
    with (site.folder / "latin_plugin-1.0.dist-info" / "METADATA").open("ab") as metadata:
        metadata.write("Author: J. M\xfcller\n".encode("latin-1"))
    plugins = site.plugins()
    assert plugins.create("alpha", token="t").access_token() == "t"
    assert plugins.create("latin", token="t").access_token() == "t"
    (named,) = [offer for offer in plugins.offers() if offer.scheme == "latin"]
    assert (named.distribution, named.version, named.leftover) == ("latin_plugin", "1.0", None)


@pytest.mark.parametrize("broken", [b"half", b"caf\xe9 = x"], ids=["half a line", "no UTF-8"])
def test_entry_points_that_cannot_be_read_break_no_other(site: Site, broken: bytes) -> None:
    """A file of entry points that nobody can read hides its own schemes, and is named in the log."""
    site.install("alpha-plugin", ["alpha"])
    site.install("half-plugin", ["half"])
    with (site.folder / "half_plugin-1.0.dist-info" / "entry_points.txt").open("ab") as entry_points:
        entry_points.write(b"\n[console_scripts]\n" + broken)
    script = (
        "import io, json, logging, cruds_core\nlog = io.StringIO()\nlogging.basicConfig(stream=log)\n"
        "plugins = cruds_core.Plugins()\nplugins.create('alpha', token='t')\n"
        "print(json.dumps([plugins.schemes(), log.getvalue()]))"
    )
    schemes, log = site.run(script)
    assert "alpha" in schemes
    assert "basic" in schemes
    assert "half" not in schemes
    assert "half_plugin-1.0.dist-info" in log


# Rule 2: two distributions that offer one name.


@pytest.fixture
def rivals(site: Site) -> Site:
    """Two distributions that both offer "alpha", and each another scheme."""
    site.install("one-plugin", ["alpha", "one"])
    site.install("two-plugin", ["alpha", "two"])
    return site


def test_a_conflict_names_both_and_loads_neither(rivals: Site) -> None:
    """The error names both distributions, and no code of theirs is run."""
    with pytest.raises(PluginConflictError, match='"one-plugin" and "two-plugin"'):
        rivals.plugins().create("alpha", token="t")
    assert rivals.log() == {}


def test_a_conflict_is_about_one_name(rivals: Site) -> None:
    """The other schemes of both distributions work, before and after the conflict is met."""
    plugins = rivals.plugins()
    assert plugins.create("one", token="t").access_token() == "t"
    with pytest.raises(PluginConflictError):
        plugins.factory("alpha")
    assert plugins.create("two", token="t").access_token() == "t"


@pytest.mark.parametrize(("blocked", "left"), [("one-plugin", "two_plugin"), ("two_plugin", "one_plugin")])
def test_a_conflict_is_settled(
    rivals: Site, monkeypatch: pytest.MonkeyPatch, blocked: str, left: str
) -> None:
    """CRUDS_PLUGINS with one of the distributions blocked leaves the scheme to the other one."""
    monkeypatch.setenv("CRUDS_PLUGINS", f"-{blocked}")
    assert type(rivals.plugins().create("alpha", token="t")).__module__ == left
    assert list(rivals.log()) == [left]


@pytest.mark.parametrize("setting", [None, "-two", "alpha", "one-plugin,two-plugin"])
def test_the_advice_on_a_conflict_helps(
    rivals: Site, monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    """The setting that the message of a conflict proposes ends it, and keeps what was blocked before."""
    if setting is not None:
        monkeypatch.setenv("CRUDS_PLUGINS", setting)
    with pytest.raises(PluginConflictError) as caught:
        rivals.plugins().factory("alpha")
    found = re.search(r"(CRUDS_PLUGINS)=(\S+)", str(caught.value))
    assert found is not None
    before = set(rivals.plugins().schemes())
    monkeypatch.setenv(*found.groups())
    assert rivals.plugins().create("alpha", token="t").access_token() == "t"
    assert set(rivals.plugins().schemes()) == before - {"one"}


def test_a_distribution_that_is_installed_twice_is_no_conflict(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same distribution in two folders of the path is the one that Python imports, the first."""
    site.install("alpha-plugin", ["alpha"])
    other = Site(tmp_path / "behind")
    other.install("Alpha_Plugin", ["alpha"])
    monkeypatch.setattr(sys, "path", [*sys.path, str(other.folder)])
    assert Plugins().create("alpha", token="t").access_token() == "t"
    assert (list(site.log()), other.log()) == (["alpha_plugin"], {})


# Rule 3: an unknown name.


def test_an_unknown_scheme_says_what_is_here(site: Site) -> None:
    """The error lists the installed schemes and gives this interpreter's pip command."""
    site.install("alpha-plugin", ["one", "alpha"])
    with pytest.raises(UnknownSchemeError) as caught:
        site.plugins().create("kerberos", token=SECRET)
    message = str(caught.value)
    assert '"kerberos"' in message
    assert f'{sys.executable} has "alpha", "one"' in message
    assert message.endswith(f"{sys.executable} -m pip install ...")
    assert SECRET not in message
    assert site.log() == {}


@pytest.mark.parametrize(
    ("scheme", "distribution"),
    [
        ("basic", "cruds-auth-basic"),
        ("digest", "cruds-auth-basic"),
        ("apikey", "cruds-auth-basic"),
        ("oauth2", "cruds-auth-oauth2"),
    ],
)
def test_a_scheme_of_ours_is_known_by_its_distribution(scheme: str, distribution: str) -> None:
    """Where one of our schemes is missing, the command names the distribution that has it."""
    with pytest.raises(UnknownSchemeError, match=f"no schemes.* -m pip install {distribution}$"):
        Plugins([]).create(scheme)


@pytest.mark.parametrize("auth", [("user", SECRET), {"scheme": "basic", "password": SECRET}])
def test_a_client_never_goes_without_the_scheme(auth: Any) -> None:
    """A Client whose scheme is not installed is not made, and the error shows no credentials."""
    with pytest.raises(UnknownSchemeError, match=r"pip install cruds-auth-basic$") as caught:
        Client("localhost", auth, plugins=Plugins([]))
    assert SECRET not in str(caught.value)


# Rule 4: CRUDS_PLUGINS.

ALL = ["alpha", "one", "two"]


def follow(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Does what the message of a scheme that is blocked advises."""
    advice = message.rpartition("; to allow it, ")[2]
    if advice == "unset CRUDS_PLUGINS":
        monkeypatch.delenv("CRUDS_PLUGINS", raising=False)
    else:
        assert advice.startswith("set CRUDS_PLUGINS=")
        names = advice.partition("=")[2].split(",")
        assert len(set(names)) == len(names)
        monkeypatch.setenv("CRUDS_PLUGINS", ",".join(names))


@pytest.mark.parametrize(
    ("setting", "schemes"),
    [
        (None, ALL),
        ("", []),
        ("  ", []),
        (",", []),
        ("alpha", ["alpha"]),
        ("alpha,two", ["alpha", "two"]),
        ("-alpha", ["one", "two"]),
        ("-alpha,-two", ["one"]),
        ("Pair.Plugin", ["one", "two"]),
        ("pair-plugin", ["one", "two"]),
        ("pair__plugin", ["one", "two"]),  # PyPA: runs of "-", "_" and "." are one "-"
        ("-PAIR_plugin", ["alpha"]),
        ("alpha-plugin,one", ["alpha", "one"]),
        ("pair-plugin,-two", ["one"]),
        ("-pair-plugin,one", []),
        ("alpha,-alpha", []),
        (" alpha , one ", ["alpha", "one"]),
        (" -alpha , -one ", ["two"]),
        ("- alpha", ["one", "two"]),
        ("alpha,", ["alpha"]),
        ("no-such-plugin", []),
        ("-no-such-plugin", ALL),
    ],
)
def test_the_variable_chooses(
    site: Site, monkeypatch: pytest.MonkeyPatch, setting: str | None, schemes: list[str]
) -> None:
    """CRUDS_PLUGINS is all, none, these or all but these, and what the error advises allows a scheme."""
    site.install("alpha-plugin", ["alpha"])
    site.install("Pair.Plugin", ["one", "two"])
    if setting is not None:
        monkeypatch.setenv("CRUDS_PLUGINS", setting)
    plugins = site.plugins()
    assert plugins.schemes() == schemes
    for scheme in ALL:
        if scheme in schemes:
            assert plugins.create(scheme, token="t").access_token() == "t"
        else:
            with pytest.raises(UnknownSchemeError, match="blocked by CRUDS_PLUGINS=") as caught:
                plugins.create(scheme, token="t")
            follow(str(caught.value), monkeypatch)
            assert site.plugins().create(scheme, token="t").access_token() == "t"


@pytest.mark.parametrize("setting", ["", "other", "-broken", "-broken-plugin"])
def test_a_blocked_plugin_is_not_imported(site: Site, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    """The variable is checked before any code of a plugin is run, and the error says that it blocks."""
    site.install("broken-plugin", ["broken"], "1 / 0")
    monkeypatch.setenv("CRUDS_PLUGINS", setting)
    with pytest.raises(UnknownSchemeError) as caught:
        site.plugins().create("broken")
    assert f"CRUDS_PLUGINS={setting!r}" in str(caught.value)
    assert "pip install" not in str(caught.value)
    assert site.log() == {}


def test_a_program_may_choose_itself(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program allows a registry of its own goes before the variable."""
    site.install("alpha-plugin", ["alpha", "one"])
    monkeypatch.setenv("CRUDS_PLUGINS", "alpha")
    assert site.plugins("one").schemes() == ["one"]
    assert site.plugins("").schemes() == []
    with pytest.raises(UnknownSchemeError, match=r"by allowed='one'; to allow it, set allowed=one,alpha$"):
        site.plugins("one").factory("alpha")


# Rule 6: observers.


class Recorder:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, RequestEvent]] = []

    @hookimpl
    def cruds_request_started(self, event: RequestEvent) -> None:
        """Keep it."""
        self.told.append(("started", event))

    @hookimpl
    def cruds_request_finished(self, event: RequestEvent) -> None:
        """Keep it."""
        self.told.append(("finished", event))

    @property
    def untimed(self) -> list[tuple[object, ...]]:
        """What it was told, without the seconds."""
        return [
            (name, event.method, event.origin + event.path, event.attempt, event.status, event.error)
            for name, event in self.told
        ]


def pair(
    method: str, url: str, attempt: int = 1, *, status: int | None = None, error: str | None = None
) -> list[tuple[object, ...]]:
    """Returns what an observer is told of one attempt, without the seconds."""
    return [("started", method, url, attempt, None, None), ("finished", method, url, attempt, status, error)]


def origin(api: DemoAPI) -> str:
    """Returns scheme, host and port of the API."""
    return api.url.rstrip("/")


@pytest.fixture
def recorder() -> Recorder:
    """An observer."""
    return Recorder()


@pytest.fixture
def plugins(recorder: Recorder) -> Plugins:
    """A registry with that observer."""
    plugins = Plugins()
    plugins.register(recorder)
    return plugins


@pytest.fixture
def client(api: DemoAPI, plugins: Plugins) -> Iterator[Client]:
    """A Client that is observed."""
    auth = {"scheme": "basic", "username": api.username, "password": api.password}
    with Client(api.url, auth, backoff_factor=0, plugins=plugins) as client:
        yield client


def test_an_event_has_these_fields_and_no_others() -> None:
    """There is no place in an event for headers, query, content or credentials, nor to put one."""
    names = ["method", "origin", "path", "attempt", "status", "error", "seconds"]
    assert list(inspect.get_annotations(RequestEvent)) == names
    event = RequestEvent("GET", "http://localhost", "/", 1)
    assert not hasattr(event, "__dict__")
    for name in names:
        with pytest.raises(AttributeError):
            setattr(event, name, "other")


def test_observers_are_told_of_a_request(api: DemoAPI, client: Client, recorder: Recorder) -> None:
    """They see method, origin, path and attempt, then status and seconds; nothing of query and headers."""
    client.create("th ings", {"name": SECRET}, {"token": SECRET}, headers={"X-Token": SECRET})
    assert recorder.untimed == pair("POST", f"{origin(api)}/th%20ings", status=201)
    (_, started), (_, finished) = recorder.told
    assert (started.origin, started.seconds) == (origin(api), None)
    assert finished.seconds is not None
    assert 0 < finished.seconds < 10
    assert SECRET not in repr(recorder.told)


def test_observers_are_told_of_an_error_status(api: DemoAPI, client: Client, recorder: Recorder) -> None:
    """An answer is a status, whether it raises or not."""
    with pytest.raises(ClientError):
        client.read("things/1")
    client.status_ignore.add(404)
    client.read("things/1")
    assert recorder.untimed == pair("GET", f"{origin(api)}/things/1", status=404) * 2


def test_observers_are_told_of_a_connection_that_failed(plugins: Plugins, recorder: Recorder) -> None:
    """Without an answer the event names the error as its caller catches it."""
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    with Client(url, retries=0, plugins=plugins) as client, pytest.raises(ConnectError):
        client.read("things")
    assert recorder.untimed == pair("GET", f"{url}/things", error="ConnectError")
    assert recorder.told[1][1].seconds is not None


def test_observers_are_told_of_content_that_failed(
    api: DemoAPI, plugins: Plugins, recorder: Recorder
) -> None:
    """An answer that cannot be used is an error by the name that its caller catches."""
    with (
        Client(api.url, plugins=plugins, retries=0, max_response_size=1) as client,
        pytest.raises(ResponseTooLargeError),
    ):
        client.read("health")
    assert recorder.untimed == pair("GET", f"{origin(api)}/health", error="ResponseTooLargeError")


def test_observers_are_told_of_every_attempt(api: DemoAPI, client: Client, recorder: Recorder) -> None:
    """Each retry is a pair of events of its own, with the number of the attempt and its status."""
    client.read("flaky", {"key": "a", "times": 2})
    url = f"{origin(api)}/flaky"
    expected = [
        pair("GET", url, attempt, status=status) for attempt, status in ((1, 503), (2, 503), (3, 200))
    ]
    assert recorder.untimed == [event for events in expected for event in events]


def raiser(*hooks: str) -> object:
    """Returns an observer that raises in these hooks."""

    def fail(event: RequestEvent) -> None:
        raise RuntimeError(event.path)

    observer = types.ModuleType("raiser")
    for name in hooks:
        setattr(observer, name, hookimpl(fail))
    return observer


@pytest.mark.parametrize(
    ("hooks", "count"),
    [
        (["cruds_request_started"], 1),
        (["cruds_request_finished"], 1),
        (["cruds_request_started", "cruds_request_finished"], 2),
    ],
)
def test_an_observer_that_raises_changes_nothing(
    client: Client,
    plugins: Plugins,
    caplog: pytest.LogCaptureFixture,
    hooks: list[str],
    count: int,
) -> None:
    """It is logged with its traceback; the call returns its data, and the next observer is told."""
    plugins.register(raiser(*hooks))
    plugins.register(last := Recorder())
    assert client.read("things") == []
    assert [name for name, _ in last.told] == ["started", "finished"]
    logged = [record for record in caplog.records if record.name.startswith("cruds_core")]
    assert [record.levelname for record in logged] == ["ERROR"] * count
    assert all(record.exc_info and record.exc_info[0] is RuntimeError for record in logged)


def test_an_observer_that_raises_hides_no_error(plugins: Plugins) -> None:
    """The error of a request that failed reaches its caller, whatever an observer raises at its end."""
    plugins.register(raiser("cruds_request_finished"))
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    with Client(url, retries=0, plugins=plugins) as client, pytest.raises(ConnectError):
        client.read("things")


def test_who_saw_an_attempt_start_sees_it_end(
    api: DemoAPI, client: Client, plugins: Plugins, recorder: Recorder
) -> None:
    """An observer that leaves during an attempt is told its end; one that comes is told nothing of it."""
    late = Recorder()

    class Usher:
        @hookimpl
        def cruds_request_started(self) -> None:
            plugins.unregister(recorder)
            plugins.register(late)
            plugins.unregister(self)

    plugins.register(Usher())
    client.read("things")
    client.read("health")
    assert recorder.untimed == pair("GET", f"{origin(api)}/things", status=200)
    assert late.untimed == pair("GET", f"{origin(api)}/health", status=200)


def test_an_interrupt_while_observers_are_told_is_an_end(
    api: DemoAPI, client: Client, plugins: Plugins, recorder: Recorder
) -> None:
    """Ctrl+C before anything was sent ends the attempt for those who were told of it, and for no others."""

    class Interrupted:
        @hookimpl
        def cruds_request_started(self) -> None:
            raise KeyboardInterrupt

    plugins.register(Interrupted())
    plugins.register(last := Recorder())
    with pytest.raises(KeyboardInterrupt):
        client.read("things")
    assert recorder.untimed == pair("GET", f"{origin(api)}/things", error="KeyboardInterrupt")
    assert (last.told, api.requests) == ([], [])
    assert 0 <= (recorder.told[1][1].seconds or 0) < 10


def test_observers_are_told_in_their_order(client: Client, plugins: Plugins) -> None:
    """Observers are told in the order in which they were registered."""
    order = list[str]()

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        @hookimpl
        def cruds_request_started(self) -> None:  # the argument may be left out, as in any hook of pluggy
            order.append(self.name)

    for name in ("first", "second", "third"):
        plugins.register(Named(name))
    client.read("things")
    assert order == ["first", "second", "third"]


def test_an_observer_is_registered_once(client: Client, plugins: Plugins, recorder: Recorder) -> None:
    """A second registration is refused, and the observer is told once."""
    with pytest.raises(PluginError, match="registered"):
        plugins.register(recorder)
    client.read("things")
    assert len(recorder.told) == 2


def test_observers_that_are_equal_are_two(client: Client, plugins: Plugins) -> None:
    """Two observers that compare equal, as dataclasses do, are both told."""

    @dataclasses.dataclass
    class Counter:
        count: int = 0

        @hookimpl
        def cruds_request_started(self, event: RequestEvent) -> None:
            self.count += event.attempt

    counters = [Counter(), Counter()]
    for counter in counters:
        plugins.register(counter)
    client.read("things")
    assert [counter.count for counter in counters] == [1, 1]


def test_an_observer_is_taken_away(client: Client, plugins: Plugins, recorder: Recorder) -> None:
    """An observer that was unregistered is told nothing more; the others are; it may come back."""
    plugins.register(other := Recorder())
    plugins.unregister(recorder)
    client.read("things")
    assert (len(recorder.told), len(other.told)) == (0, 2)
    plugins.register(recorder)
    client.read("things")
    assert (len(recorder.told), len(other.told)) == (2, 4)


def test_an_observer_that_is_not_there_cannot_be_taken_away() -> None:
    """To unregister what is not registered is an error."""
    with pytest.raises(PluginError, match="not registered"):
        Plugins([]).unregister(Recorder())


def observer(body: str) -> object:
    """Returns a module with this source, as an observer."""
    module = types.ModuleType("observer")
    exec(f"from cruds_core import hookimpl\n{body}", vars(module))  # noqa: S102 - the source is ours
    return module


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "neither"),
        ("def cruds_request_started(event): pass", "neither"),
        ("@hookimpl\ndef cruds_register_auth(register): pass", "neither"),
        ("@hookimpl\ndef cruds_request_start(event): pass", "cruds_request_start"),
        ("@hookimpl\ndef cruds_request_started(event, headers): pass", "signature"),
        ("@hookimpl\ndef cruds_request_finished(response): pass", "signature"),
        ("@hookimpl(wrapper=True)\ndef cruds_request_started(event): return (yield)", "wrapper"),
        ("@hookimpl(hookwrapper=True)\ndef cruds_request_finished(event): yield", "wrapper"),
        (
            "@hookimpl\ndef cruds_request_started(event): pass\n"
            "@hookimpl\ndef cruds_request_finish(event): pass",
            "cruds_request_finish",
        ),
    ],
)
def test_an_observer_that_could_not_work_is_refused(source: str, reason: str) -> None:
    """An observer without a hook, or with a misspelt one, a wrong signature or a wrapper leaves nothing."""
    plugins, refused = Plugins([]), observer(source)
    with pytest.raises(PluginError, match=reason):
        plugins.register(refused)
    assert list(plugins.observers.watchers) == []
    with pytest.raises(PluginError, match="not registered"):
        plugins.unregister(refused)
    plugins.register(Recorder())
    ((started, finished),) = plugins.observers.watchers
    assert (len(started), len(finished)) == (1, 1)


def test_observers_of_the_program_see_all_its_clients(api: DemoAPI, recorder: Recorder) -> None:
    """Observers of the default registry are told of Clients that were made before and after."""
    with Client(api.url) as before:
        default().register(recorder)
        try:
            with Client(api.url) as after:
                before.read("health")
                after.read("/")
        finally:
            default().unregister(recorder)
        before.read("health")
    assert [event.path for _, event in recorder.told] == ["/health", "/health", "/", "/"]


def test_a_plugin_does_not_observe(api: DemoAPI, site: Site) -> None:
    """The observing hooks of a plugin are not called: observers are registered by the program."""
    nosy = "\n".join(
        f"@hookimpl\ndef cruds_request_{when}(event):\n    log('told')" for when in ("started", "finished")
    )
    site.install("alpha-plugin", ["alpha"], f"{plugin('alpha')}{nosy}\n")
    auth = {"scheme": "alpha", "token": api.token}
    with Client(api.url, auth, plugins=site.plugins()) as client, Client(api.url) as other:
        assert client.read("things") == []
        other.read("health")
    assert site.log() == {"alpha_plugin": ["imported", "registered"]}


# Options, as a configuration file gives them.


def test_a_third_party_scheme_authenticates(api: DemoAPI, site: Site) -> None:
    """A scheme by name is built with its options, as often as the same mapping is used."""
    site.install("alpha-plugin", ["alpha"])
    plugins, auth = site.plugins(), {"scheme": "alpha", "token": api.token}
    for _ in range(2):
        with Client(api.url, auth, plugins=plugins) as client:
            assert client.read("things") == []
    assert {request.headers["Authorization"] for request in api.requests} == {f"Bearer {api.token}"}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "token"),
        ({"audience": SECRET}, "token"),
        ({"tokken": SECRET}, "token"),
        ({"token": SECRET, "realm": SECRET}, "realm"),
    ],
)
def test_options_that_do_not_fit_are_told(site: Site, options: dict[str, str], named: str) -> None:
    """A missing or an unknown option is a TypeError that names it and what the scheme takes, and no value."""
    site.install("alpha-plugin", ["alpha"])
    with pytest.raises(TypeError, match=f'"alpha".*[\'"]{named}[\'"].*; it takes token, audience$') as caught:
        Client("localhost", {"scheme": "alpha", **options}, plugins=site.plugins())
    assert SECRET not in str(caught.value)


def test_a_scheme_without_options_takes_none(site: Site) -> None:
    """An option for a scheme that has no parameters is refused, not dropped."""
    bare = "class Alpha(AuthABC):\n    def authenticate(self, request):\n        pass\n"
    site.install("alpha-plugin", ["alpha"], bare + hook("register('alpha', Alpha)"))
    plugins = site.plugins()
    assert plugins.create("alpha").is_valid()
    with pytest.raises(TypeError, match=r'"alpha".*token') as caught:
        plugins.create("alpha", token=SECRET)
    assert SECRET not in str(caught.value)


def test_options_may_be_those_of_new(site: Site) -> None:
    """A scheme that takes its options in ``__new__`` gets them."""
    new = "class Alpha(AuthABC):\n    def __new__(cls, token):\n        self = super().__new__(cls)\n"
    new += "        self.token = token\n        return self\n"
    new += "    def authenticate(self, request):\n        pass\n"
    new += "    def access_token(self):\n        return self.token\n"
    site.install("alpha-plugin", ["alpha"], new + hook("register('alpha', Alpha)"))
    assert site.plugins().create("alpha", token="t").access_token() == "t"


def test_an_error_of_the_scheme_is_its_own(site: Site) -> None:
    """What a scheme raises about a value of its options reaches the caller as it is: it is not broken."""
    picky = "class Alpha(AuthABC):\n    def __init__(self, token):\n        raise LookupError('too short')\n"
    picky += "    def authenticate(self, request):\n        pass\n"
    site.install("alpha-plugin", ["alpha"], picky + hook("register('alpha', Alpha)"))
    with pytest.raises(LookupError, match="too short"):
        site.plugins().create("alpha", token="t")


@pytest.mark.parametrize("auth", [{}, {"token": SECRET}, {"scheme": None}, {"scheme": 5, "token": SECRET}])
def test_a_mapping_needs_a_scheme(auth: Mapping[str, Any]) -> None:
    """A mapping without the name of a scheme is a TypeError, which shows no value."""
    with pytest.raises(TypeError, match='"scheme"') as caught:
        Client("localhost", auth)
    assert SECRET not in str(caught.value)


# Threads.

WAITS = """
import pathlib, time
go, end = pathlib.Path(__file__).with_name("go"), time.monotonic() + 60
while not go.exists() and time.monotonic() < end:
    time.sleep(0.01)
"""


def test_a_slow_plugin_delays_no_other(site: Site) -> None:
    """While one thread still imports a plugin, another one gets its own scheme."""
    site.install("slow-plugin", ["slow"], WAITS + plugin("slow"))
    site.install("quick-plugin", ["quick"])
    plugins = site.plugins()
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(plugins.create, "slow", token="s")
        while not site.log():
            assert not slow.done()
        quick = pool.submit(plugins.create, "quick", token="q")
        try:
            assert quick.result(30).access_token() == "q"
            assert not slow.done()
        finally:
            (site.folder / "go").touch()
        assert slow.result(30).access_token() == "s"


def test_threads_load_a_plugin_once(site: Site) -> None:
    """Sixteen threads that ask at once for two schemes of a plugin load it once, and all get them."""
    site.install("pair-plugin", ["one", "two"], "import time\ntime.sleep(0.1)\n" + plugin("one", "two"))
    plugins, barrier = site.plugins(), threading.Barrier(16)

    def ask(number: int) -> object:
        barrier.wait(10)
        return plugins.factory(("one", "two")[number % 2])

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, range(16)))
    assert [len({id(factory) for factory in found[start::2]}) for start in (0, 1)] == [1, 1]
    assert site.log() == {"pair_plugin": ["imported", "registered"]}


def test_a_module_behind_several_names_is_loaded_once(site: Site) -> None:
    """The schemes of one module come from one import and one registration."""
    site.install("trio-plugin", ["one", "two", "three"])
    plugins = site.plugins()
    built = [type(plugins.create(name, token="t")).__name__ for name in ("one", "two", "three", "one")]
    assert built == ["One", "Two", "Three", "One"]
    assert site.log() == {"trio_plugin": ["imported", "registered"]}


def test_a_distribution_may_have_several_modules(site: Site) -> None:
    """Of a distribution with several modules, that of the scheme that is asked for is imported."""
    site.install("duo-plugin", {"one": "duo_plugin", "two": "duo_second"}, plugin("one"))
    (site.folder / "duo_second.py").write_text("1 / 0", encoding="utf-8")
    plugins = site.plugins()
    assert plugins.create("one", token="t").access_token() == "t"
    with pytest.raises(BrokenPluginError):
        plugins.create("two", token="t")


# Rule 7: a registry is an object; the default one is made at first use.


def test_registries_are_independent(site: Site, api: DemoAPI) -> None:
    """What one registry blocks, or who observes in it, is nothing to another."""
    site.install("alpha-plugin", ["alpha"])
    one, two = site.plugins("alpha"), site.plugins("")
    one.register(first := Recorder())
    two.register(second := Recorder())
    with Client(api.url, {"scheme": "alpha", "token": api.token}, plugins=one) as client:
        client.read("things")
    with pytest.raises(UnknownSchemeError):
        Client(api.url, {"scheme": "alpha", "token": api.token}, plugins=two)
    assert (len(first.told), len(second.told)) == (2, 0)


def test_a_client_with_a_registry_is_seen_there_only(api: DemoAPI, recorder: Recorder) -> None:
    """A Client with a registry of its own is not seen by the observers of the program."""
    default().register(recorder)
    try:
        with Client(api.url, plugins=Plugins([])) as client:
            client.read("health")
    finally:
        default().unregister(recorder)
    assert recorder.told == []


def test_the_default_registry_is_made_at_first_use(site: Site) -> None:
    """The default registry reads its variable when a scheme is asked for first, and is one from then on."""
    site.install("alpha-plugin", ["alpha", "one"])
    script = """
import json, os, cruds, cruds_core
cruds_core.Client("localhost", "token", plugins=cruds_core.Plugins())
os.environ["CRUDS_PLUGINS"] = "alpha"
cruds_core.Client("localhost", {"scheme": "alpha", "token": "t"})
os.environ["CRUDS_PLUGINS"] = "one"
from cruds_core.plugins import default
print(json.dumps([default().schemes(), default() is default()]))
"""
    assert site.run(script) == [["alpha"], True]


def test_entry_points_may_come_from_anywhere(site: Site) -> None:
    """A registry takes entry points that no distribution declares, as a test or a frozen program has them."""
    site.install("alpha-plugin", [])
    (site.folder / "alpha_plugin.py").write_text(
        f"from cruds_core import AuthABC, hookimpl\nlog = print\n{plugin('alpha')}", encoding="utf-8"
    )
    plugins = Plugins([EntryPoint("alpha", "alpha_plugin", "cruds.auth")])
    assert plugins.create("alpha", token="t").access_token() == "t"


def test_entry_points_that_are_none() -> None:
    """What lacks the texts of an entry point is refused; a value that cannot be read breaks its scheme."""
    with pytest.raises(TypeError, match=r"^entry_points must be entry points \(got EntryPoint\)"):
        Plugins([EntryPoint("alpha", cast("Any", 1), "cruds.auth")])
    plugins = Plugins([EntryPoint("alpha", "not a module", "cruds.auth")])
    with pytest.raises(BrokenPluginError, match='"alpha", is broken'):
        plugins.create("alpha")


def test_a_call_looks_for_no_plugin(site: Site, api: DemoAPI) -> None:
    """Once a scheme was found, a call opens no file and imports nothing, whatever is installed."""
    for number in range(50):
        site.install(f"p{number}-plugin", [f"p{number}"])
    script = f"""
import json, sys, cruds_core
client, seen = cruds_core.Client({api.url!r}, {{"scheme": "p7", "token": {api.token!r}}}), []
client.read("users")
watched = ("open", "import", "os.listdir")
sys.addaudithook(lambda event, args: seen.append(str(args)) if event in watched else None)
client.read("users")
print(json.dumps(seen))
"""
    assert site.run(script) == []


# The classes of plugins under `cruds.auth`.

NAMES = """
import json, cruds.auth
def ask(name):
    try:
        exec(f"from cruds.auth import {name}")
    except Exception as error:
        return [type(error).__name__, str(error)]
    return [getattr(cruds.auth, name).__module__, getattr(cruds.auth, name).__name__]
print(json.dumps([ask(name) for name in %r]))
"""


def test_the_umbrella_reaches_every_plugin(site: Site) -> None:
    """A name in `cruds.auth` is the class of an installed scheme, of ours and of anybody's."""
    site.install("alpha-plugin", ["alpha"])
    site.install("broken-plugin", ["broken"], "1 / 0")
    ours, alpha, kerberos, broken, small = site.run(
        NAMES % ["Digest", "Alpha", "Kerberos", "Broken", "kerberos"]
    )
    assert ours == ["cruds_auth_basic.digest", "Digest"]
    assert alpha == ["alpha_plugin", "Alpha"]
    assert kerberos[0] == "ImportError"
    assert "-m pip install ..." in kerberos[1]
    assert broken[0] == "BrokenPluginError"
    assert small[0] == "ImportError"
    assert "pip install" not in small[1]


def test_the_umbrella_says_what_to_install(site: Site) -> None:
    """Where nothing but the core is installed, the name of a class of ours says which distribution has it."""
    for name in ("cruds", "cruds_core", "pluggy", "urllib3"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.submodule_search_locations
        (site.folder / name).symlink_to(spec.submodule_search_locations[0])
    found = site.run(NAMES % ["Basic", "OAuth2"], "-S", "-E", env={"PYTHONPATH": ""})
    assert [kind for kind, _ in found] == ["ImportError", "ImportError"]
    assert "pip install cruds-auth-basic" in found[0][1]
    assert "pip install cruds-auth-oauth2" in found[1][1]
