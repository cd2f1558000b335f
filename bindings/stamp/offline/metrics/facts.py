"""What metrics need to know beside lists: popularity in training, ages, attributes, embeddings, the sessions again."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ... import _stamp
from ...data.sessions import Sessions
from ...data.tables.ids import Ids
from ..recordings.columns import column_of, texts_of
from ..recordings.recording import Recording
from ..recordings.sets import Sets, distinct

HEAD = (4, 5)  # the products of the head have so many of so many clicks of training


class Facts:
    """Of one recording, worked out when first asked for, and kept. Arrays [V] are by row of :attr:`Recording.item_ids`."""

    def __init__(self, recording: Recording):
        self.recording = recording
        self._rest: dict[tuple[str, str], Sets] = {}
        self._seen: dict[str, Sets] = {}
        self._worth: dict[str, tuple[Sets, np.ndarray]] = {}

    @cached_property
    def catalog(self) -> _stamp.Catalog:
        ids = Ids("Replay: item_ids", self.recording.item_ids)
        catalog = _stamp.Catalog(ids.kind)
        ids.add_to(catalog)
        return catalog

    # Of training.

    @property
    def clicks(self) -> np.ndarray:
        clicks = self.recording.clicks
        assert clicks is not None  # checked by the metric's needs
        return clicks

    @cached_property
    def place(self) -> np.ndarray:
        """Place [V] by clicks, 0 the most clicked, ties by lower row."""
        order = np.argsort(-self.clicks, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return place

    @cached_property
    def tail(self) -> np.ndarray:
        """Whether a product is of the long tail: bool [V]. The head: the fewest of the most clicked products that have
        80 % of all clicks, and those that have as many clicks as the last of them."""
        falling = np.sort(self.clicks)[::-1]
        if not falling.sum():
            return np.ones(len(falling), bool)
        part, of = HEAD
        last = int(np.searchsorted(of * np.cumsum(falling), part * falling.sum()))
        return self.clicks < falling[last]

    @cached_property
    def information(self) -> np.ndarray:
        """Self-information in bits [V]: -log2 of the share of the clicks, one more for each product."""
        return -np.log2((self.clicks + 1) / (self.clicks.sum() + len(self.clicks)))

    @cached_property
    def first_seen(self) -> np.ndarray:
        """Microseconds since 1970 [V] of the first event in training; the end of time where there is none."""
        train = self._train
        core = train.rows_in(self.catalog, "Replay: train", "item_ids")
        first = np.full(self.recording.V, np.iinfo(np.int64).max)
        known = core.items >= 0
        np.minimum.at(first, core.items[known], core.timestamps[known])
        return first

    @cached_property
    def training_begins(self) -> int:
        """Microseconds since 1970 of the first event of training."""
        return int(self._train._core.timestamps.min())

    @property
    def _train(self) -> Sessions:
        train = self.recording.train
        assert train is not None  # checked by the metric's needs
        return train

    # Of products.

    @cached_property
    def attributes(self) -> dict[str, np.ndarray]:
        """Codes int32 [V] of texts, -1 where missing; float32 [V] of numbers, NaN where missing."""
        products = self.recording.products
        assert products is not None
        return {
            name: products.codes(name, self.catalog)[0] if kind == "text" else products.numbers(name, self.catalog)
            for name, kind in products.attributes.items()
        }

    @cached_property
    def directions(self) -> np.ndarray:
        """Embeddings of length 1, float32 [V,D]; 0 where a product has none."""
        vectors = self.recording.embeddings
        assert vectors is not None
        vectors = np.nan_to_num(np.asarray(vectors, np.float32))
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)

    # Of the sessions that were replayed.

    @property
    def sessions(self) -> Sessions:
        sessions = self.recording.sessions
        assert sessions is not None
        return sessions

    @cached_property
    def event_rows(self) -> np.ndarray:
        """Row [events] of each event's product."""
        return self.sessions.rows_in(self.catalog, "Replay: sessions", "item_ids").items

    @cached_property
    def event_types(self) -> np.ndarray:
        """Type [events] of each event, as text; "" where missing."""
        return texts_of(self.sessions, "event_type")

    @cached_property
    def kinds_of_events(self) -> list[str]:
        """The types that occur, the most frequent first, of equals by name."""
        kinds, counts = np.unique(self.event_types[self.event_types != ""], return_counts=True)
        return kinds[np.argsort(-counts, kind="stable")].tolist()

    @cached_property
    def event_values(self) -> np.ndarray:
        """Value [events] of each event, 0 where missing."""
        try:
            return np.nan_to_num(column_of(self.sessions, "value").astype(np.float64))
        except (TypeError, ValueError) as error:
            raise ValueError(f"revenue: the column 'value' of the sessions is not numeric: {error}") from error

    def rest(self, zone: str, kind: str) -> Sets:
        """The distinct products of the events of a type from the target on, by question."""
        if (zone, kind) not in self._rest:
            events = np.where(self.event_types == kind, self.event_rows, -1)
            self._rest[zone, kind] = distinct(events, *self._from_target(zone), self.recording.V)[0]
        return self._rest[zone, kind]

    def worth(self, zone: str) -> tuple[Sets, np.ndarray]:
        """The distinct products from the target on, by question, and what their events there are worth."""
        if zone not in self._worth:
            self._worth[zone] = distinct(self.event_rows, *self._from_target(zone), self.recording.V, self.event_values)
        return self._worth[zone]

    def seen(self, zone: str) -> Sets:
        """The distinct products of the session before the target, by question."""
        if zone not in self._seen:
            questions = self.recording.questions[zone]
            begin = self.sessions._core.offsets[questions.session]
            self._seen[zone] = distinct(self.event_rows, begin, questions.event, self.recording.V)[0]
        return self._seen[zone]

    def _from_target(self, zone: str) -> tuple[np.ndarray, np.ndarray]:
        questions = self.recording.questions[zone]
        return questions.event, self.sessions._core.offsets[questions.session + 1]
