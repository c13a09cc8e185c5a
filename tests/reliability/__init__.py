"""Faults of networks, servers and callers, and what becomes of a call: docs/reliability.md has the table."""
