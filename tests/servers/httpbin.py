"""httpbin, in a process of its own: the warnings of its imports are not ours to fail on."""

import importlib
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .process import HOST, require_distribution, running


@contextmanager
def serve(folder: Path) -> Generator[str]:
    """Serves httpbin for the length of a with block and yields its base URL."""
    require_distribution("httpbin")

    def configure(ports: list[int]) -> list[str]:
        return [sys.executable, "-W", "ignore", "-m", __name__, str(ports[0])]

    # Run as a module from the package's parent, so that "httpbin" is the distribution and not this file.
    with running(configure, folder / "httpbin.log", "Running on", cwd=Path(__file__).parents[1]) as (port,):
        yield f"http://{HOST}:{port}"


def main(port: int) -> None:
    """Serves httpbin until the process is ended."""
    serving = importlib.import_module("werkzeug.serving")
    app: Any = importlib.import_module("httpbin").app

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        # httpbin refuses chunked content with 501 under any server but gunicorn; werkzeug decodes it as well.
        return app(environ | {"SERVER_SOFTWARE": "gunicorn/werkzeug"}, start_response)

    serving.run_simple(HOST, port, application, threaded=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
