"""The page of a directory: its entries, folders first, with sizes and dates.

Knows `page`, and what an entry is.
"""

from __future__ import annotations

import os
import re
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING

from nhttp._static.page import page
from nhttp._static.paths import Entry, quote_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["format_size", "listing_page"]

# A folder, a sheet and an arrow up, drawn on 16 by 16.
_ICONS = """<svg hidden>
<symbol id="d" viewBox="0 0 16 16"><path d="M1.5 2.5h4.2l1.6 1.8h7.2a1 1 0 0 1 1 1v7.2a1 1 0 0 1-1
1h-13a1 1 0 0 1-1-1v-9a1 1 0 0 1 1-1z"/></symbol>
<symbol id="f" viewBox="0 0 16 16"><path fill="none" stroke-width="1.3" stroke-linejoin="round"
d="M9 1.2H4a1 1 0 0 0-1 1v11.6a1 1 0 0 0 1 1h8a1 1 0 0 0 1-1V5.2zV5.2h4"/></symbol>
<symbol id="u" viewBox="0 0 16 16"><path fill="none" stroke-width="1.6" stroke-linecap="round"
stroke-linejoin="round" d="M8 13.5v-10M3.8 7.4 8 3.2l4.2 4.2"/></symbol>
</svg>"""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def listing_page(names: Sequence[str], entries: Iterable[Entry]) -> bytes:
    """Give the page of a directory.

    Args:
        names: The names that lead to it from the root.
        entries: What is in it, in any order.
    """
    entries = sorted(entries, key=_order)
    rows = [_row(each) for each in entries]
    if names:
        rows.insert(0, _cells("../", "u", "dir", "Parent folder", "", ""))
    body = [_ICONS, "<main>", f"<h1>{_breadcrumbs(names)}</h1>"]
    if rows:
        body += [
            "<table>\n<thead><tr><th>Name</th><th>Size</th><th>Modified</th></tr></thead>\n<tbody>",
            *rows,
            "</tbody>\n</table>",
        ]
    body += ["</main>", f"<footer>{_summary(entries)}</footer>"]
    return page(f"/{''.join(_shown(each) + '/' for each in names)}", "\n".join(body))


def _order(entry: Entry) -> tuple[bool, str, str]:
    """Folders first, then as a person would: ``a2`` before ``a10``, and ``B`` behind ``a``."""
    natural = re.sub(r"[0-9]+", lambda number: number[0].zfill(20), entry.name.casefold())
    return not entry.is_directory, natural, entry.name


def _breadcrumbs(names: Sequence[str]) -> str:
    """Give the way from the root, each part a link, all of them relative."""
    crumbs = ["Home", *(_html(each) for each in names)]
    links = [
        f'<a href="{"../" * up or "./"}">{crumb}</a>' if up else f"<span>{crumb}</span>"
        for up, crumb in zip(range(len(names), -1, -1), crumbs, strict=True)
    ]
    return '<span class="slash">/</span>'.join(links)


def _row(entry: Entry) -> str:
    href = "./" + quote_name(entry.name)  # "./", lest "a:b" be taken for a scheme
    modified = _time(entry.modified)
    if entry.is_directory:
        return _cells(f"{href}/", "d", "dir", _shown(entry.name) + "/", "", modified)
    size = f'<span title="{entry.size:,} bytes">{format_size(entry.size)}</span>'
    return _cells(href, "f", "file", _shown(entry.name), size, modified)


def _cells(href: str, icon: str, kind: str, name: str, size: str, modified: str) -> str:
    return (
        f'<tr class="{kind}"><td><a href="{href}">'
        f'<svg aria-hidden="true"><use href="#{icon}"/></svg><bdi>{escape(name)}</bdi>'
        f"</a></td><td>{size}</td><td>{modified}</td></tr>"
    )


def _time(seconds: float) -> str:
    try:
        moment = datetime.fromtimestamp(seconds).astimezone()
    except (ValueError, OverflowError, OSError):  # a file system may hold any number
        return ""
    return (
        f'<time datetime="{moment.isoformat(timespec="seconds")}">{moment:%Y-%m-%d}'
        f"<span> {moment:%H:%M}</span></time>"
    )


def _summary(entries: Sequence[Entry]) -> str:
    folders = sum(each.is_directory for each in entries)
    files = len(entries) - folders
    if not entries:
        return "This folder is empty."
    counts = [_count(folders, "folder")] * bool(folders) + [_count(files, "file")] * bool(files)
    total = sum(each.size for each in entries if not each.is_directory)
    return ", ".join(counts) + (f", {format_size(total)}" if files else "")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def format_size(octets: int) -> str:
    """Give a size as people read it, in powers of 1000: ``812 B``, ``1.4 kB``, ``25 MB``."""
    if octets < 1000:
        return f"{octets} B"
    size, power = octets / 1000, 1
    while size >= 999.5 and power < len(_UNITS) - 1:
        size /= 1000
        power += 1
    return f"{size:.{1 if size < 9.95 else 0}f} {_UNITS[power]}"


def _html(name: str) -> str:
    return f"<bdi>{escape(_shown(name))}</bdi>"


def _shown(name: str) -> str:
    """Give a name as text: octets that are no UTF-8 and control characters replaced."""
    text = os.fsencode(name).decode("utf-8", "replace")
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
