"""The kit for those who ship a scheme: a contract to hold it to, over real connections.

Nothing here is imported by the rest of CRUDs, or by pytest of itself, and nothing but the standard library
is needed.
"""

from __future__ import annotations

from .contract import AuthContract
from .loopback import Received
from .server import Reply

__all__ = ["AuthContract", "Received", "Reply"]
