"""Fuzz by coverage: ``python -m fuzz TARGET SECONDS``, in the folder tests. `make fuzz` does so for each target.

What is new is kept in a folder of its own, and what fails in a file ``crash-*``: make it an input of the corpus.
"""

import sys
import tempfile

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore] # pyright: ignore

with atheris.instrument_imports(include=["cruds_core", "cruds_auth_basic", "cruds_auth_oauth2"]):  # pyright: ignore
    from .targets import CORPUS, TARGETS


def main() -> None:
    """Run one target."""
    name, seconds = sys.argv[1:]
    options = [
        f"-max_total_time={seconds}",
        "-max_len=2048",
        "-timeout=5",
        "-rss_limit_mb=2048",
        "-verbosity=1",
    ]
    with tempfile.TemporaryDirectory() as found:
        atheris.Setup([name, found, str(CORPUS / name), *options], TARGETS[name])  # pyright: ignore
        atheris.Fuzz()  # pyright: ignore


main()
