"""The night of a shop: from raw clicks to a release in front of the servers (docs/pipeline.md).

May import: all rooms.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .running import PipelineResult, run
    from .shop import Shop, shop_schema

_WHERE = {
    "PipelineResult": "running",
    "Shop": "shop",
    "run": "running",
    "shop_schema": "shop",
}

__all__ = ["PipelineResult", "Shop", "run", "shop_schema"]


def __getattr__(name: str) -> Any:
    """Imported when it is first asked for: it takes what prepares data and what draws."""
    if name not in _WHERE:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    import importlib

    from ..base.extras import import_extra

    for package in ("jsonschema", "duckdb", "ibis", "matplotlib", "scipy"):
        import_extra(package, purpose=f"stamp.pipeline.{name}", extra="pipeline")
    return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
