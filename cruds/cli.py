"""The ``cruds`` command."""

from __future__ import annotations

import click

from cruds.inventory import plugins
from cruds_core import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cruds")
def main() -> None:
    """REST client with pluggable authentication."""


@main.command()
def demo() -> None:
    """Run the client against a JSON API that this command starts and ends."""
    from cruds.demo.tour import tour  # imported late: no other command needs the server

    tour()


main.add_command(plugins)
