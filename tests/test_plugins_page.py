"""What docs/plugins.md shows is what there is: every message and example, to the letter."""

import json
import re
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, distribution
from pathlib import Path

import pytest
from click.testing import CliRunner
from distributions import Site, plugin

from cruds.cli import main
from cruds_core import BrokenPluginError, PluginError, Plugins, plugins
from cruds_core.loading import GROUP

PAGE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
MESSAGES = [
    line for block in re.findall(r"^```text\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()
]
EXAMPLES = re.findall(r"^```console\n\$ (.*?)\n(.*?)^```", PAGE, re.M | re.S)
REASONS = re.findall(r"^\| `([^|]*)` \|", PAGE.partition("| REASON |")[2], re.M)
(BROKEN,) = (line for line in MESSAGES if "REASON" in line)

HOOK = "@hookimpl\ndef cruds_register_auth(register):\n    "
MODULES = {
    "it raised ModuleNotFoundError": "import hvac",
    "it raised RuntimeError": "raise RuntimeError('hunter2')",
    "it does not register it: its module": "",
    "it does not register it: its entry point": plugin("vault"),
    'it registers "safe"': f"{HOOK}register('safe', AuthABC)",
    'it registers "vault" twice': f"{plugin('vault')}    register('vault', Vault)",
    "what it registers": f"{HOOK}register('vault', 'Vault')",
    "it registers the class": f"class Vault: pass\n{HOOK}register('vault', Vault)",
    "it built": f"{HOOK}register('vault', lambda: 'a token')",
    "a hook has the wrong signature": "@hookimpl\ndef cruds_register_auth(register, name): pass",
    "a hook is misspelt": "@hookimpl\ndef cruds_register_oauth(register): pass",
    "cruds_register_auth is a wrapper": HOOK.replace("hookimpl", "hookimpl(wrapper=True)") + "yield",
    "it raised BrokenPluginError": "import __main__\n__main__.registry.create('vault')",
}


def error(registry: Plugins, scheme: str = "vault") -> PluginError:
    """Returns the error that a scheme gives."""
    with pytest.raises(PluginError) as caught:
        registry.create(scheme)
    return caught.value


def shown(text: str) -> str:
    """Returns what the page shows, with this interpreter in place of the one that it shows."""
    return text.replace("/usr/bin/python3", sys.executable)


@pytest.fixture
def vault(site: Site) -> Site:
    """The distribution that the page shows."""
    site.install("acme-vault", ["vault"])
    return site


def bearer_and(site: Site) -> Plugins:
    """Returns a registry with the schemes of the site and of the core."""
    return Plugins([*[one for one in ours() if one.name == "bearer"], *site.entry_points()])


def ours() -> list[EntryPoint]:
    """Returns the entry points of the distributions that are built here."""
    names = ("cruds-core", "cruds-auth-basic", "cruds-auth-oauth2")
    return [one for name in names for one in distribution(name).entry_points if one.group == GROUP]


def by_variable(site: Site, setting: str) -> Plugins:
    """Returns a registry under this setting of the variable."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRUDS_PLUGINS", setting)
        return site.plugins()


def conflict(site: Site) -> PluginError:
    """Returns the error of a scheme that two distributions offer."""
    site.install("other-vault", ["vault"])
    return error(site.plugins())


def broken(site: Site) -> PluginError:
    """Returns the error of a plugin that raises."""
    site.install("acme-vault", ["vault"], "raise RuntimeError")
    return error(site.plugins())


def half_removed(site: Site) -> PluginError:
    """Returns the error of a plugin of which pip left two files."""
    for name in ("acme_vault.py", "acme_vault-1.0.dist-info/METADATA"):
        (site.folder / name).unlink()
    return error(site.plugins())


MADE: dict[str, Callable[[Site], PluginError]] = {
    'scheme "valt" is not': lambda site: error(bearer_and(site), "valt"),
    'scheme "oauth2" is not': lambda site: error(bearer_and(site), "oauth2"),
    'scheme "kerberos" is not': lambda site: error(bearer_and(site), "kerberos"),
    "blocked by CRUDS_PLUGINS='-vault,-digest'": lambda site: error(by_variable(site, "-vault,-digest")),
    "blocked by CRUDS_PLUGINS='basic'": lambda site: error(by_variable(site, "basic")),
    "blocked by CRUDS_PLUGINS='-acme-vault'": lambda site: error(by_variable(site, "-acme-vault")),
    "is offered by": conflict,
    "REASON": broken,
    'the plugin "acme_vault"': half_removed,
}


@pytest.mark.parametrize("line", MESSAGES)
def test_a_message_is_what_the_page_shows(vault: Site, line: str) -> None:
    """Each message of the page is the text of the error, word for word."""
    (made,) = (made for part, made in MADE.items() if part in line)
    expected = shown(line).replace("REASON", "it raised RuntimeError")
    assert str(made(vault)) == expected.replace("/usr/lib/python3/site-packages", str(vault.folder))


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_is_what_the_page_shows(site: Site, monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    """Each reason why a plugin is broken is the one in its error, word for word."""
    (source,) = (source for part, source in MODULES.items() if reason.startswith(part))
    value = "acme_vault:Vault" if "its entry point" in reason else "acme_vault"
    site.install("acme-vault", {"vault": value}, source)
    registry = site.plugins()
    monkeypatch.setattr(sys.modules["__main__"], "registry", registry, raising=False)
    found = error(registry)
    assert isinstance(found, BrokenPluginError)
    assert str(found) == shown(BROKEN).replace("REASON", reason)


def test_the_page_has_all_messages() -> None:
    """None of the messages and reasons that are provoked here is missing from the page."""
    assert (len(MESSAGES), len(REASONS)) == (len(MADE), len(MODULES))


@pytest.mark.parametrize(("command", "output"), EXAMPLES)
def test_an_example_is_what_the_command_prints(
    vault: Site, monkeypatch: pytest.MonkeyPatch, command: str, output: str
) -> None:
    """The table and the JSON of the page are what `cruds plugins` prints."""
    variable, _, options = command.partition(" | ")[0].partition("cruds plugins")
    if setting := variable.strip().partition("=")[2]:
        monkeypatch.setenv("CRUDS_PLUGINS", setting)
    monkeypatch.setattr(plugins, "_default", Plugins([*ours(), *vault.entry_points()]))
    printed = CliRunner().invoke(main, ["plugins", *options.split()]).stdout
    if "jq" in command:
        reports = json.loads(printed)
        assert output == "".join(json.dumps(reports[index], indent=2) + "\n" for index in (2, 5))
    else:
        assert [line.rstrip() for line in printed.splitlines()] == output.splitlines()
