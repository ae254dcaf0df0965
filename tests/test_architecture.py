"""What keeps the package in shape: names that are public, and who may import whom.

Nothing here knows what the code does. A rule that fails is either broken by a change, which then
is wrong, or out of date, which then is changed with a word to the others.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import nhttp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

ROOT = Path(__file__).parents[1]
PACKAGE = Path(nhttp.__file__).parent

# Units are the modules of `nhttp`, and its packages as wholes; here by name below `nhttp`.

# What these may import, at run time; all else is refused.
BOTTOM: dict[str, set[str]] = {
    "_parser": set(),
    "errors": set(),
    "status": set(),
    "_cores": set(),
    "_threads": {"_cores"},
    "_timers": {"_threads", "_cores"},
    "_turns": {"_threads", "_timers", "_cores"},
    "_watcher": {"_threads", "_cores"},
    "events": {"errors"},
    "headers": {"errors"},
    "_encoding": {"errors"},
    "_date": set(),
}
BOTTOM["streams"] = {"events", "errors", "_encoding", "_threads"}
BOTTOM["net"] = {"streams", "_timers", "_turns", "_watcher", *BOTTOM["streams"]}
BOTTOM["options"] = {"errors", "_parser"}
BOTTOM["tls"] = {"net", "options", *BOTTOM["net"]}

# What stands on top, on each of the two sides. Neither knows the other, and nothing else in the
# package, such as a message, knows either.
SERVER = {"server", "_connection", "_receiving", "_resting"}
CLIENT = {"client", "_agent", "_create_client", "_exchange", "_request"}

# What uses the package as everybody does. Nothing else imports `nhttp` itself.
USERS = {"https", "_static", "_get", "__main__"}

# What a unit may import beside the core's packages, in a function, if its extra is there.
EXTRAS = {"_get": {"rich"}, "tls": {"cryptography"}}

# The parser is driven by tests with octets: it takes nothing that could block, or tell the time.
NOT_FOR_THE_PARSER = {"socket", "select", "selectors", "ssl", "threading", "time", "logging", "os"}

# Facades, and what they promise. Everything else with a public name has its `__all__` too.
PROMISED = {
    "nhttp": {
        "METHODS", "STATUS_CODES", "Agent", "ClientRequest", "IncomingMessage", "Information",
        "RequestListener", "RequestOptions", "Server", "ServerResponse", "Tunnel", "create_client",
        "create_server", "errors", "events",
        "get", "global_agent", "https", "max_header_size", "net", "request", "streams", "tls",
    },
    "nhttp.streams": {"BytesLike", "Callback", "Duplex", "Readable", "Writable"},
    "nhttp.net": {
        "Address", "Server", "Socket", "connect", "create_connection", "create_server",
    },
    "nhttp.tls": {
        "CertificateError", "Cipher", "ClientKeywords", "ClientOptions", "ContextKeywords",
        "ContextOptions", "PeerCertificate", "SecureContext", "Server", "ServerKeywords",
        "ServerOptions", "TLSError", "TLSSession", "TLSSocket", "connect",
        "create_secure_context", "create_server",
    },
    "nhttp.https": {
        "Agent", "RequestOptions", "Server", "create_server", "get", "global_agent", "request",
    },
}  # fmt: skip


class Module(NamedTuple):
    """A file of the package."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def unit(self) -> str:
        return unit_of(self.name)


class Import(NamedTuple):
    """An import, by a line of a module."""

    line: int
    name: str
    for_types: bool  # under `if TYPE_CHECKING`
    deferred: bool  # in a function

    @property
    def is_ours(self) -> bool:
        return self.name.partition(".")[0] == "nhttp"

    @property
    def unit(self) -> str:
        return unit_of(self.name)


def unit_of(name: str) -> str:
    """Give the name of the unit that a module of ours is in; ``nhttp`` for the facade."""
    return name.split(".")[1] if "." in name else name


def modules() -> Iterator[Module]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield Module(name, path, ast.parse(path.read_text(encoding="utf-8")))


MODULES = list(modules())
NAMES = {module.name for module in MODULES}
each_module = pytest.mark.parametrize("module", MODULES, ids=[each.name for each in MODULES])


def imports(module: Module) -> Iterator[Import]:
    typing_only = {
        inner
        for node in ast.walk(module.tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    deferred = {
        inner
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef)
        for inner in ast.walk(node)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = absolute(module, node)
            # `from nhttp import net` imports the module, not a name of `nhttp`.
            inner = [f"{source}.{alias.name}" for alias in node.names]
            names = [name if name in NAMES else source for name in inner]
        else:
            continue
        for name in names:
            yield Import(node.lineno, name, node in typing_only, node in deferred)


def absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module.name.split(".")
    above = package[: len(package) - node.level + (module.path.name == "__init__.py")]
    return ".".join([*above, *([node.module] if node.module else [])])


def refused(module: Module, each: Import) -> bool:
    """Whether an import of ours, at run time, points the wrong way."""
    unit, target = module.unit, each.unit
    if unit == target or unit == "nhttp" or unit in USERS:
        return False
    if target == "nhttp" or target in USERS:
        return True
    if unit in BOTTOM:
        return target not in BOTTOM[unit]
    return (target in SERVER and unit not in SERVER) or (target in CLIENT and unit not in CLIENT)


@each_module
def test_imports_point_one_way(module: Module) -> None:
    """Those for types excepted: an annotation may name what the code never touches."""
    assert not [
        f"{module.path}:{each.line}: {module.name} imports {each.name}"
        for each in imports(module)
        if each.is_ours and not each.for_types and refused(module, each)
    ]


@each_module
def test_the_bottom_does_not_even_name_the_top(module: Module) -> None:
    if module.unit in BOTTOM:
        assert {each.unit for each in imports(module) if each.is_ours} <= BOTTOM.keys()


def test_no_unit_needs_itself() -> None:
    """What is imported with a module forms no circle."""
    needs: dict[str, set[str]] = {}
    for module in MODULES:
        needs.setdefault(module.unit, set()).update(
            each.unit
            for each in imports(module)
            if each.is_ours and not each.for_types and not each.deferred
        )
        needs[module.unit].discard(module.unit)
    assert list(TopologicalSorter(needs).static_order())  # raises CycleError with the circle


def test_the_parser_cannot_block() -> None:
    assert not [
        (module.name, each.name)
        for module in MODULES
        if module.unit == "nhttp._parser"
        for each in imports(module)
        if each.name.partition(".")[0] in NOT_FOR_THE_PARSER
    ]


@each_module
def test_the_core_needs_the_standard_library_and_two_packages(module: Module) -> None:
    allowed = {*sys.stdlib_module_names, "nhttp", "attr", "attrs", "typing_extensions"}
    extras = EXTRAS.get(module.unit, set())
    for each in imports(module):
        package = each.name.partition(".")[0]
        assert package in allowed or (package in extras and each.deferred)


def test_no_stubs_beside_our_own_code() -> None:
    assert not list(PACKAGE.rglob("*.pyi"))
    assert (PACKAGE / "py.typed").exists()


@each_module
def test_every_module_says_what_it_offers(module: Module) -> None:
    if module.name == "nhttp.__main__" or not is_public(module):
        return
    imported = load(module)
    offered: list[str] = imported.__all__
    assert len(offered) == len(set(offered))
    assert not [name for name in offered if not hasattr(imported, name)]
    assert not [name for name in offered if name.startswith("_")]


@pytest.mark.parametrize("name", PROMISED)
def test_facades_offer_exactly_what_is_promised(name: str) -> None:
    assert set(importlib.import_module(name).__all__) == PROMISED[name]


@each_module
def test_every_public_thing_is_documented(module: Module) -> None:
    assert ast.get_docstring(module.tree)
    if module.name == "nhttp.__main__" or not is_public(module):
        return
    imported = load(module)
    missing: list[str] = []
    for name in imported.__all__:
        value = getattr(imported, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            missing += [] if value.__doc__ else [name]
        if inspect.isclass(value):
            missing += [f"{name}.{each}" for each in undocumented(value)]
    assert not missing


def undocumented(cls: type[object]) -> Iterator[str]:
    for name, member in vars(cls).items():
        is_ours = inspect.isfunction(member) or isinstance(member, (property, classmethod))
        if is_ours and not name.startswith("_") and not inspect.getdoc(getattr(cls, name)):
            yield name


def test_importing_starts_no_thread_and_opens_nothing() -> None:
    code = (
        "import os, threading\n"
        "before = os.listdir('/proc/self/fd')\n"
        "import nhttp, nhttp.net, nhttp.streams, nhttp.events\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "assert os.listdir('/proc/self/fd') == before\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT, timeout=30)


def is_public(module: Module) -> bool:
    return not any(part.startswith("_") for part in module.name.split(".")[1:])


def load(module: Module) -> ModuleType:
    return importlib.import_module(module.name)
