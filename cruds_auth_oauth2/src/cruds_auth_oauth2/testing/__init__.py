"""The kit for those who ship a store: a contract to hold it to, with real threads and processes.

Nothing here is imported by the rest of CRUDs, or by pytest of itself, and nothing but the standard library
is needed.
"""

from __future__ import annotations

from .contract import StoreContract

__all__ = ["StoreContract"]
