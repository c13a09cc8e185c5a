"""Apache: Basic and Digest as mod_auth_basic and mod_auth_digest ask for them."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .passwords import htdigest, htpasswd
from .process import HOST, program, require, running

MODULES = Path("/usr/lib/apache2/modules")

# User and Group count only for root, whose workers become nobody; 65534 is nobody on every Debian.
CONFIGURATION = """
ServerName localhost
ServerRoot "${folder}"
DefaultRuntimeDir "${folder}"
PidFile "${folder}/apache.pid"
ScriptSock "${folder}/cgi.sock"
ErrorLog "${log}"
LogLevel info
Listen ${address}
User #65534
Group #65534
LoadModule mpm_event_module ${modules}/mod_mpm_event.so
LoadModule authn_core_module ${modules}/mod_authn_core.so
LoadModule authn_file_module ${modules}/mod_authn_file.so
LoadModule authz_core_module ${modules}/mod_authz_core.so
LoadModule authz_user_module ${modules}/mod_authz_user.so
LoadModule auth_basic_module ${modules}/mod_auth_basic.so
LoadModule auth_digest_module ${modules}/mod_auth_digest.so
LoadModule alias_module ${modules}/mod_alias.so
LoadModule cgid_module ${modules}/mod_cgid.so
StartServers 1
ServerLimit 1
ThreadsPerChild 64
MaxRequestWorkers 64
DocumentRoot "${folder}/www"
Alias /basic/ "${folder}/www/"
Alias /digest/ "${folder}/www/"
Alias /digest-short/ "${folder}/www/"
<Directory "${folder}/www">
    Options +ExecCGI
</Directory>
<Files "*.json">
    ForceType application/json
</Files>
<Files "echo">
    SetHandler cgi-script
</Files>
<Location /basic/>
    AuthType Basic
    AuthName "cruds"
    AuthUserFile "${folder}/basic"
    Require valid-user
</Location>
<LocationMatch "^/digest(-short)?/">
    AuthType Digest
    AuthName "cruds"
    AuthDigestAlgorithm MD5
    AuthDigestQop auth
    AuthUserFile "${folder}/digest"
    Require valid-user
</LocationMatch>
<Location /digest-short/>
    AuthDigestNonceLifetime 1
</Location>
"""

# A shell script, as root's Python may lie where nobody may not look. The length is counted: chunked content
# announces none.
ECHO = r"""#!/bin/sh
quoted() { printf '%s\n' "$1" | sed 's/["\\]/\\&/g; s/.*/"&"/'; }
content=$(mktemp) && trap 'rm -f "$content"' EXIT && cat > "$content"
printf 'Content-Type: application/json\r\n\r\n'
printf '{"method": %s, "path": %s, ' "$(quoted "$REQUEST_METHOD")" "$(quoted "$REQUEST_URI")"
printf '"query": %s, "user": %s, ' "$(quoted "$QUERY_STRING")" "$(quoted "$REMOTE_USER")"
printf '"content_type": %s, ' "$(quoted "$CONTENT_TYPE")"
printf '"length": %d, "sha256": "%.64s"}\n' "$(wc -c < "$content")" "$(sha256sum < "$content")"
"""


@dataclass(frozen=True)
class Apache:
    """Where Apache serves, and the one user it knows."""

    url: str
    user: str = "ada"
    password: str = "s3cret"
    realm: str = "cruds"


@contextmanager
def serve(logs: Path) -> Generator[Apache]:
    """Serves for the length of a with block."""
    apache = program("apache2", "apache2-bin")
    require(MODULES.is_dir(), f"{MODULES} is missing: apt-get install apache2-bin")
    log = logs / "apache.log"
    # Workers that became nobody cannot enter pytest's own folder, which is closed to other users.
    with tempfile.TemporaryDirectory(prefix="cruds-apache-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        write(folder)

        def configure(ports: list[int]) -> list[str | Path]:
            values = {"folder": folder, "log": log, "address": f"{HOST}:{ports[0]}", "modules": MODULES}
            defines = [word for key, value in values.items() for word in ("-C", f'Define {key} "{value}"')]
            return [apache, *defines, "-f", folder / "apache.conf", "-DFOREGROUND"]

        with running(configure, log, "resuming normal operations") as (port,):
            yield Apache(f"http://{HOST}:{port}")


def write(folder: Path) -> None:
    """Writes the configuration, the passwords and what is served."""
    (folder / "www").mkdir()
    files = {
        "apache.conf": CONFIGURATION,
        "basic": htpasswd(Apache.user, Apache.password),
        "digest": htdigest(Apache.user, Apache.realm, Apache.password),
        "www/small.json": '{"served_by": "apache"}\n',
        "www/echo": ECHO,
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    for path in folder.rglob("*"):  # whatever umask says: root's workers are not root
        path.chmod(0o755 if path.is_dir() or path.name == "echo" else 0o644)
