"""What `import stamp` does without: packages of the extras, imported where they are needed."""

from __future__ import annotations

import importlib
from typing import Any

DISTRIBUTION = "stamp-recommender"


def import_extra(module: str, *, purpose: str, extra: str | None = None) -> Any:
    """A module of a package that `extra` brings, or that people install by its own name.

    Raises
    ------
    ImportError
        It is missing: says what for it is needed, and the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        wanted = f"'{DISTRIBUTION}[{extra}]'" if extra else package
        raise ImportError(f"{purpose} needs {package}: pip install {wanted}") from error
