"""HTTP Message Signatures (RFC 9421) for the CRUDs REST client."""

from __future__ import annotations

from .http_signatures import HttpSignatures

__all__ = ["HttpSignatures", "__version__"]

__version__ = "0.1.0"
