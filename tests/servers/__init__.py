"""Real servers for the tests, each on 127.0.0.1 and ports of its own.

One module per program, with a value that says where it serves and a context manager that starts and stops it.
`tests/conftest.py` makes a fixture of each.
"""
