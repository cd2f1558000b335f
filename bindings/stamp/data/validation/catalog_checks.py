"""What is wrong between clicks and the catalog."""

from __future__ import annotations

from .checks import CHECKS
from .judging import Judged

_DAYS = 14  # of clicks: of fewer days many products have none


def check_catalog(judged: Judged) -> None:
    catalog = judged.measured.catalog
    if catalog is None:
        return
    days = [judged.days[number] for number in judged.judged]
    known = [(day.unlisted, day.usable) for day in days if day.unlisted is not None]
    rows = sum(usable for _, usable in known)
    if rows:  # one catalog, so one finding: not one a day
        share = sum(unlisted for unlisted, _ in known) / rows
        shown = CHECKS["not_in_catalog"].shown(share)
        judged.findings.look(
            "not_in_catalog", share, f"Rows of products that the catalog lacks are {shown}", column="item_id"
        )  # fmt: skip
    if catalog.products and len(judged.measured.days) >= _DAYS:
        share = catalog.without_rows / catalog.products
        shown = CHECKS["catalog_without_clicks"].shown(share)
        judged.findings.look(
            "catalog_without_clicks", share, f"{catalog.without_rows:,} of {catalog.products:,} products of the catalog "
            f"have no row: {shown}", column="item_id",
        )  # fmt: skip
    if catalog.rows:
        more = catalog.rows - catalog.products
        judged.findings.look(
            "catalog_duplicates", more / catalog.rows, f"{more:,} of {catalog.rows:,} rows of the catalog are of a product "
            "that has one already", column="item_id",
        )  # fmt: skip
    before = None if judged.before is None else judged.before.catalog
    if before is None or not before.products:
        return
    for name, count in before.attributes.items():
        had = count / before.products
        has = catalog.attributes.get(name, 0) / catalog.products if catalog.products else 0.0
        shown_ = CHECKS["catalog_coverage"].shown
        judged.findings.look(
            "catalog_coverage", had - has, f"{shown_(has)} of the catalog's products have {name}, yesterday {shown_(had)}",
            column=name,
        )  # fmt: skip
