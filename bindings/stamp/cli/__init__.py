"""The command line, a file per family of verbs.

May import: all rooms.
"""

from .main import main

__all__ = ["main"]
