"""A private certificate authority and three server certificates: one good, two each with one fault."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from .process import require_distribution

NAMES = ("localhost", "127.0.0.1", "::1")
WRONG_NAME = "elsewhere.test"


@dataclass(frozen=True)
class Certificates:
    """PEM files; a server's holds its key and its certificate."""

    ca_path: Path
    good_path: Path
    expired_path: Path
    wrong_name_path: Path


def issue(folder: Path) -> Certificates:
    """Makes a new authority and its certificates, and writes them into the folder."""
    require_distribution("trustme")
    import trustme

    authority = trustme.CA(organization_name="CRUDs tests")
    now = datetime.now(UTC)
    leaves = {
        "good": authority.issue_cert(*NAMES),
        "expired": authority.issue_cert(
            *NAMES, not_before=now - timedelta(days=2), not_after=now - timedelta(days=1)
        ),
        "wrong_name": authority.issue_cert(WRONG_NAME),
    }
    for name, leaf in leaves.items():
        leaf.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{name}.pem"))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    return Certificates(
        ca_path=folder / "ca.pem",
        good_path=folder / "good.pem",
        expired_path=folder / "expired.pem",
        wrong_name_path=folder / "wrong_name.pem",
    )
