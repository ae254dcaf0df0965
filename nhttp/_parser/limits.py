"""How much a parser takes before it refuses."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(slots=True)
class Limits:
    """Bounds on what a peer can make a parser hold, checked while reading.

    All are in bytes unless they say otherwise. An owner may change them between two messages.

    Attributes:
        max_head_size: Start line and fields, with the empty line that ends them.
        max_headers_count: Field lines in a head or a trailer section; 0 for no limit.
        max_trailer_size: Trailer section, with the empty line that ends it.
        max_chunk_line: One line of chunk size and extensions, with its CRLF.
        max_chunk_extensions: Chunk extensions of one message, all together (RFC 9112, 7.1.1).
        max_interim_responses: 1xx responses in front of one final response.
    """

    max_head_size: int = 8192
    max_headers_count: int = 1000
    max_trailer_size: int = 8192
    max_chunk_line: int = 4096
    max_chunk_extensions: int = 16384
    max_interim_responses: int = 100
