"""The `cruds plugins` command, as a person and as a program read it."""

import json
import os
import subprocess
import sys
from typing import Protocol

import click
import pytest
from click.testing import CliRunner, Result
from distributions import Site, plugin

from cruds import inventory
from cruds.cli import main
from cruds_core import Plugins, plugins

KEYS = ["scheme", "distribution", "version", "state", "problem"]


class Run(Protocol):
    """Runs the command in this process."""

    def __call__(self, *options: str, allowed: str | None = None) -> Result:
        """Returns what came of it."""
        ...


@pytest.fixture
def troubled(site: Site) -> Site:
    """One scheme that works, a conflict, one that "-blocked" blocks, and one that is broken."""
    site.install("alpha-plugin", ["alpha", "blocked"])
    site.install("broken-plugin", ["broken"], "raise SystemExit(0)")
    site.install("one-plugin", ["rival"])
    site.install("two-plugin", ["rival"])
    return site


@pytest.fixture
def run(site: Site, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `cruds plugins` with the distributions of the site alone, in this process."""

    def run(*options: str, allowed: str | None = None) -> Result:
        monkeypatch.setattr(plugins, "_default", site.plugins(allowed))
        return CliRunner().invoke(main, ["plugins", *options], catch_exceptions=False)

    return run


def process(site: Site, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs `cruds plugins` in an interpreter that has the distributions of the site in front."""
    path = os.pathsep.join([str(site.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-m", "cruds", "plugins", *options],
        env={**os.environ, "PYTHONPATH": path, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def rows(output: str) -> list[list[str]]:
    """Returns the cells of the table."""
    return [line.strip().split(maxsplit=3) for line in output.partition("\n\n")[0].splitlines()]


def test_the_table_is_made_of_metadata_alone(troubled: Site, run: Run) -> None:
    """It shows blocked and conflicting schemes, imports nothing, and exits with 0 whatever it shows."""
    result = run(allowed="-blocked")
    assert result.exit_code == 0
    assert rows(result.stdout) == [
        ["scheme", "distribution", "version", "state"],
        ["alpha", "alpha-plugin", "1.0", "installed"],
        ["blocked", "alpha-plugin", "1.0", "blocked"],
        ["broken", "broken-plugin", "1.0", "installed"],
        ["rival", "one-plugin", "1.0", "in conflict"],
        ["rival", "two-plugin", "1.0", "in conflict"],
    ]
    assert troubled.log() == {}


def test_the_command_imports_no_plugin(site: Site) -> None:
    """In a process of its own, not even a plugin of ours is imported, and nothing of 200 others is."""
    for number in range(200):
        site.install(f"p{number}-plugin", [f"p{number}"])
    script = """
import contextlib, io, json, sys
from cruds.cli import main
with contextlib.redirect_stdout(io.StringIO()) as shown:
    main(["plugins"], standalone_mode=False)
imported = [name for name in sys.modules if name.startswith("cruds_auth") or name == "cruds_core.plugin"]
print(json.dumps([len(shown.getvalue().splitlines()) > 200, imported]))
"""
    assert site.run(script) == [True, []]
    assert site.log() == {}


def test_check_shows_each_problem_with_its_remedy(troubled: Site, run: Run) -> None:
    """Under the table stands the text of each problem, once, on a line of its own; the exit code is 1."""
    result = run("--check", allowed="-blocked")
    assert result.exit_code == 1
    assert [row[3] for row in rows(result.stdout)[1:]] == [
        "ok",
        "blocked",
        "broken",
        "in conflict",
        "in conflict",
    ]
    problems = [line for line in result.stdout.partition("\n\n")[2].splitlines() if line]
    reports = troubled.plugins("-blocked").survey(load=True)
    assert problems == list(dict.fromkeys(report.problem for report in reports if report.problem))
    assert len(problems) == 3


@pytest.mark.parametrize(
    ("source", "schemes", "allowed"),
    [("1 / 0", ["one"], None), (None, ["rival"], None), (None, ["one"], "rival")],
)
def test_each_kind_of_problem_fails_the_check(
    site: Site, run: Run, source: str | None, schemes: list[str], allowed: str | None
) -> None:
    """A scheme that is broken, in conflict or blocked, even on purpose, is exit code 1 by itself."""
    site.install("alpha-plugin", ["rival"])
    site.install("one-plugin", schemes, source)
    assert run(allowed=allowed).exit_code == 0
    assert run("--check", allowed=allowed).exit_code == 1


def test_check_of_what_works_is_clean(site: Site, run: Run) -> None:
    """Where all is well there is the table alone, and exit code 0."""
    site.install("alpha-plugin", ["alpha"])
    result = run("--check")
    assert (result.exit_code, result.stderr) == (0, "")
    assert rows(result.stdout)[1:] == [["alpha", "alpha-plugin", "1.0", "ok"]]
    assert "\n\n" not in result.stdout
    assert site.log() == {"alpha_plugin": ["imported", "registered"]}


@pytest.mark.parametrize("options", [[], ["--check"]])
def test_json_says_the_same(troubled: Site, run: Run, options: list[str]) -> None:
    """The JSON is the reports of the survey, with the keys that are documented and the same exit code."""
    result = run("--json", *options, allowed="-blocked")
    reports = json.loads(result.stdout)
    assert [list(report) for report in reports] == [KEYS] * 5
    survey = troubled.plugins("-blocked").survey(load=bool(options))
    assert reports == [report._asdict() for report in survey]
    assert result.exit_code == len(options)


def test_nothing_installed(run: Run) -> None:
    """Without a scheme the JSON is an empty list and the table its head; neither is an error."""
    assert (run("--json", "--check").stdout, run("--json", "--check").exit_code) == ("[]\n", 0)
    assert rows(run().stdout) == [["scheme", "distribution", "version", "state"]]


NOISY = """
import os, subprocess, sys
print("printed")
sys.stdout.write("written")
os.write(1, b"past Python")
subprocess.run([sys.executable, "-c", "print('by another program')"])
"""


def test_what_plugins_print_does_not_spoil_json(site: Site) -> None:
    """All that plugins print goes to standard error, however they print it and whatever they raise then."""
    ends = ["", "sys.exit()", "class Stop(BaseException): pass\nsys.stdout = None\nraise Stop"]
    for number, end in enumerate(ends):
        site.install(f"p{number}-plugin", [f"p{number}"], f"{NOISY}{end}\n{plugin(f'p{number}')}")
    done = process(site, "--check", "--json")
    states = {report["scheme"]: report["state"] for report in json.loads(done.stdout)}
    assert (done.returncode, states["p0"], states["p1"], states["p2"]) == (1, "ok", "broken", "broken")
    for words in ("printed", "written", "past Python", "by another program"):
        assert done.stderr.count(words) == len(ends)
    assert "Traceback" not in done.stderr


def test_a_pipe_gets_whole_plain_lines(site: Site) -> None:
    """No name is cut or wrapped, whatever the width, and there are no escape sequences."""
    name = "-".join(["a", *["very"] * 30, "long-plugin"])
    site.install(name, {"long": "broken", "l" * 90: "broken"}, "")
    done = process(site, "--check", COLUMNS="40", TERM="xterm-256color")
    assert (done.returncode, done.stderr) == (1, "")
    assert "\x1b" not in done.stdout
    for scheme in ("long", "l" * 90):
        assert [scheme, name, "1.0", "broken"] in rows(done.stdout)
    problems = done.stdout.partition("\n\n")[2].split("\n\n")
    assert len(problems) == 2
    assert all(len(problem.strip().splitlines()) == 1 for problem in problems)


def test_markup_in_a_name_is_shown_as_it_is(site: Site, run: Run) -> None:
    """What looks like markup of rich in metadata is text."""
    site.install("alpha-plugin", {"[bold]a": "alpha_plugin", "b:smile:": "alpha_plugin"})
    assert [row[0] for row in rows(run().stdout)[1:]] == ["[bold]a", "b:smile:"]


def test_a_distribution_removed_by_half(site: Site, run: Run) -> None:
    """Where the metadata has no name or version, the table shows what its folder is named, or "?"."""
    for name, metadata in (("gone-plugin", ""), ("half-plugin", "Name: half-plugin\n")):
        site.install(name, [name.partition("-")[0]])
        (site.folder / f"{name.replace('-', '_')}-1.0.dist-info" / "METADATA").write_text(metadata)
    assert rows(run().stdout)[1:] == [
        ["gone", "gone_plugin", "1.0", "installed"],
        ["half", "half-plugin", "?", "installed"],
    ]


def test_the_variable_is_obeyed(site: Site) -> None:
    """CRUDS_PLUGINS of the environment decides what the command imports."""
    site.install("alpha-plugin", ["alpha"])
    done = process(site, "--check", "--json", CRUDS_PLUGINS="bearer")
    found = {report["scheme"]: report["state"] for report in json.loads(done.stdout)}
    assert (done.returncode, found["bearer"], found["alpha"]) == (1, "ok", "blocked")
    assert site.log() == {}


def test_ours_are_ok() -> None:
    """The schemes that we ship pass the check."""
    found = {report.scheme: report for report in Plugins().survey(load=True)}
    for scheme in ("apikey", "basic", "bearer", "digest", "oauth2"):
        assert (found[scheme].state, found[scheme].problem) == ("ok", None)


def test_the_options_belong_to_the_list(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sub-command runs alone: the list is not shown before it, and --check and --json are refused."""
    command = click.Command("sub", callback=lambda: click.echo("done"))
    monkeypatch.setitem(inventory.plugins.commands, "sub", command)
    assert run("sub").stdout == "done\n"
    refused = run("--check", "sub")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--check and --json do not go with sub" in refused.stderr


def test_there_is_help(run: Run) -> None:
    """The help names the two options, and an unknown sub-command is an error of usage."""
    assert {"--check", "--json"} <= set(run("-h").stdout.split())
    assert run("nothing").exit_code == 2
