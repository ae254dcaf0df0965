"""The build hook: NHTTP_COMPILE=1 in the environment has mypyc compile the parser.

What is installed without it is pure Python, here and on the package index. With it the wheel has an
extension module beside each module of `nhttp._parser`, made from the same source, which Python
prefers. The rest is beyond mypyc: it makes no native class of one that defines `on` as a table of
overloads, or that inherits from two.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_WANTED = os.environ.get("NHTTP_COMPILE", "0") not in {"", "0"}
_PACKAGE = Path("nhttp", "_parser")


class CompileHook(BuildHookInterface[Any]):
    """Adds the compiled parser to a wheel; an editable installation stays as it is."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Name what the build environment needs besides hatchling."""
        return ["mypy>=2.4", "setuptools>=70"] if _WANTED else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the wheel is packed."""
        if not _WANTED or self.target_name != "wheel" or version == "editable":
            return
        self._temporary = tempfile.TemporaryDirectory()
        built = _compile(Path(self.root), Path(self._temporary.name))
        build_data["force_include"] |= {str(path): name for path, name in built.items()}
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what was compiled, now that it is packed."""
        if hasattr(self, "_temporary"):
            self._temporary.cleanup()


def _compile(root: Path, target: Path) -> dict[Path, str]:
    """Give the extension modules, with the places in the wheel where they belong."""
    from mypyc.build import mypycify  # there only when it is wanted
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    os.chdir(root)  # mypy finds the name of a module by its path from here
    modules = sorted(str(path) for path in _PACKAGE.glob("*.py") if path.stem != "__init__")
    # The parser imports nothing else of nhttp, so nothing else is looked at.
    options = ["--config-file", os.devnull, "--strict", "--follow-imports", "skip"]
    sources = [*options, *modules]
    extensions = mypycify(sources, target_dir=str(target / "c"), group_name="nhttp_parser")
    command = build_ext(Distribution({"name": "nhttp", "ext_modules": extensions}))
    command.build_lib = str(target / "lib")
    command.build_temp = str(target / "temp")
    command.ensure_finalized()
    command.run()
    lib = target / "lib"
    return {path: str(path.relative_to(lib)) for path in lib.rglob("*") if path.is_file()}
