"""nginx: static JSON, Basic, redirects, TLS with good and bad certificates, and a few refusals."""

import json
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .passwords import htpasswd
from .process import HOST, program, running
from .tls import Certificates

SIZES = {"small": 200, "medium": 10_000, "large": 1_000_000}  # bytes
REDIRECTS = (301, 302, 303, 307, 308)

# One process, which stays the user it was started as: a worker of another user could not read the folder.
# Paths are relative to the folder that -p names. X-Connection tells which requests shared a connection.
CONFIGURATION = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr notice;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path temp;
    proxy_temp_path temp;
    fastcgi_temp_path temp;
    uwsgi_temp_path temp;
    scgi_temp_path temp;
    types { }
    default_type application/json;
    root www;
    add_header X-Connection $connection always;
    add_header X-Connection-Requests $connection_requests always;
    ssl_protocols TLSv1.2 TLSv1.3;
    server { include expired.conf; }
    server { include wrong_name.conf; }
    server {
        include plain.conf;
        include good.conf;
        include redirects.conf;
        absolute_redirect off;
        client_max_body_size 0;
        location /gzip/ {
            gzip on;
            gzip_types application/json;
            gzip_min_length 1;
            rewrite ^/gzip(/.*)$ $1 break;
        }
        location /slow/ { rewrite ^/slow(/.*)$ $1 break; limit_rate 2k; }
        location /basic/ {
            auth_basic nginx;
            auth_basic_user_file users;
            rewrite ^/basic(/.*)$ $1 break;
        }
        location = /limit { client_max_body_size 1k; return 200 '{"accepted": true}'; }
        location = /drop { return 444; }
        include dav*.conf;
    }
}
"""
DAV = "location /dav/ { root .; dav_methods PUT DELETE; create_full_put_path on; }\n"


@dataclass(frozen=True)
class Nginx:
    """Where nginx serves: `tls_url` the same as `url`, the two faulty ones only the JSON files."""

    url: str
    tls_url: str
    expired_url: str
    wrong_name_url: str
    has_dav: bool
    user: str = "ada"
    password: str = "s3cret:ü"


def document(size: int) -> bytes:
    """Returns a JSON object of so many bytes: records, and padding to fill."""
    content: dict[str, object] = {
        "records": [{"id": number, "name": f"record {number}"} for number in range(size // 50)],
        "padding": "",
    }
    content["padding"] = "x" * (size - len(json.dumps(content)))
    return json.dumps(content).encode()


@contextmanager
def serve(folder: Path, certificates: Certificates) -> Generator[Nginx]:
    """Serves for the length of a with block."""
    nginx = program("nginx", "nginx")
    built = subprocess.run([nginx, "-V"], capture_output=True, check=True, text=True).stderr
    has_dav = "--with-http_dav_module" in built
    for name in ("www", "dav", "temp"):
        (folder / name).mkdir()
    for name, size in SIZES.items():
        (folder / "www" / f"{name}.json").write_bytes(document(size))
    (folder / "nginx.conf").write_text(CONFIGURATION)
    (folder / "users").write_text(htpasswd(Nginx.user, Nginx.password))
    (folder / "dav.conf").write_text(DAV if has_dav else "")
    redirects = [f"location = /redirect/{code} {{ return {code} /small.json; }}\n" for code in REDIRECTS]
    (folder / "redirects.conf").write_text("".join(redirects))

    def configure(ports: list[int]) -> list[str | Path]:
        (folder / "plain.conf").write_text(f"listen {HOST}:{ports[0]};\n")
        secure = (certificates.good_path, certificates.expired_path, certificates.wrong_name_path)
        for port, path in zip(ports[1:], secure, strict=True):
            (folder / f"{path.stem}.conf").write_text(
                f'listen {HOST}:{port} ssl; ssl_certificate "{path}"; ssl_certificate_key "{path}";\n'
            )
        return [nginx, "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"]

    # The line of its version is the first that nginx writes after it has bound all its ports.
    with running(configure, folder / "nginx.log", "nginx/", ports=4) as (plain, good, expired, wrong_name):
        yield Nginx(
            url=f"http://{HOST}:{plain}",
            tls_url=f"https://{HOST}:{good}",
            expired_url=f"https://{HOST}:{expired}",
            wrong_name_url=f"https://{HOST}:{wrong_name}",
            has_dav=has_dav,
        )
