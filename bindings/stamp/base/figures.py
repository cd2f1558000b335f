"""matplotlib, where it is needed."""

from __future__ import annotations

from typing import Any


def import_pyplot() -> Any:
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'stamp[plot]'") from error
    return matplotlib.pyplot
