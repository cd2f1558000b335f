"""Ready mappings of what analytics tools collect: GA4's export, Google Retail, Snowplow, Segment."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis

from .mapping import EventMapping

if TYPE_CHECKING:
    import ibis.expr.types as ir


@dataclass(frozen=True)
class Parameter:
    """A field of one of GA4's parameters of an event, which are a list of keys and values."""

    key: str
    field: str

    def __call__(self, table: ir.Table) -> ir.Value:
        key, field = self.key, self.field
        return table.event_params.filter(lambda each: each["key"] == key).map(lambda each: each["value"][field])[0]


@dataclass(frozen=True)
class Said:
    """A field of GA4's products, which writes "(not set)" where there is nothing."""

    field: str

    def __call__(self, table: ir.Table) -> ir.Value:
        return table["items"][self.field].nullif("(not set)")


@dataclass(frozen=True)
class AboutProducts:
    """Whether an event is about products: of a kind that the mapping knows, or of a new one with products. Kinds that are
    known to be something else are not."""

    event: str
    kinds: Collection[str]
    others: Collection[str]
    products: str | None = None  # a column of lists; without one any new kind may be

    def __call__(self, table: ir.Table) -> ir.BooleanValue:
        kind = table[self.event].fill_null("")
        new = kind.notin(list(self.others))
        if self.products is not None:
            new = new & (table[self.products].length() > 0).fill_null(False)
        return kind.isin(list(self.kinds)) | new

    def __str__(self) -> str:
        return f"{self.event} is one of {', '.join(self.kinds)}, or new"


_GA4_KINDS = {"view_item": "view", "add_to_cart": "cart", "remove_from_cart": "remove", "purchase": "order"}
_GA4_OTHERS = (
    "view_item_list", "select_item", "view_cart", "begin_checkout", "add_shipping_info", "add_payment_info",
    "add_to_wishlist", "view_promotion", "select_promotion", "refund", "generate_lead",
)  # fmt: skip


def ga4(names: Collection[str]) -> EventMapping | None:
    """Google Analytics 4's export to BigQuery: tables events_YYYYMMDD, an event a row with a list of products."""
    if not {"event_timestamp", "event_name", "event_params", "items", "user_pseudo_id"} <= set(names):
        return None
    return EventMapping(
        name="GA4",
        visitor_id="user_pseudo_id",
        session_id=Parameter("ga_session_id", "int_value"),
        time="event_timestamp",
        time_unit="us",
        unnest="items",
        item_id=Said("item_id"),
        price="items.price",
        quantity="items.quantity",
        category=Said("item_category"),
        brand=Said("item_brand"),
        currency=Parameter("currency", "string_value"),
        event_type="event_name",
        event_types=_GA4_KINDS,
        only=AboutProducts("event_name", tuple(_GA4_KINDS), _GA4_OTHERS, "items"),
    )


_RETAIL_KINDS = {
    "detail-page-view": "view", "add-to-cart": "cart", "remove-from-cart": "remove", "purchase-complete": "order",
}  # fmt: skip
_RETAIL_OTHERS = (
    "category-page-view", "home-page-view", "search", "shopping-cart-page-view", "promotion-offered",
    "promotion-not-offered",
)  # fmt: skip


def google_retail(names: Collection[str]) -> EventMapping | None:
    """User events of Google's Retail API (Vertex AI Search for commerce), as they are imported."""
    if not {"eventType", "visitorId", "eventTime"} <= set(names):
        return None
    return EventMapping(
        name="Google Retail",
        visitor_id="visitorId",
        session_id="sessionId",
        time="eventTime",
        unnest="productDetails",
        item_id="productDetails.product.id",
        item_ids="text",
        quantity="productDetails.quantity",
        currency="purchaseTransaction.currencyCode",
        event_type="eventType",
        event_types=_RETAIL_KINDS,
        only=AboutProducts("eventType", tuple(_RETAIL_KINDS), _RETAIL_OTHERS),
        columns={
            "eventType": "string",
            "visitorId": "string",
            "sessionId": "string",
            "eventTime": "string",
            "productDetails": "array<struct<product: struct<id: string>, quantity: string>>",
            "purchaseTransaction": "struct<currencyCode: string>",
        },
    )


_SNOWPLOW_ACTION = "unstruct_event_com_snowplowanalytics_snowplow_ecommerce_snowplow_ecommerce_action_1"
_SNOWPLOW_PRODUCT = "contexts_com_snowplowanalytics_snowplow_ecommerce_product_1"
_SNOWPLOW_KINDS = {
    "product_view": "view", "add_to_cart": "cart", "remove_from_cart": "remove", "transaction": "order",
}  # fmt: skip
_SNOWPLOW_OTHERS = (
    "", "list_view", "list_click", "promo_view", "promo_click", "checkout_step", "trns_error", "refund",
)  # fmt: skip


def snowplow(names: Collection[str]) -> EventMapping | None:
    """Snowplow's table of events with its schemas of e-commerce; loaders write minor versions after the columns' names."""
    action, product = (max((name for name in names if name.startswith(prefix)), default=None)
                       for prefix in (_SNOWPLOW_ACTION, _SNOWPLOW_PRODUCT))  # fmt: skip
    times = [
        name for name in ("derived_tstamp", "collector_tstamp") if name in names
    ]  # the first is free of clocks' skew
    if action is None or product is None or not times or not {"domain_userid", "event_id"} <= set(names):
        return None
    return EventMapping(
        name="Snowplow",
        visitor_id="domain_userid",
        session_id="domain_sessionid" if "domain_sessionid" in names else None,
        time=times,
        unnest=product,
        item_id=f"{product}.id",
        price=f"{product}.price",
        quantity=f"{product}.quantity",
        currency=f"{product}.currency",
        category=f"{product}.category",
        brand=f"{product}.brand",
        event_id="event_id",
        event_type=f"{action}.type",
        event_types=_SNOWPLOW_KINDS,
        only=Action(action),
    )


@dataclass(frozen=True)
class Action:
    """Whether a row of Snowplow has an action on products."""

    column: str

    def __call__(self, table: ir.Table) -> ir.BooleanValue:
        return table[self.column]["type"].fill_null("").notin(list(_SNOWPLOW_OTHERS))


_SEGMENT_KINDS = {
    "Product Viewed": "view", "Product Added": "cart", "Product Removed": "remove", "Order Completed": "order",
    "Viewed Product": "view", "Added Product": "cart", "Removed Product": "remove", "Completed Order": "order",
}  # fmt: skip
_SEGMENT_OTHERS = (
    "Products Searched", "Product List Viewed", "Product List Filtered", "Promotion Viewed", "Promotion Clicked",
    "Product Clicked", "Cart Viewed", "Checkout Started", "Checkout Step Viewed", "Checkout Step Completed",
    "Payment Info Entered", "Order Updated", "Order Refunded", "Order Cancelled", "Product Added to Wishlist",
    "Product Removed from Wishlist", "Wishlist Product Added to Cart", "Product Shared", "Cart Shared", "Product Reviewed",
    "Viewed Product Category",
)  # fmt: skip


def _with_tables(events: Iterable[str]) -> list[str]:
    """And as warehouses write them: product_viewed."""
    return [written for event in events for written in (event, event.lower().replace(" ", "_"))]


@dataclass(frozen=True)
class Tracked:
    """Whether a row of Segment is an event about products: of a kind that is known, or a new one with products."""

    event: str
    products: tuple[str, ...]

    def __call__(self, table: ir.Table) -> ir.BooleanValue:
        event = table[self.event].fill_null("")
        found = [_within(table, path).notnull() for path in self.products]
        new = event.notin(["", *_with_tables(_SEGMENT_OTHERS)]) & ibis.or_(*found)
        return event.isin(_with_tables(_SEGMENT_KINDS)) | new


def _within(table: ir.Table, path: str) -> ir.Value:
    first, *rest = path.split(".")
    found: ir.Value = table[first]
    for name in rest:
        found = found[name]
    return found


_PRODUCT = "product_id: string, sku: string, price: string, quantity: string, category: string, brand: string"
_SEGMENT_JSON = {
    "type": "string",
    "event": "string",
    "messageId": "string",
    "anonymousId": "string",
    "userId": "string",
    "timestamp": "string",
    "originalTimestamp": "string",
    "receivedAt": "string",
    "properties": f"struct<{_PRODUCT}, currency: string, products: array<struct<{_PRODUCT}>>>",
}


def segment(names: Collection[str]) -> EventMapping | None:
    """Segment's or RudderStack's events of e-commerce, as JSON."""
    if not {"anonymousId", "event", "properties"} <= set(names):
        return None

    def either(field: str) -> tuple[str, str]:
        """Of an order's products, or of the one product."""
        return f"products.{field}", f"properties.{field}"

    return EventMapping(
        name="Segment",
        visitor_id=("anonymousId", "userId"),
        time=("timestamp", "originalTimestamp", "receivedAt"),
        unnest="properties.products",
        item_id=(*either("product_id"), *either("sku")),
        price=either("price"),
        quantity=either("quantity"),
        category=either("category"),
        brand=either("brand"),
        currency="properties.currency",
        event_id="messageId",
        event_type="event",
        event_types={name: kind for name, kind in _SEGMENT_KINDS.items()},
        only=Tracked("event", ("properties.product_id", "properties.products")),
        columns=_SEGMENT_JSON,
    )


def segment_warehouse(names: Collection[str]) -> EventMapping | None:
    """The same in a warehouse: a table a kind of event, with columns for what its events had."""
    times = [name for name in ("timestamp", "original_timestamp", "received_at") if name in names]
    products = [name for name in ("products", "product_id", "sku") if name in names]
    if not {"anonymous_id", "event", "id"} <= set(names) or not times or not products:
        return None

    def either(*fields: str) -> tuple[str, ...] | None:
        found = [(f"products.{field}",) * ("products" in names) + (field,) * (field in names) for field in fields]
        return tuple(path for paths in found for path in paths) or None

    item_id = either("product_id", "sku")
    assert item_id is not None
    return EventMapping(
        name="Segment",
        visitor_id=[name for name in ("anonymous_id", "user_id") if name in names],
        time=times,
        unnest="products" if "products" in names else None,
        item_id=item_id,
        price=either("price"),
        quantity=either("quantity"),
        category=either("category"),
        brand=either("brand"),
        currency="currency" if "currency" in names else None,
        event_id="id",
        event_type=[name for name in ("event_text", "event") if name in names],
        event_types=dict(zip(_with_tables(_SEGMENT_KINDS), (k for k in _SEGMENT_KINDS.values() for _ in range(2)))),
        only=Tracked("event", tuple(products)),
    )
