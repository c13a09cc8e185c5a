"""Attacks: leaks, secrets, interrupts, threads."""
