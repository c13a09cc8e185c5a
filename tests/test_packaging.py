"""What is built and installed is what the source holds: from a clean copy, as a newcomer does it."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.metadata import Metadata
from servers.process import require, require_distribution

from cruds.demo.api import DemoAPI
from cruds_core.testing import Received, Reply
from cruds_core.testing.loopback import Loopback

ROOT = Path(__file__).parent.parent

# What pip and uv say where they reach no package index.
NO_INDEX = (
    "Failed to establish a new connection",
    "No matching distribution found for hatchling",
    "Failed to fetch",
    "Network connectivity is disabled",
    "dns error",
)


@dataclass(frozen=True)
class Distribution:
    """A distribution of ours, and what it promises."""

    folder: str
    package: str  # the folder of the package, in `folder`
    name: str
    requires: frozenset[str]
    entry_points: dict[str, dict[str, str]]
    extras: dict[str, str]  # by name: what each brings
    extra_files: tuple[str, ...] = ()  # in the sdist

    @property
    def module(self) -> str:
        """The name that it is imported by."""
        return Path(self.package).name


CORE = Distribution(
    "cruds_core",
    "src/cruds_core",
    "cruds-core",
    frozenset({"pluggy", "urllib3"}),
    {"cruds.auth": {"bearer": "cruds_core.plugin"}},
    {"idna": "idna", "speed": "orjson"},
)
BASIC = Distribution(
    "cruds_auth_basic",
    "src/cruds_auth_basic",
    "cruds-auth-basic",
    frozenset({"cruds-core"}),
    {"cruds.auth": dict.fromkeys(("basic", "digest", "apikey"), "cruds_auth_basic.plugin")},
    {},
)
OAUTH2 = Distribution(
    "cruds_auth_oauth2",
    "src/cruds_auth_oauth2",
    "cruds-auth-oauth2",
    frozenset({"cruds-core", "authlib", "cryptography", "filelock", "joserfc"}),
    {"cruds.auth": {"oauth2": "cruds_auth_oauth2.plugin"}},
    {"keyring": "keyring", "redis": "redis"},
)
UMBRELLA = Distribution(
    ".",
    "cruds",
    "cruds",
    frozenset({"cruds-core", "cruds-auth-basic", "cruds-auth-oauth2", "authlib", "click", "rich"}),
    {"console_scripts": {"cruds": "cruds.cli:main"}},
    {
        "idna": "cruds-core[idna]",
        "keyring": "cruds-auth-oauth2[keyring]",
        "redis": "cruds-auth-oauth2[redis]",
        "speed": "cruds-core[speed]",
    },
    ("CHANGELOG.md",),
)

OURS = (CORE, BASIC, OAUTH2, UMBRELLA)

every_distribution = pytest.mark.parametrize("ours", OURS, ids=lambda ours: ours.name)


def run(command: Sequence[str | Path], cwd: Path, **env: str) -> str:
    """Runs a command without what this process has on its path, and returns what it printed."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV", "CRUDS_PLUGINS")
    }
    result = subprocess.run(
        command, cwd=cwd, env=inherited | env, capture_output=True, text=True, timeout=300, check=False
    )
    output = result.stdout + result.stderr
    if result.returncode:
        require(not any(words in output for words in NO_INDEX), f"no package index: {output[-300:]}")
    assert result.returncode == 0, output
    return result.stdout


@pytest.fixture(scope="session")
def uv() -> str:
    """The path of uv."""
    places = [os.environ.get("UV"), shutil.which("uv"), shutil.which(ROOT / ".uv/bin/uv")]
    return require(next(filter(None, places), None), "uv is missing: pip install uv")


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source, with what git holds or would take, and nothing else."""
    git = require(shutil.which("git"), "git is missing: apt-get install git")
    require((ROOT / ".git").exists(), "this is no clone: only git knows which files are the source")
    copy = tmp_path_factory.mktemp("tree")
    for name in run([git, "ls-files", "-coz", "--exclude-standard"], ROOT).split("\0"):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="session")
def built(tree: Path, uv: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of each distribution, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run([uv, "build", "--python", sys.executable, "--all-packages", "--out-dir", folder], tree)
    return folder


@pytest.fixture(scope="session")
def built_directly(tree: Path, uv: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of each distribution, built from the source as pip does it."""
    folder = tmp_path_factory.mktemp("wheels")
    run([uv, "build", "--python", sys.executable, "--all-packages", "--wheel", "--out-dir", folder], tree)
    return folder


def wheel(built: Path, ours: Distribution) -> Path:
    """Returns the path of the wheel of a distribution."""
    (path,) = built.glob(f"{ours.module}-*.whl")
    return path


def files(built: Path, ours: Distribution) -> dict[str, bytes]:
    """Returns the files of the wheel of a distribution, with what is in them."""
    with zipfile.ZipFile(wheel(built, ours)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sdist(built: Path, ours: Distribution) -> dict[str, bytes]:
    """Returns the files of the sdist of a distribution below its one folder, with what is in them."""
    (path,) = built.glob(f"{ours.module}-*.tar.gz")
    folder = path.name.removesuffix(".tar.gz") + "/"
    with tarfile.open(path) as archive:
        members = [(member.name, archive.extractfile(member)) for member in archive.getmembers()]
        assert all(name.startswith(folder) for name, _ in members)
        return {name.removeprefix(folder): member.read() for name, member in members if member is not None}


def source(tree: Path, ours: Distribution) -> dict[str, bytes]:
    """Returns the files of a package in the source, by their paths below its distribution's folder."""
    folder = tree / ours.folder
    found = [path for path in (folder / ours.package).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def metadata(built: Path, ours: Distribution) -> Metadata:
    """Returns the metadata of a wheel, once it was found to be valid."""
    return Metadata.from_email(files(built, ours)[f"{info(built, ours)}/METADATA"])


def info(built: Path, ours: Distribution) -> str:
    """Returns the name of the folder of metadata in a wheel."""
    return "-".join(wheel(built, ours).name.split("-")[:2]) + ".dist-info"


# What is built.


@every_distribution
def test_a_wheel_holds_the_package_and_no_more(built: Path, tree: Path, ours: Distribution) -> None:
    """A wheel is every module of the source, py.typed, the licence and its metadata, byte for byte."""
    package = {name.removeprefix("src/"): content for name, content in source(tree, ours).items()}
    assert {Path(name).suffix for name in package} == {".py", ".typed"}
    assert f"{ours.module}/py.typed" in package
    found = files(built, ours)
    folder = info(built, ours)
    named = {
        "METADATA",
        "WHEEL",
        "RECORD",
        "licenses/LICENSE",
        *["entry_points.txt"] * bool(ours.entry_points),
    }
    assert {name for name in found if name not in package} == {f"{folder}/{name}" for name in named}
    assert {name: found.get(name) for name in package} == package
    assert found[f"{folder}/licenses/LICENSE"] == (tree / "LICENSE").read_bytes()


@every_distribution
def test_an_sdist_builds_the_same_wheel(built: Path, built_directly: Path, ours: Distribution) -> None:
    """The wheel that is built from the sdist is the one that is built from the source."""
    assert files(built, ours) == files(built_directly, ours)


@every_distribution
def test_an_sdist_holds_the_source_and_no_more(built: Path, tree: Path, ours: Distribution) -> None:
    """An sdist is the package and the files that describe it: no tests, caches or lock files."""
    describing = ("pyproject.toml", "README.md", "LICENSE", *ours.extra_files)
    expected = source(tree, ours) | {name: (tree / ours.folder / name).read_bytes() for name in describing}
    found = sdist(built, ours)
    assert found.pop("PKG-INFO") == files(built, ours)[f"{info(built, ours)}/METADATA"]
    found.pop(".gitignore", None)  # hatchling adds it: a build from the sdist is to leave out the same files
    assert sorted(found) == sorted(expected)
    assert found == expected


@every_distribution
def test_the_licence_is_a_file_of_every_distribution(tree: Path, ours: Distribution) -> None:
    """Each distribution has the MIT licence as a real file, so that each builds by itself."""
    path = tree / ours.folder / "LICENSE"
    assert not path.is_symlink()
    assert path.read_text(encoding="utf-8").startswith("MIT License\n")


@every_distribution
def test_the_metadata_is_what_is_promised(built: Path, ours: Distribution) -> None:
    """Name, licence, Python and what is required are as promised, and nothing else is required."""
    found = metadata(built, ours)
    assert (found.name, found.license_expression, found.license_files) == (ours.name, "MIT", ["LICENSE"])
    assert str(found.requires_python) == ">=3.11"
    required = {requirement.name for requirement in found.requires_dist or [] if not requirement.marker}
    assert required == ours.requires
    assert set(found.dynamic or []) == set()


@every_distribution
def test_the_extras_are_what_is_promised(built: Path, ours: Distribution) -> None:
    """Each extra brings what is promised, and there are no others."""
    found = metadata(built, ours)
    brought = {
        str(it.marker): it.name + (f"[{','.join(it.extras)}]" if it.extras else "")
        for it in found.requires_dist or []
        if it.marker
    }
    assert brought == {f'extra == "{name}"': needs for name, needs in ours.extras.items()}
    assert sorted(found.provides_extra or []) == sorted(ours.extras)


@pytest.mark.parametrize("ours", [BASIC, OAUTH2, UMBRELLA], ids=lambda ours: ours.name)
def test_siblings_are_required_by_range(built: Path, ours: Distribution) -> None:
    """A sibling of this version fits and a later one of the same major version; the next major does not."""
    version = metadata(built, CORE).version
    siblings = [it for it in metadata(built, ours).requires_dist or [] if it.name.startswith("cruds-")]
    assert siblings
    for sibling in siblings:
        major = version.major
        fits = [sibling.specifier.contains(text) for text in (str(version), f"{major}.99", f"{major + 1}.0")]
        assert fits == [True, True, False], sibling


@every_distribution
def test_entry_points_are_what_is_promised(built: Path, ours: Distribution) -> None:
    """A wheel declares its schemes and its command, and every value leads to something in the wheel."""
    found = files(built, ours)
    parser = configparser.ConfigParser(delimiters=["="])
    parser.read_string(found.get(f"{info(built, ours)}/entry_points.txt", b"").decode())
    declared = {group: dict(parser[group]) for group in parser.sections()}
    assert declared == ours.entry_points
    modules = {
        value.split(":")[0].replace(".", "/") + ".py"
        for group in declared.values()
        for value in group.values()
    }
    assert modules <= set(found)


def test_versions_agree(built: Path) -> None:
    """The version that each package says of itself is that of its distribution."""
    script = f"import json, {', '.join(one.module for one in OURS)}\n"
    script += f"modules = {', '.join(one.module for one in OURS)}\n"
    script += "print(json.dumps([[it.__name__, it.__version__, it.__file__] for it in modules]))"
    wheels = [str(wheel(built, one)) for one in OURS]
    told = json.loads(run([sys.executable, "-c", script], built, PYTHONPATH=os.pathsep.join(wheels)))
    assert [(name, version) for name, version, _ in told] == [
        (one.module, str(metadata(built, one).version)) for one in OURS
    ]
    assert all(file.startswith(path) for (_, _, file), path in zip(told, wheels, strict=True))


def test_twine_takes_them(built: Path) -> None:
    """An index takes every wheel and sdist, and can show each README."""
    require_distribution("twine")
    paths = sorted(path for path in built.iterdir() if path.suffix in (".whl", ".gz"))
    assert len(paths) == 2 * len(OURS)
    run([sys.executable, "-m", "twine", "--no-color", "check", "--strict", *paths], built)


# What is installed.

USE = """
import importlib.metadata, json, os, sys
import cruds_core
with cruds_core.Client(os.environ["API"], (os.environ["API_USERNAME"], os.environ["API_PASSWORD"])) as client:
    found = client.read("things")
names = sorted(distribution.name for distribution in importlib.metadata.distributions())
print(json.dumps([found, names, cruds_core.__file__, "cruds_auth_basic" in sys.modules]))
"""

OLD_PIP = "23.2.1"


# Which pip, and what follows "pip install" in the folder of the source.
WAYS = {
    "plain": (f"pip=={OLD_PIP}", ["./cruds_core", "./cruds_auth_basic"]),
    "editable": ("pip", ["-e", "./cruds_core", "-e", "./cruds_auth_basic"]),
    "umbrella": (f"pip=={OLD_PIP}", [".", "./cruds_core", "./cruds_auth_basic", "./cruds_auth_oauth2"]),
}


def environment(folder: Path, *, pip: bool = False) -> Path:
    """Makes an environment with nothing in it, or with pip alone, and returns its interpreter."""
    run([sys.executable, "-m", "venv", *["--without-pip"] * (not pip), folder], folder.parent)
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def installed(
    tree: Path, uv: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Path]]]:
    """The interpreters of new environments, by the way of installing; made two at a time."""
    folder = tmp_path_factory.mktemp("installed")
    for pip in {pip for pip, _ in WAYS.values()}:
        # Each has a folder of its own, from which any interpreter runs it, and is not in the environments.
        run([uv, "pip", "install", "--python", sys.executable, "--target", pip, pip], folder)

    def install(way: str) -> Path:
        pip, what = WAYS[way]
        python = environment(folder / way)
        run([python, folder / pip / "pip", "install", "--no-compile", *what], tree)
        return python

    with ThreadPoolExecutor(2) as pool:
        yield {way: pool.submit(install, way) for way in WAYS}


def use(python: Path, api: DemoAPI) -> Any:
    """Reads from the API with a username and a password, in an environment."""
    credentials = {"API": api.url, "API_USERNAME": api.username, "API_PASSWORD": api.password}
    return json.loads(run([python, "-W", "error", "-c", USE], python.parent, **credentials))


@pytest.mark.parametrize("way", ["plain", "editable"])
def test_core_and_basic_are_installed_by_pip(
    installed: dict[str, Future[Path]], tree: Path, api: DemoAPI, way: str
) -> None:
    """Both are installed from their folders and find each other; beside them come urllib3 and pluggy only."""
    python = installed[way].result()
    found, names, file, registered = use(python, api)
    assert (found, registered) == ([], True)
    assert names == ["cruds-auth-basic", "cruds-core", "pluggy", "urllib3"]
    assert Path(file).is_relative_to(tree if way == "editable" else python.parents[1])


def test_the_umbrella_is_installed_by_pip(installed: dict[str, Future[Path]], api: DemoAPI) -> None:
    """With the umbrella come the documented names and the command."""
    python = installed["umbrella"].result()
    assert use(python, api)[0] == []
    names = "import cruds, cruds_core; print(cruds.Client is cruds_core.Client, cruds.auth.OAuth2.__module__)"
    assert run([python, "-c", names], python.parent) == "True cruds_auth_oauth2.oauth2\n"
    assert "demo" in run([python.with_name("cruds"), "--help"], python.parent)


USE_FORKED = """
import os, sys
import cruds_core
sys.unraisablehook = lambda _: os._exit(2)  # what fails in the child at its fork
with cruds_core.Client(sys.argv[1], (sys.argv[2], sys.argv[3])) as client:
    client.create("forked", {"name": "a"})
    child = os.fork()
    found = client.read("forked")
    if child:
        print(found == client.read("forked"), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_with_a_fork_of_urllib3_in_its_place(built: Path, uv: str, api: DemoAPI, tmp_path: Path) -> None:
    """Core and basic work with urllib3-future, which niquests brings, in the place of urllib3."""
    python = environment(tmp_path / "venv")
    install = [uv, "pip", "install", "--python", str(python)]
    run([*install, wheel(built, CORE), wheel(built, BASIC)], tmp_path)
    run([*install, "urllib3-future"], tmp_path)
    version = run([python, "-c", "import urllib3; print(urllib3.__version__)"], tmp_path)
    assert int(version.split(".")[2]) >= 900  # as the fork numbers itself
    assert use(python, api)[0] == []
    assert run([python, "-c", USE_FORKED, api.url, api.username, api.password], tmp_path) == "True 0\n"


USE_TENANT = """
import sys
import cruds_core
with cruds_core.Client(sys.argv[1], {"scheme": "tenant", "key": "the key of the tenant"}) as client:
    print(client.read("things"))
"""


def test_a_scheme_of_ones_own(built: Path, tmp_path: Path) -> None:
    """What is written by the commands of docs/authors.md keeps its tests and types, and authenticates."""
    python = environment(tmp_path / "venv", pip=True)
    run([python, "-m", "pip", "install", "--no-compile", *(wheel(built, one) for one in OURS)], tmp_path)
    page = (ROOT / "docs" / "authors.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ (.*)", page.partition("```console\n")[2].partition("```")[0], re.MULTILINE)
    path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    told = run(["bash", "-ec", "\n".join(commands)], tmp_path, PATH=path, PIP_NO_COMPILE="1")
    assert " passed in " in told
    assert not re.search("skipped|xfailed|warnings", told)
    assert re.search(r"tenant +cruds-auth-tenant +0\.1\.0 +ok", told)
    folder = tmp_path / "cruds-auth-tenant"
    run([python, "-m", "mypy"], folder)
    run([python, "-m", "ruff", "check"], folder)
    run([python, "-m", "ruff", "format", "--check"], folder)
    keys: list[str | None] = []

    def api(request: Received) -> Reply:
        keys.append(request.headers.get("Authorization"))
        return Reply.json(["a thing"])

    with Loopback(api, api) as server:
        assert run([python, "-c", USE_TENANT, f"{server.url}/api"], folder) == "['a thing']\n"
    assert keys == ["Tenant the key of the tenant"]


BROKEN_PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "broken-plugin"
version = "1.0"

[project.entry-points."cruds.auth"]
broken = "broken_plugin"
"""

NAME_IT = """
import cruds_core
try:
    cruds_core.Client("localhost", {"scheme": "broken"})
except cruds_core.PluginError as error:
    print(type(error).__name__, error)
"""


def test_the_command_that_removes_a_broken_plugin_works(built: Path, uv: str, tmp_path: Path) -> None:
    """A plugin that anybody ships, and that is broken, is gone after the command that the error gives."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(BROKEN_PROJECT, encoding="utf-8")
    (project / "broken_plugin.py").write_text("import no_such_module\n", encoding="utf-8")
    python = environment(tmp_path / "venv")
    run([uv, "pip", "install", "--python", python, "pip", project, wheel(built, CORE)], tmp_path)
    told = run([python, "-c", NAME_IT], tmp_path)
    assert told.startswith("BrokenPluginError")
    command = told.partition("remove it with: ")[2].split()
    run([*command, "--yes"], tmp_path)
    assert run([python, "-c", NAME_IT], tmp_path).startswith("UnknownSchemeError")
