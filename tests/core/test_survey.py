"""The survey of what is installed: its states and remedies, and what it costs among many distributions."""

from importlib.metadata import EntryPoint

import pytest
from distributions import Site, plugin

from cruds_core import PluginError, Plugins
from cruds_core.survey import SchemeReport, State


@pytest.fixture
def crowd(site: Site) -> Site:
    """Two hundred distributions that work."""
    for number in range(200):
        site.install(f"p{number}-plugin", [f"p{number}"])
    return site


def states(plugins: Plugins, *, load: bool = False) -> dict[tuple[str, str], State]:
    """Returns the state of each scheme of each distribution."""
    return {(one.scheme, one.distribution): one.state for one in plugins.survey(load=load)}


def only(plugins: Plugins, *, load: bool = False) -> SchemeReport:
    """Returns the report on the one scheme that is there."""
    (report,) = plugins.survey(load=load)
    return report


# What it costs among 200 distributions.

WATCHED = """
import json, sys, urllib3
sys.modules.pop("importlib.metadata", None)  # urllib3 imports it, for the version of h2: see who else does
before, opened = set(sys.modules), []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
{statements}
new = set(sys.modules) - before
plugins = sorted(name for name in new if name.endswith("_plugin") or name.startswith("cruds_auth"))
metadata = [path for path in opened if path.endswith("entry_points.txt")]
print(json.dumps([len(metadata), "importlib.metadata" in new, plugins]))
"""


def test_import_of_the_core_scans_nothing_among_many(crowd: Site) -> None:
    """With 200 distributions, to import the core reads no metadata, nor imports what would, nor a plugin."""
    assert crowd.run(WATCHED.format(statements="import cruds_core")) == [0, False, []]
    assert crowd.log() == {}


def test_a_first_use_imports_one_plugin_among_many(crowd: Site) -> None:
    """With 200 distributions, a first use by name reads metadata and imports the plugin that is asked for."""
    use = "import cruds_core\ncruds_core.Client('localhost', {'scheme': 'p7', 'token': 't'})"
    scanned, reads_metadata, imported = crowd.run(WATCHED.format(statements=use))
    assert (scanned >= 200, reads_metadata, imported) == (True, True, ["p7_plugin"])
    assert crowd.log() == {"p7_plugin": ["imported", "registered"]}


def test_a_survey_imports_no_plugin_among_many(crowd: Site) -> None:
    """With 200 distributions, the survey knows them all and imports none; to load them imports each once."""
    plugins = crowd.plugins()
    assert set(states(plugins).values()) == {State.INSTALLED}
    assert crowd.log() == {}
    found = states(plugins, load=True)
    assert (len(found), set(found.values())) == (200, {State.OK})
    assert list(crowd.log().values()) == [["imported", "registered"]] * 200


# What it says.


def test_a_report_says_what_offers_the_scheme(site: Site) -> None:
    """Each scheme of each distribution is a report, sorted, with the distribution's own name and version."""
    site.install("Pair.Plugin", ["two", "alpha"])
    site.install("beta-plugin", ["beta"])
    assert site.plugins().survey() == [
        SchemeReport("alpha", "Pair.Plugin", "1.0", State.INSTALLED, None),
        SchemeReport("beta", "beta-plugin", "1.0", State.INSTALLED, None),
        SchemeReport("two", "Pair.Plugin", "1.0", State.INSTALLED, None),
    ]


def test_schemes_that_share_a_module_are_loaded_once(site: Site) -> None:
    """Two entry points with one module are two reports, and the module is imported once."""
    site.install("pair-plugin", ["one", "two"])
    assert set(states(site.plugins(), load=True).values()) == {State.OK}
    assert site.log() == {"pair_plugin": ["imported", "registered"]}


def test_a_scheme_that_is_not_registered_is_broken(site: Site) -> None:
    """Of two schemes that share a module, the one that the module does not register is broken alone."""
    site.install("pair-plugin", ["one", "two"], plugin("one"))
    one, two = site.plugins().survey(load=True)
    assert (one.state, one.problem) == (State.OK, None)
    assert two.state == State.BROKEN
    assert 'calls register("two", ...)' in (two.problem or "")


@pytest.mark.parametrize("kind", ["object", "dict", "type('Digest', (), {})"])
def test_a_class_that_is_no_scheme_is_broken(site: Site, kind: str) -> None:
    """A class that is no subclass of AuthABC is found without an instance of it; its neighbour works."""
    site.install("pair-plugin", ["one", "two"], f"{plugin('one')}    register('two', {kind})\n")
    one, two = site.plugins().survey(load=True)
    assert (one.state, two.state) == (State.OK, State.BROKEN)
    assert "which is no subclass of AuthABC" in (two.problem or "")


@pytest.mark.parametrize(
    "source",
    ["1 / 0", "raise SystemExit(0)", "raise GeneratorExit", "class Panic(BaseException): pass\nraise Panic"],
)
def test_a_broken_plugin_spoils_no_other_report(site: Site, source: str) -> None:
    """Whatever a plugin raises, the survey goes on; without loading nothing is noticed."""
    site.install("alpha-plugin", ["alpha"])
    site.install("broken-plugin", ["broken", "spare"], source)
    site.install("zeta-plugin", ["zeta"])
    plugins = site.plugins()
    assert set(states(plugins).values()) == {State.INSTALLED}
    assert list(states(plugins, load=True).values()) == [State.OK, State.BROKEN, State.BROKEN, State.OK]


def test_an_interrupt_ends_the_survey(site: Site) -> None:
    """Ctrl-C while a plugin is imported is the user's, and no fault of the plugin."""
    site.install("alpha-plugin", ["alpha"], "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        site.plugins().survey(load=True)


def test_the_problem_is_the_text_of_the_error(site: Site) -> None:
    """A report says of a scheme what a Client would."""
    site.install("alpha-plugin", ["alpha", "blocked"])
    site.install("broken-plugin", ["broken"], "1 / 0")
    site.install("rival-plugin", ["alpha"])
    plugins = site.plugins("-blocked")
    reports = plugins.survey(load=True)
    assert [one.state for one in reports] == ["in conflict", "in conflict", "blocked", "broken"]
    for report in reports:
        with pytest.raises(PluginError) as caught:
            plugins.factory(report.scheme)
        assert report.problem == str(caught.value)
    assert list(site.log()) == ["broken_plugin"]


@pytest.mark.parametrize("load", [False, True])
def test_a_conflict_that_is_settled(site: Site, load: bool) -> None:
    """Of two distributions that offer a name, the blocked one is blocked and the other has no problem."""
    site.install("one-plugin", ["alpha"])
    site.install("two-plugin", ["alpha"])
    assert set(states(site.plugins(), load=load).values()) == {State.IN_CONFLICT}
    assert states(site.plugins("-two-plugin"), load=load) == {
        ("alpha", "one-plugin"): State.OK if load else State.INSTALLED,
        ("alpha", "two-plugin"): State.BLOCKED,
    }
    assert list(site.log()) == (["one_plugin"] if load else [])


# Distributions of which a part is left.


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (None, ("gone_plugin", "1.0")),
        ("", ("gone_plugin", "1.0")),
        ("Metadata-Version: 2.1\n", ("gone_plugin", "1.0")),
        ("Metadata-Version: 2.1\nVersion: 2.0\n", ("gone_plugin", "2.0")),
        ("Metadata-Version: 2.1\nName: Gone.Plugin\n", ("Gone.Plugin", None)),
    ],
)
def test_metadata_without_a_name_or_a_version(
    site: Site, metadata: str | None, expected: tuple[str, str | None]
) -> None:
    """What METADATA does not hold comes from the name of its folder, and a version may be None."""
    site.install("gone-plugin", ["gone"])
    path = site.folder / "gone_plugin-1.0.dist-info" / "METADATA"
    path.unlink() if metadata is None else path.write_text(metadata)
    report = only(site.plugins())
    assert ((report.distribution, report.version), report.state) == (expected, State.INSTALLED)


def test_the_remedy_for_what_pip_left_behind_is_not_pip(site: Site) -> None:
    """Pip does not see metadata without a name: the folder to delete is named, and to delete it helps."""
    site.install("gone-plugin", ["gone"])
    folder = site.folder / "gone_plugin-1.0.dist-info"
    (folder / "METADATA").unlink()
    (site.folder / "gone_plugin.py").unlink()
    report = only(site.plugins(), load=True)
    assert report.state == State.BROKEN
    assert (report.problem or "").endswith(f"; delete what pip left of it: {folder}")


def test_what_pip_left_of_another_version_is_no_conflict(site: Site) -> None:
    """A folder that pip renamed, as it does until an upgrade is done, does not conflict with the new one."""
    site.install("alpha-plugin", ["alpha"])
    left = site.folder / "~lpha_plugin-0.9.dist-info"
    left.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        text = (site.folder / "alpha_plugin-1.0.dist-info" / name).read_text()
        (left / name).write_text(text)
    assert len(site.entry_points()) == 2
    assert only(site.plugins(), load=True).state == State.OK


def test_an_entry_point_without_a_distribution() -> None:
    """An entry point that a program made itself is reported by its module."""
    entry_point = EntryPoint("own", "cruds_core.plugin", "cruds.auth")
    assert only(Plugins([entry_point]))[:4] == ("own", "cruds_core.plugin", None, State.INSTALLED)
