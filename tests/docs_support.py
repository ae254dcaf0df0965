"""The examples of the documentation: the fenced ``python`` blocks of README.md and docs/.

What the comments before a block mean stands in test_docs.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


class Example(NamedTuple):
    """A fenced ``python`` block."""

    page: Path
    line: int  # of its first line of code
    source: str
    comments: str  # those right above it

    @property
    def name(self) -> str:
        return f"{self.page.stem}_{self.line}"

    @property
    def is_program(self) -> bool:
        return "<!-- fragment -->" not in self.comments

    @property
    def is_peer(self) -> bool:
        return "<!-- peer -->" in self.comments

    @property
    def needs_peer(self) -> bool:
        return "8000" in self.source and "listen(8000" not in self.source

    @property
    def prints(self) -> list[str]:
        """The lines that it is said to print."""
        found = re.findall(r"\bprint\(.*\)  # (.+)", self.source)
        return [line for each in found for line in each.split("  # ")]

    @property
    def tries(self) -> list[tuple[str, str, int]]:
        """The requests to make, each with the status that is to be answered."""
        found = re.findall(r"<!-- try: (\S+) (\S+) -> (\d+) -->", self.comments)
        return [(method, url, int(status)) for method, url, status in found] or [("GET", "/", 200)]

    @property
    def file(self) -> str:
        """The source with each line where it stands in the page."""
        return "\n" * (self.line - 1) + self.source


_BLOCK = re.compile(
    r"(?P<comments>(?:^ *<!--[^\n]*-->\n)*)^(?P<indent> *)```python[^\n]*\n(?P<source>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


def examples() -> list[Example]:
    found: list[Example] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            line = text.count("\n", 0, match.start("source")) + 1
            indent = len(match["indent"])
            source = "".join(each[indent:] or "\n" for each in match["source"].splitlines(True))
            found.append(Example(page, line, source, match["comments"]))
    return found


EXAMPLES = examples()
