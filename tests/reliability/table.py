"""The tables of docs/reliability.md: ``python -m reliability.table``, where the tests are, writes them."""

from types import ModuleType

from . import answers, callers, connections, contents, heads, values
from .case import Case

MODULES: list[ModuleType] = [connections, heads, contents, values, answers, callers]
CASES: list[Case] = [case for module in MODULES for case in module.CASES]

HEAD = "| fault | verb | outcome | bound |\n| --- | --- | --- | --- |"


def tables() -> str:
    """Returns the tables, each under the heading of its module."""
    texts: list[str] = []
    for module in MODULES:
        rows = dict.fromkeys(case.row for case in module.CASES)
        texts.append("\n".join([f"### {module.TITLE}\n", HEAD, *rows]))
    return "\n\n".join(texts)


def count() -> str:
    """Returns how many rows and cases there are, in words."""
    rows = {case.row for case in CASES}
    return f"{len(rows)} rows stand for {sum(len(case.verbs) for case in CASES)} cases"


if __name__ == "__main__":
    print(tables())
    print(count())
