"""Options of a source of raw clicks, for each verb that reads one."""

from __future__ import annotations

import argparse
import datetime
from typing import Any

from .arguments import pairs


def add_source(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("source")
    group.add_argument(
        "--source", required=True, help="raw clicks: CSV, JSON lines or Parquet, a folder or pattern of them, or a URL"
    )
    group.add_argument(
        "--mapping", metavar="NAME|JSON", help="what its columns mean; by default the ready one that fits"
    )
    group.add_argument("--catalog", help="products, a row each: item_id and attributes")
    group.add_argument(
        "--catalog-column", action="append", default=[], metavar="WHAT=COLUMN", help="of the catalog: item_id=sku"
    )
    group.add_argument("--end", metavar="DATE", help="the day before which the window ends (UTC)")
    group.add_argument("--days", type=int, help="length of the window")
    group.add_argument("--now", metavar="TIME", help="ISO 8601: what lies after it is in the future")


def source_options(args: argparse.Namespace) -> dict[str, Any]:
    """What was said of the source, as options of stamp.data.validate and stamp.data.prepare."""
    return {
        "mapping": args.mapping,
        "catalog": args.catalog,
        "catalog_columns": pairs("catalog-column", args.catalog_column, "WHAT=COLUMN"),
        "end": args.end,
        "days": args.days,
        "now": None if args.now is None else _moment(args.now),
    }


def _moment(text: str) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(f"--now {text}: expected a time of ISO 8601, as 2026-11-29T04:00Z") from None
