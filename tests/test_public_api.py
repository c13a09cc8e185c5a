"""The names under which everything is documented, and what an import costs."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import cruds
import cruds.auth
import cruds.core
import cruds.exception
import cruds_auth_basic
import cruds_auth_oauth2
import cruds_auth_oauth2.exceptions
import cruds_core
from cruds_core import plugins

MODULES = [
    cruds,
    cruds.core,
    cruds.auth,
    cruds.exception,
    cruds_core,
    cruds_core.exceptions,
    cruds_auth_basic,
    cruds_auth_oauth2,
]


# What our own distributions import from the core beside what it lists in __all__. They require any core of
# this major version, so these stay as long as it does.
KEPT = {
    "arguments": {"flag", "manager", "path", "seconds", "timeout", "verification", "whole"},
    "decoding": {"load_json"},
    "event": {"default_observers"},
    "failure": {"is_final"},
    "lock": {"ForkSafeLock", "RenewalLock"},
    "plugins": {"default"},
    "pool": {"Pool"},
    "retry": {"NOT_PROCESSED"},
    "secret": {"MASK", "SecretBytes", "SecretDict", "SecretText", "credentials_in", "fault_of", "hidden"}
    | {"is_credential", "mask", "plain"},
    "status": {"phrase", "showable", "text_of"},
    "survey": {"SchemeReport", "State"},
    "testing.leaks": {"Leaks"},
    "testing.sharing": {"at_once", "busy", "in_child", "in_children"},
    "testing.subject": {"LIMIT", "needs"},
    "testing.server": {"Connection", "Reply", "Seen", "Server", "encode"},
    "transport": {"Transport"},
    "url": {"BaseURL", "is_loopback", "without_query"},
}


def test_what_our_own_distributions_import_is_kept() -> None:
    """Each name that they import from a module of the core is one that is kept, and is there."""
    root = Path(__file__).parents[1]
    found: dict[str, set[str]] = {}
    for file in [*root.glob("cruds_auth_*/src/**/*.py"), *root.glob("cruds/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cruds_core."):
                module = str(node.module).removeprefix("cruds_core.")
                found.setdefault(module, set()).update(alias.name for alias in node.names)
            elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "arguments":
                found.setdefault("arguments", set()).add(node.attr)
    del found["exceptions"]  # all of it, as cruds.exception
    assert found == KEPT
    for module, names in KEPT.items():
        assert all(hasattr(importlib.import_module(f"cruds_core.{module}"), name) for name in names)


def test_documented_names() -> None:
    """The names that are documented since 1.x are the core's own classes."""
    assert cruds.Client is cruds_core.Client
    assert cruds.core.Client is cruds_core.Client
    assert cruds.core.AuthABC is cruds_core.AuthABC
    assert cruds.__version__ == cruds_core.__version__


def test_errors() -> None:
    """cruds.exception has every error of the core and of the plugins, and nothing else."""
    for module in (cruds_core, cruds_auth_oauth2):
        for name in module.exceptions.__all__:
            assert getattr(cruds.exception, name) is getattr(module, name)
    assert cruds.exception.__all__ == [*cruds_core.exceptions.__all__, *cruds_auth_oauth2.exceptions.__all__]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (cruds_auth_basic, "Basic"),
        (cruds_auth_basic, "Digest"),
        (cruds_auth_basic, "ApiKey"),
        (cruds_auth_oauth2, "OAuth2"),
    ],
)
def test_schemes(module: ModuleType, name: str) -> None:
    """cruds.auth has the class of each installed scheme, under its own name."""
    assert getattr(cruds.auth, name) is getattr(module, name)
    assert name in dir(cruds.auth)


def test_schemes_of_the_core() -> None:
    """cruds.auth has the base class and the bearer token, too."""
    assert cruds.auth.AuthABC is cruds_core.AuthABC
    assert cruds.auth.BearerToken is cruds_core.BearerToken


@pytest.mark.parametrize(
    ("name", "distribution"),
    [("OAuth2", "cruds-auth-oauth2"), ("Basic", "cruds-auth-basic"), ("Own", "...")],
)
def test_a_scheme_that_is_missing(monkeypatch: pytest.MonkeyPatch, name: str, distribution: str) -> None:
    """A scheme that is not installed is an ImportError that says what to install, and for which Python."""
    monkeypatch.setattr(plugins, "_default", plugins.Plugins(entry_points=[]))
    for get in (lambda: getattr(cruds.auth, name), lambda: exec(f"from cruds.auth import {name}")):  # noqa: S102
        with pytest.raises(
            ImportError, match=re.escape(f"{sys.executable} -m pip install {distribution}")
        ) as caught:
            get()
        assert name in str(caught.value)


@pytest.mark.parametrize("name", ["nothing", "__wrapped__", "_private", ""])
def test_no_such_name(name: str) -> None:
    """A name that no class can have is an AttributeError, as with any module."""
    assert not hasattr(cruds.auth, name)
    assert not hasattr(cruds_core, name)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_all_names_are_there(module: ModuleType) -> None:
    """Each name in __all__ can be had, and is there once."""
    names: list[str] = module.__all__
    assert len(set(names)) == len(names)
    for name in names:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_all_public_names_are_in_all(module: ModuleType) -> None:
    """What a module shows of ours is in its __all__: nothing is public by accident."""
    shown = {
        name
        for name in dir(module)
        if not name.startswith("_") and getattr(getattr(module, name), "__module__", "").startswith("cruds")
    }
    assert shown
    assert shown <= set(module.__all__)


def loaded_by(statement: str) -> set[str]:
    """Returns the modules that a statement imports in a new process, beyond what Python starts with."""
    code = f"import sys; before = set(sys.modules); {statement}; print(sorted(set(sys.modules) - before))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=120
    ).stdout
    modules: list[str] = ast.literal_eval(output)
    return set(modules)


HEAVY = {"pluggy", "requests", "cruds_core.plugins", "cruds_core.hookspecs", "cruds_core.loading"}


def test_importing_the_core_is_light() -> None:
    """To import the core and make a Client with a token loads no plugin machinery, and scans no plugins."""
    unscannable = "import importlib.metadata; importlib.metadata.entry_points = None"
    loaded = loaded_by(f"{unscannable}; import cruds_core; cruds_core.Client('127.0.0.1', 'token')")
    assert "cruds_core.client" in loaded
    assert loaded & HEAVY == set()


def test_a_named_scheme_loads_its_plugin_alone() -> None:
    """To ask for a scheme by name imports the plugin that offers it."""
    loaded = loaded_by("import cruds_core; cruds_core.Client('127.0.0.1', ('ada', 'secret'))")
    assert {"pluggy", "cruds_auth_basic"} <= loaded
    assert not {name for name in loaded if name.startswith("cruds_auth_oauth2")}


def test_importing_cruds_loads_no_plugin() -> None:
    """To import cruds, with cruds.auth, imports no plugin and neither click nor rich."""
    loaded = loaded_by("import cruds.auth, cruds.exception")
    assert "cruds.auth" in loaded
    unwanted = {"cruds_auth_basic", "cruds_auth_oauth2", "authlib", "click", "rich", "requests"}
    assert not {name.partition(".")[0] for name in loaded} & unwanted


@pytest.mark.parametrize("name", ["cruds", "cruds_core", "cruds_auth_basic", "cruds_auth_oauth2"])
def test_typed(name: str) -> None:
    """Each package says that it is typed."""
    path = importlib.import_module(name).__file__
    assert path
    assert (Path(path).parent / "py.typed").is_file()
