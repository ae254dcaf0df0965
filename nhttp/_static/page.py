"""The HTML page around a directory or an error: complete in itself, without scripts.

Knows nobody.
"""

from __future__ import annotations

from html import escape

__all__ = ["FIELDS", "error_page", "page"]

# The style and the icons are part of the page, and nothing else is to be loaded or run, should a
# file's name ever find a way through the escaping.
FIELDS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
}

_STYLE = """
:root {
  color-scheme: light dark;
  --back: #fff; --text: #1f2328; --faint: #656d76; --line: #d8dee4; --hover: #f3f5f7;
  --link: #0a5bc4; --folder: #3f8ae0; --file: #8c959f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #0d1117; --text: #e6edf3; --faint: #8d96a0; --line: #2b313a; --hover: #161b22;
    --link: #6cb0ff; --folder: #5b9df0; --file: #7d8590;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1rem 3rem; max-width: 60rem;
  background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif;
}
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
a:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; border-radius: 3px; }
h1, p, footer { padding: 0 .75rem; }
h1 {
  margin: 0 0 .75rem; font-size: 1.25rem; font-weight: 600; line-height: 1.4;
  overflow-wrap: anywhere;
}
h1 .slash { margin: 0 .3em; color: var(--faint); font-weight: 400; }
p { margin: 0 0 1rem; color: var(--faint); }
table { width: 100%; border-collapse: collapse; border-bottom: 1px solid var(--line); }
th {
  padding: .35rem .75rem; text-align: left; font-size: .8125rem; font-weight: 500;
  color: var(--faint);
}
td { padding: 0 .75rem; border-top: 1px solid var(--line); }
tbody tr:hover { background: var(--hover); }
td:nth-child(n+2) { font-size: .875rem; color: var(--faint); white-space: nowrap; }
th:nth-child(n+2), td:nth-child(n+2) { text-align: right; font-variant-numeric: tabular-nums; }
td:first-child { width: 100%; }
td a { display: flex; align-items: flex-start; gap: .6rem; padding: .4rem 0; }
td a bdi { overflow-wrap: anywhere; }
svg[hidden] { display: none; }
svg { flex: none; width: 1.125rem; height: 1.5rem; fill: var(--file); stroke: var(--file); }
.dir svg { fill: var(--folder); stroke: var(--folder); stroke-width: 0; }
footer { margin-top: .9rem; font-size: .8125rem; color: var(--faint); }
@media (max-width: 34rem) {
  body { padding: 1.25rem .5rem 2rem; }
  h1, p, footer, th, td { padding-left: .5rem; padding-right: .5rem; }
  time span { display: none; }
}
"""


def page(title: str, body: str) -> bytes:
    """Give a whole page.

    Args:
        title: Text.
        body: HTML.
    """
    # The empty icon keeps browsers from asking for /favicon.ico.
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    ).encode()


def error_page(status: int, phrase: str, why: str) -> bytes:
    """Give the page of an answer that is none.

    Args:
        status: The status code.
        phrase: Its reason phrase.
        why: A sentence for the reader.
    """
    title = f"{status} {phrase}"
    return page(title, f"<main>\n<h1>{escape(title)}</h1>\n<p>{escape(why)}</p>\n</main>")
