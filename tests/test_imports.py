"""What an import costs: names come from where they are when they are asked for, and no earlier."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import nhttp

ROOT = Path(__file__).parents[1]

# Modules that take long to load, and that a plain server or request does not need.
SLOW = {"asyncio", "concurrent.futures", "email.utils", "http", "importlib.metadata", "ssl"}


def loaded(code: str) -> set[str]:
    """Give the modules that a fresh interpreter has loaded after `code`."""
    # Not those that a .pth file or a coverage tool loads before it.
    code = f"import sys\nbefore = {{*sys.modules}}\n{code}\nprint(*{{*sys.modules}} - before)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=ROOT,
        timeout=30,
        capture_output=True,
        text=True,
    )
    return set(done.stdout.split())


def test_the_facade_loads_nothing_of_the_package() -> None:
    assert {name for name in loaded("import nhttp") if name.startswith("nhttp")} == {"nhttp"}


def test_the_facade_needs_no_more_than_typing() -> None:
    assert not loaded("import typing, importlib\nbefore |= {*sys.modules}\nimport nhttp") - {
        "__future__",
        "nhttp",
    }


def test_a_server_does_not_load_the_client() -> None:
    modules = loaded("import nhttp\nnhttp.create_server()")
    assert "nhttp.server" in modules
    assert not modules & {"nhttp.client", "nhttp._agent", "nhttp._request", "pathlib", *SLOW}


def test_a_client_does_not_load_the_server() -> None:
    modules = loaded("import nhttp\nnhttp.request")
    assert "nhttp.client" in modules
    assert not modules & {"nhttp.server", "nhttp._connection", "nhttp.response", *SLOW}


def test_every_promised_name_is_where_the_facade_says() -> None:
    code = "import nhttp\nfor name in nhttp.__all__: assert getattr(nhttp, name) is not None, name"
    assert "nhttp.server" in loaded(code)


def test_type_checkers_are_told_the_same_as_the_interpreter() -> None:
    told: dict[str, str] = {}
    for node in ast.walk(ast.parse(Path(nhttp.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("nhttp"):
            for alias in node.names:
                told[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    assert set(told) == set(nhttp.__all__)
    for name, origin in told.items():
        module, _, attribute = origin.rpartition(".")
        assert getattr(nhttp, name) is getattr(import_module(module), attribute)


def test_a_name_is_imported_once() -> None:
    assert nhttp.Server is vars(nhttp)["Server"]


def test_all_names_are_listed_before_any_is_imported() -> None:
    code = "import nhttp\nassert {*nhttp.__all__} <= {*dir(nhttp)}"
    assert "nhttp.server" not in loaded(code)


def test_a_star_import_gives_every_name() -> None:
    assert "nhttp.client" in loaded("from nhttp import *\nServer, get, net.Socket, errors.Error")


def test_a_misspelt_name_is_refused() -> None:
    with pytest.raises(AttributeError, match=r"module 'nhttp' has no attribute 'creat_server'"):
        getattr(nhttp, "creat_server")  # noqa: B009 - a type checker refuses the other way
    with pytest.raises(ImportError, match="creat_server"):
        exec("from nhttp import creat_server")


def test_the_command_line_does_not_load_what_one_option_needs() -> None:
    modules = loaded("import nhttp.__main__")
    assert not modules & {"importlib.metadata", "ssl", "hashlib", "rich", "email.utils"}
