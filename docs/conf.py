"""How Sphinx builds the site: `make docs`."""

from __future__ import annotations

import inspect
import sys
from operator import attrgetter
from typing import TYPE_CHECKING

from sphinx.util.inspect import signature, stringify_signature

import cruds_core

if TYPE_CHECKING:
    from docutils.nodes import Element, TextElement
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "CRUDs"
version = release = cruds_core.__version__
html_title = f"CRUDs {version}"
project_copyright = "the CRUDs authors"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.intersphinx", "sphinx.ext.napoleon"]
exclude_patterns = ["examples/*/tests", "**/node_modules", "**/.pytest_cache"]

html_theme = "furo"
pygments_dark_style = "a11y-high-contrast-dark"
html_static_path = ["_static"]
html_css_files = ["site.css"]

# Links to headings are GitHub's, so that the same files can be read there.
myst_heading_anchors = 4

# What Sphinx cannot find at home it looks up in these. They are in the tree, so that a build needs no
# network, and gives the same today and tomorrow.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", "inventories/python.txt"),
    "urllib3": ("https://urllib3.readthedocs.io/en/stable", "inventories/urllib3.txt"),
}

default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
add_module_names = False
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 100

# Names as annotations and docstrings write them, and where they are documented.
HOMES = {
    "AbstractContextManager": "contextlib.AbstractContextManager",
    "Any": "typing.Any",
    "BaseHTTPResponse": "urllib3.response.BaseHTTPResponse",
    "Callable": "collections.abc.Callable",
    "Collection": "collections.abc.Collection",
    "EntryPoint": "importlib.metadata.EntryPoint",
    "Iterable": "collections.abc.Iterable",
    "Mapping": "collections.abc.Mapping",
    "Path": "pathlib.Path",
    "RequestField": "urllib3.fields.RequestField",
    "Self": "typing.Self",
    "Sequence": "collections.abc.Sequence",
    "datetime": "datetime.datetime",
    "urllib3.Timeout": "urllib3.util.Timeout",
    "urllib3.poolmanager.PoolManager": "urllib3.PoolManager",
}

# What urllib3 has and does not document, and what stands for a callable that returns an AuthABC.
nitpick_ignore_regex = [
    ("py:class", r"(urllib3\.(_collections\.)?)?HTTPHeaderDict|ValidHTTPHeaderSource"),
    ("py:class", r"urllib3\.exceptions\.HTTPError"),
    ("py:class", "Factory"),
]


def find_home(app: Sphinx, env: BuildEnvironment, node: Element, text: TextElement) -> Element | None:
    """Look for a name in all of our modules; those of others are intersphinx's to find."""
    if node.get("refdomain") != "py":
        return None
    name = node["reftarget"]
    node["reftarget"] = HOMES.get(name, name)
    node["refspecific"] = True  # whatever module it is of
    return env.domains.python_domain.resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], node["reftarget"], node, text
    )


def signature_of(
    _app: Sphinx, what: str, _name: str, cls: type, _options: object, found: str | None, _returns: object
) -> tuple[str, str] | None:
    """Show how an object is made: a scheme by its own method, an error only where its base differs."""
    if found and what == "class" and issubclass(cls, cruds_core.AuthABC):
        if not inspect.isfunction(cls.__init__):
            return "", ""
        made = signature(cls.__init__, bound_method=True)  # Sphinx goes by __new__, which takes anything
        return stringify_signature(made, show_return_annotation=False, unqualified_typehints=True), ""
    return ("", "") if found and what == "exception" and "__init__" not in vars(cls) else None


def as_overridden(
    _app: Sphinx, what: str, name: str, _method: object, _options: object, lines: list[str]
) -> None:
    """Say whose parameters and errors a method has that says nothing of its own."""
    if what == "method" and not any(line.startswith(":param") for line in lines):
        path, _, own = name.rpartition(".")
        cls = attrgetter(path.partition(".")[2])(sys.modules[path.partition(".")[0]])
        bases = [
            base for base in cls.__mro__[1:] if own in vars(base) and base.__module__.startswith("cruds")
        ]
        if bases and len(inspect.signature(getattr(cls, own)).parameters) > 1:
            what = (
                "Parameters" if any(line.startswith(":raises") for line in lines) else "Parameters and errors"
            )
            lines += ["", f"{what} as in `{bases[-1].__name__}.{own}`.", ""]


def setup(app: Sphinx) -> None:
    """Connect them all. Names are looked for before intersphinx does that (priority 500)."""
    app.connect("missing-reference", find_home, priority=400)
    app.connect("autodoc-process-docstring", as_overridden, priority=900)  # after napoleon
    app.connect("autodoc-process-signature", signature_of)
