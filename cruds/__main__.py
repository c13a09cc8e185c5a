"""``python -m cruds``: the ``cruds`` command."""

from __future__ import annotations

from cruds.cli import main

main()
