"""Content types: by a file's name, and by a look inside where the name says nothing.

Knows the standard library's table alone, not the machine's: the same everywhere.
"""

from __future__ import annotations

import codecs
import mimetypes

__all__ = ["SNIFFED", "content_type", "is_text"]

# How much of a file of unknown kind is looked at.
SNIFFED = 1024

# Newer than the table of Python 3.11, or better known to browsers by another name.
_NEWER = {
    ".aac": "audio/aac",
    ".avif": "image/avif",
    ".cjs": "text/javascript",
    ".flac": "audio/flac",
    ".js": "text/javascript",
    ".jsonld": "application/ld+json",
    ".m4a": "audio/mp4",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".opus": "audio/ogg",
    ".otf": "font/otf",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".weba": "audio/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "text/xml",
    ".yaml": "text/yaml",
    ".yml": "text/yaml",
}

# A compressed file is sent as what it is: with a Content-Encoding the browser would unpack it.
_COMPRESSED = {
    "br": "application/octet-stream",
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
    "zstd": "application/zstd",
}

_types = mimetypes.MimeTypes(filenames=())
for _suffix, _type in _NEWER.items():
    _types.add_type(_type, _suffix)
for _suffix, _encoding in ((".br", "br"), (".xz", "xz"), (".zst", "zstd")):
    _types.encodings_map[_suffix] = _encoding


def content_type(name: str) -> str | None:
    """Give the ``Content-Type`` of a file by its name, text with its charset.

    Returns:
        None when the name tells nothing.
    """
    # `guess_type` takes a URL: without the "./" a name such as "data:x" would be one.
    kind, encoding = _types.guess_type(f"./{name}")
    if encoding is not None:
        return _COMPRESSED[encoding]
    if kind is not None and (kind.startswith("text/") or kind == "application/json"):
        return f"{kind}; charset=utf-8"
    return kind


def is_text(start: bytes) -> bool:
    """Tell whether a file that starts so is text in UTF-8, as ``LICENSE`` and ``Makefile`` are."""
    try:
        # The last character may be cut through, which an incremental decoder forgives.
        text = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return all(each.isprintable() or each in "\t\n\r\f\x1b" or ord(each) > 0x7F for each in text)
