"""Fuzzing: what reads the words of a server or a browser, fed with anything."""
