"""The pipeline of a shop as a file that Kubeflow runs."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from ...base.extras import import_extra
from ...base.files import check_file
from ...base.folders import is_url
from ..shop import Shop
from .published import publish

_READ_BY_PODS = ("source", "catalog", "work", "store")


def compile(shop: Shop | str | os.PathLike[str] | Mapping[str, Any], out: str | os.PathLike[str]) -> str:
    """Write the pipeline of a shop for Kubeflow Pipelines (YAML), and the pipeline file, resolved, into its work folder.

    Parameters
    ----------
    shop : Shop, path of a pipeline file, or what such a file holds
    out : path
        Ends in .yaml.

    Returns
    -------
    str
        URL of the pipeline file, by what is in it: the default of the pipeline's parameter `shop`.

    Raises
    ------
    ValueError
        The pipeline file, or something that it names, cannot be; or it says nothing of Kubeflow, or names a path that pods
        would not find.
    RuntimeError
        The work folder or `out` cannot be written.
    ImportError
        kfp is missing: ``pip install 'stamp-recommender[pipeline]'``.
    """
    shop = shop if isinstance(shop, Shop) else Shop.read(shop)
    out = os.fspath(out)
    if not out.endswith((".yaml", ".yml")):
        raise ValueError(f"compile: out is {out}, expected a name that ends in .yaml")
    check_file(pathlib.Path(out))
    _require_pods(shop)
    for module in ("kfp", "kfp.kubernetes"):
        import_extra(module, purpose="compiling for Kubeflow", extra="pipeline")
    from kfp import compiler

    from .graph import make_pipeline

    url = publish(shop)
    compiler.Compiler().compile(make_pipeline(shop, url), out)
    return url


def _require_pods(shop: Shop) -> None:
    """Raises ValueError where a path of the pipeline file is not on a volume that pods mount."""
    if "kubeflow" not in shop.given:
        raise ValueError("compile: the pipeline file has no kubeflow, expected its image at least")
    mounts = [volume["mount"].rstrip("/") for volume in shop.section("kubeflow").get("volumes", [])]
    for key in _READ_BY_PODS:
        path = shop.given.get(key)
        if path is None or is_url(path) or any(f"{path}/".startswith(f"{mount}/") for mount in mounts):
            continue
        raise ValueError(
            f"compile: {key} is {path}, which pods would not find; expected a URL as gs://bucket/folder, or a path below "
            f"kubeflow.volumes ({', '.join(mounts) or 'there are none'})"
        )
