"""Fuzz by coverage: ``python -m fuzz TARGET SECONDS`` in the folder tests, as `make fuzz` does.

What fails is left in a file ``crash-*``: make it an input of the corpus.
"""

import sys
import tempfile

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore] # pyright: ignore

with atheris.instrument_imports(include=["cruds_core", "cruds_auth_basic", "cruds_auth_oauth2"]):  # pyright: ignore
    from .targets import CORPUS, TARGETS


def main() -> None:
    """Run one target."""
    name, seconds = sys.argv[1:]
    if name not in TARGETS:
        print(f"{name} is not to be fuzzed here")
        return
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
