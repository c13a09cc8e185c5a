"""The reference is generated from docstrings: those of all public names are complete."""

import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

import pytest

MODULES = (
    "cruds",
    "cruds.auth",
    "cruds.core",
    "cruds.exception",
    "cruds_core",
    "cruds_core.testing",
    "cruds_auth_basic",
    "cruds_auth_oauth2",
    "cruds_auth_oauth2.testing",
)
#: In no ``__all__``, but imported in the documents, or returned.
FURTHER = (
    "cruds.demo.api.DemoAPI",
    "cruds.demo.authorization.AuthorizationServer",
    "cruds_core.hookspecs.cruds_register_auth",
    "cruds_core.hookspecs.cruds_request_finished",
    "cruds_core.hookspecs.cruds_request_started",
    "cruds_core.loading.Offer",
    "cruds_core.lock.IfFree",
    "cruds_core.plugins.default",
    "cruds_core.survey.SchemeReport",
    "cruds_core.survey.State",
    "cruds_core.url.Origin",
)
OURS = ("cruds.", "cruds_core.", "cruds_auth_")


def named() -> list[tuple[str, Any]]:
    """Returns every public name, with its module, and what it names."""
    modules = {module: importlib.import_module(module) for module in MODULES}
    paths = [f"{module}.{name}" for module in MODULES for name in vars(modules[module])["__all__"]]
    return [(path, attrgetter(path.partition(".")[2])(sys.modules[path.partition(".")[0]])) for path in paths]


def public() -> dict[str, Any]:
    """Returns the public classes and functions, by where they are defined."""
    further = [
        attrgetter(name)(importlib.import_module(module))
        for module, _, name in (path.rpartition(".") for path in FURTHER)
    ]
    found = [
        one
        for one in [*further, *(value for _, value in named())]
        if inspect.isclass(one) or inspect.isfunction(one)
    ]
    return {f"{one.__module__}.{one.__qualname__}": one for one in found}


def methods(cls: type) -> Iterator[tuple[str, Any]]:
    """Yields the public methods and properties of a class, by name, as they stand in our own classes."""
    for name in dir(cls):
        owner = next((base for base in cls.__mro__ if name in vars(base)), object)
        member: Any = vars(owner).get(name)
        theirs = [base for base in cls.__mro__ if not base.__module__.startswith(OURS) and name in vars(base)]
        if owner.__module__.startswith(OURS) and not theirs and not name.startswith(("_", "test_")):
            member = getattr(member, "__func__", member)
            if inspect.isfunction(member) or isinstance(member, property) or hasattr(member, "func"):
                yield f"{owner.__module__}.{owner.__qualname__}.{name}", member


PUBLIC = public()
MEMBERS = {name: one for cls in PUBLIC.values() if inspect.isclass(cls) for name, one in methods(cls)}
CALLABLE = {name: one for name, one in (PUBLIC | MEMBERS).items() if inspect.isfunction(one)}


def entries(documented: Any, *sections: str) -> dict[str, str]:
    """Returns what sections of a docstring say of each name."""
    text = inspect.getdoc(documented) or ""
    found: dict[str, str] = {}
    for section in sections:
        _, _, rest = text.partition(f"\n{section}:\n")
        block = re.split(r"\n(?=\S)", rest, maxsplit=1)[0]
        for entry in re.split(r"\n(?= {4}\S)", "\n" + textwrap.indent(textwrap.dedent(block), "    ")):
            if match := re.match(r"\s*\*{0,2}(\w+(?:\.\w+)*): ?(.*)", entry, re.DOTALL):
                found[match[1]] = match[2].strip()
    return found


def family(name: str) -> list[Any]:
    """Returns a method and those that it overrides, whose docstrings say what holds for it, too."""
    owner, _, method = name.rpartition(".")
    cls = next(
        (
            one
            for one in PUBLIC.values()
            if inspect.isclass(one)
            for one in one.__mro__
            if f"{one.__module__}.{one.__qualname__}" == owner
        ),
        None,
    )
    return (
        [CALLABLE[name]]
        if cls is None
        else [vars(base)[method] for base in cls.__mro__ if method in vars(base)]
    )


def raised(function: Callable[..., Any]) -> set[str]:
    """Returns the classes of the errors that a function itself raises."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = error.attr if isinstance(error, ast.Attribute) else getattr(error, "id", "")
            found |= {name} if name.endswith(("Error", "Test")) else set()
    return found - {"NotImplementedError"}  # of what a subclass has to define


def parameters(function: Callable[..., Any]) -> set[str]:
    """Returns the names of a function's parameters."""
    return set(inspect.signature(function).parameters) - {"self", "cls", "_"}


@pytest.mark.parametrize("name", sorted(PUBLIC | MEMBERS))
def test_a_public_name_has_a_docstring(name: str) -> None:
    """Every public class, function, method and property says in a sentence what it is."""
    text = (PUBLIC | MEMBERS)[name].__doc__
    assert text, name
    assert re.match(r"[A-Z`*].*[.:]$", text.strip().split("\n\n")[0], re.DOTALL), name


@pytest.mark.parametrize("name", sorted(CALLABLE))
def test_each_parameter_and_error_is_documented(name: str) -> None:
    """Args has each parameter of a function, and no other; Raises has each error that stands in its body."""
    function, overridden = CALLABLE[name], family(name)
    described = entries(function, "Args")
    everywhere = {one: text for base in overridden for one, text in entries(base, "Args").items()}
    assert parameters(function) <= {one for one, text in everywhere.items() if text}
    assert set(described) <= parameters(function)
    assert raised(function) <= {error for base in overridden for error in entries(base, "Raises")}


def attributes(cls: type) -> set[str]:
    """Returns the public attributes of a class that have no comment: its own, and those of its objects."""
    source = re.sub('""".*?"""', "", textwrap.dedent(inspect.getsource(cls)), flags=re.DOTALL)
    declared = re.findall(r"(.*)\n {4}([a-z]\w*)(?:: .*|(?:: .*)? = .*)", source)
    init = re.search(r"\n    def __init__\(.*?(?=\n    (?:def|@)|\Z)", source, re.DOTALL)
    given = re.findall(r"(.*)\n +self\.([a-z]\w*)(?:: .*)? = ", init[0] if init else "")
    return {name for comment, name in declared + given if not comment.lstrip().startswith("#:")}


@pytest.mark.parametrize("name", sorted(one for one in PUBLIC if inspect.isclass(PUBLIC[one])))
def test_each_argument_and_attribute_of_a_class_is_documented(name: str) -> None:
    """A class describes what it is made with, what its objects have, and what making one raises."""
    cls: type = PUBLIC[name]
    init = vars(cls).get("__init__")
    sections = {
        one: text for base in cls.__mro__ for one, text in entries(base, "Args", "Attributes").items()
    }
    described = {one for one, text in sections.items() if text}
    if not name.startswith("cruds.demo."):
        assert {
            one for one in attributes(cls) if not isinstance(getattr(cls, one, None), property)
        } <= described
    if (
        inspect.isfunction(init)
        and init.__module__.startswith("cruds")
        and init.__code__.co_filename != "<string>"
    ):
        commented = set(re.findall(r"#: .*\n +self\.(\w+)", inspect.getsource(init)))
        assert parameters(init) <= described | commented
        assert raised(init) <= {error for base in cls.__mro__ for error in entries(base, "Raises")}
