"""``nhttp get``: one request from the command line, with curl's exit codes.

Built on nhttp's public, blocking interface, and on the checks of `nhttp.headers`; nothing of the
rest of the package knows it.
"""

from nhttp._get.command import add_get

__all__ = ["add_get"]
