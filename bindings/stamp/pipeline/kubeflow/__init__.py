"""The night on Kubeflow Pipelines: the stages as components, each in a pod of its own (docs/kubeflow.md).

May import: base, models, catalog, pipeline.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compiling import compile
    from .submitting import Submitted, submit

_WHERE = {"Submitted": "submitting", "compile": "compiling", "submit": "submitting"}

__all__ = ["Submitted", "compile", "submit"]


def __getattr__(name: str) -> Any:
    """Imported when it is first asked for: it takes kfp, which pods need for what it runs there, but not this."""
    if name not in _WHERE:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
