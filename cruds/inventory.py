"""``cruds plugins``: which schemes are installed here, and what keeps one from being used."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stdout

import click

from cruds.scaffold import new
from cruds_core.plugins import default
from cruds_core.survey import SchemeReport, State

_STYLES = {State.OK: "green", State.BLOCKED: "yellow", State.IN_CONFLICT: "red", State.BROKEN: "red"}


@click.group(invoke_without_command=True)
@click.option(
    "--check", is_flag=True, help="Import each plugin that may be used; exit 1 if one has a problem."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else.")
@click.pass_context
def plugins(context: click.Context, *, check: bool, as_json: bool) -> None:
    """Show the auth schemes that are installed, from metadata alone: no plugin is imported."""
    if context.invoked_subcommand is not None:
        if check or as_json:
            msg = f"--check and --json do not go with {context.invoked_subcommand}"
            raise click.UsageError(msg)
        return
    with _stdout_kept():
        reports = default().survey(load=check)
    if as_json:
        click.echo(json.dumps([report._asdict() for report in reports], indent=2))
    else:
        _print(reports)
    if check and any(report.problem for report in reports):
        context.exit(1)


@contextmanager
def _stdout_kept() -> Generator[None]:
    """Send to standard error what plugins, and the programs that they run, print when they are imported."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _print(reports: Sequence[SchemeReport]) -> None:
    from rich.console import Console  # imported late: no other command needs it
    from rich.table import Table
    from rich.text import Text

    # As wide as it takes: a terminal breaks lines by itself, and in a pipe nothing must.
    console = Console(width=sys.maxsize, highlight=False)
    table = Table(*SchemeReport._fields[:4], box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for report in reports:
        state = Text(report.state, _STYLES.get(report.state, ""))
        table.add_row(Text(report.scheme), Text(report.distribution), Text(report.version or "?"), state)
    console.print(table)
    for problem in dict.fromkeys(report.problem for report in reports if report.problem):
        console.print(Text(f"\n{problem}"))


plugins.add_command(new)
