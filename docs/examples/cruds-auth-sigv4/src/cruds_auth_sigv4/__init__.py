"""AWS Signature Version 4 for the CRUDs REST client."""

from __future__ import annotations

from .sigv4 import SigV4

__all__ = ["SigV4"]
