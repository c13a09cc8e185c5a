"""AWS Signature Version 4 for the CRUDs REST client."""

from __future__ import annotations

from .scheme import SigV4

__all__ = ["SigV4"]
