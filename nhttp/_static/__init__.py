"""What ``python -m nhttp serve`` serves with: a handler for the files below a directory.

Private for now. `StaticFiles` in `handler` is the place to start reading; it is also an example of
an nhttp handler. `paths` finds the file, `conditional` and `ranges` decide what of it is sent.
"""

from nhttp._static.access_log import logged
from nhttp._static.handler import StaticFiles

__all__ = ["StaticFiles", "logged"]
