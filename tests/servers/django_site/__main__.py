"""Serves the site until the process is ended: `python -m servers.django_site HOST PORT FOLDER LIFETIME`."""

import sys
from importlib import import_module
from pathlib import Path
from socketserver import TCPServer
from typing import Any

from .accounts import CLIENTS, OTHER_USERNAME, PASSWORD, USERNAME
from .settings import settings


def main(host: str, port: int, folder: Path, lifetime: int) -> None:
    """Sets the site up in an empty folder, and serves it."""
    url = f"http://{host}:{port}"
    import_module("django.conf").settings.configure(**settings(folder, url, lifetime))
    server = listen(host, port)
    import_module("django").setup()
    import_module("django.core.management").call_command("migrate", run_syncdb=True, verbosity=0)
    register()
    server.set_app(import_module("django.core.wsgi").get_wsgi_application())
    print(f"Serving on {url}", flush=True)
    server.serve_forever()


def listen(host: str, port: int) -> Any:
    """Returns Django's server with threads and persistent connections, bound to its port."""
    basehttp = import_module("django.core.servers.basehttp")
    # Head and content go out in two writes: the second would wait for the first to be acknowledged.
    handler = type("Handler", (basehttp.WSGIRequestHandler,), {"disable_nagle_algorithm": True})
    server = basehttp.ThreadedWSGIServer((host, port), handler, bind_and_activate=False)
    server.request_queue_size = 128
    TCPServer.server_bind(server)  # its own would ask a name server for the name of the host
    server.server_name, server.server_port = host, port
    server.setup_environ()
    server.server_activate()
    return server


def register() -> None:
    """Creates the users and the clients."""
    user = import_module("django.contrib.auth.models").User
    for username in (USERNAME, OTHER_USERNAME):
        user.objects.create_user(username, password=PASSWORD)
    application = import_module("oauth2_provider.models").Application
    for client in CLIENTS:
        application.objects.create(
            name=client.client_id,
            client_id=client.client_id,
            client_secret=client.client_secret,
            client_type="confidential" if client.client_secret else "public",
            authorization_grant_type=client.grant,
            redirect_uris=client.redirect_uri,
            algorithm="RS256",
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
