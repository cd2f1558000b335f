"""Prepared data as preparation writes them, of made-up visits, and what they are by pandas alone."""

import numpy as np
import pandas as pd
import pyarrow as pa

from stamp.base.folders import Folder
from stamp.data.prepared.layout import SESSION_COLUMNS
from stamp.data.prepared.manifest import Manifest, publish
from stamp.data.prepared.parts import PartWriter
from stamp.data.prepared.prepared import open_prepared


def session_schema(item_ids):
    item = pa.int64() if item_ids == "integer" else pa.string()
    kinds = {
        "item_id": item,
        "next_item_id": item,
        **dict.fromkeys(("session_id", "visitor_id", "event_type"), pa.string()),
    }
    return pa.schema([(name, kinds.get(name, pa.int64())) for name in SESSION_COLUMNS])


def visits(sessions=400, products=60, seed=0, *, texts=False, end=2000, group=8):
    """Rows of sessions in the order in which they are prepared. Many sessions end together; visitors stay among `group`
    products, mostly."""
    rng = np.random.default_rng(seed)
    rows = []
    for visit in range(sessions):
        length = int(rng.integers(2, 9))
        times = np.sort(rng.integers(0, 40, length)) + int(rng.integers(0, end))
        times[-1] = max(times[-1], times[-1] // 50 * 50)
        home = int(rng.integers(0, products // group)) * group
        visitor = f"{rng.choice(list('aäz𝄞Z'))}{visit % 97}"
        for position, time in enumerate(times):
            stays = rng.random() < 0.8
            item = int(home + rng.zipf(1.6) % group) if stays else int(rng.integers(0, products))
            rows.append((f"{visitor}/{visit}", position, item, time * 1_000_000, visitor))
    frame = pd.DataFrame(rows, columns=["session_id", "position", "item_id", "timestamp", "visitor_id"])
    frame["item_id"] = frame["item_id"] * 1_000_003 - 5
    if texts:
        frame["item_id"] = "sku-ü" + frame["item_id"].astype(str)
    n = len(frame)
    frame["event_type"] = rng.choice(["view", "cart", "order"], n)
    frame["value_millionths"] = pd.Series(rng.integers(0, 10**9, n), dtype="Int64").mask(rng.random(n) < 0.3)
    frame["weight_millionths"] = rng.choice([0, 1_000_000, 333_333, 2_500_000], n, p=[0.1, 0.5, 0.2, 0.2])
    return completed(frame)


def completed(frame):
    """Rows of sessions, with what prepared rows say of the next event and of the session, in order."""
    texts, of_session = not pd.api.types.is_integer_dtype(frame["item_id"]), frame.groupby("session_id", sort=False)
    for name, column in (("item_id", "next_item_id"), ("weight_millionths", "next_weight_millionths"),
                         ("timestamp", "next_timestamp")):  # fmt: skip
        following = of_session[name].shift(-1)
        frame[column] = following if texts and name == "item_id" else following.astype("Int64")
    frame["session_start"] = of_session["timestamp"].transform("min")
    frame["session_end"] = of_session["timestamp"].transform("max")
    return ordered(frame)


def ordered(frame):
    """As prepared sessions are. Python's order of texts is that of their code points, as UTF-8's is."""
    return frame.sort_values(["session_end", "session_id", "position"]).reset_index(drop=True)


def write_table(target, folder, table, *, batch=100, **options):
    with PartWriter(target, folder, table.schema, **options) as writer:
        for rows in table.to_batches(max_chunksize=batch):
            writer.write(rows)
    return writer.close()


def prepare(url, frame, *, products=None, max_rows=1000, folder="sessions/cluster=0"):
    """What preparation leaves, of sessions and of products."""
    target = Folder(url)
    item_ids = (
        "text" if frame["item_id"].dtype == object or str(frame["item_id"].dtype).startswith("str") else "integer"
    )
    schema = session_schema(item_ids)
    table = pa.Table.from_pandas(frame[schema.names], schema, preserve_index=False)
    files = write_table(target, folder, table, max_rows=max_rows)
    if products is not None:
        files += write_table(target, "products", products)
    publish(target, Manifest(
        window={"first_day": "1970-01-01", "last_day": "1970-01-02"}, options={"gap": 1800},
        mapping={"event_type": "what", "event_types": {kind: kind for kind in ("view", "cart", "order")}},
        item_ids=item_ids, counts={"rows": len(frame)}, quarantined={}, files=tuple(files),
    ))  # fmt: skip
    return open_prepared(url)


def plain_frame(frame):
    """The same events as anybody would hand them over."""
    return pd.DataFrame({
        "session_id": frame["session_id"], "item_id": frame["item_id"], "timestamp": frame["timestamp"].to_numpy().view("datetime64[us]"),
        "weight": frame["weight_millionths"] / 1e6, "visitor_id": frame["visitor_id"],
        "event_type": frame["event_type"], "value": frame["value_millionths"].astype("Float64") / 1e6,
    })  # fmt: skip
