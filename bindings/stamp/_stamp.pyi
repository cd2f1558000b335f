"""Bindings of libstamp. Options travel as JSON, so that defaults live in C++ only."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
# rows, scores, path, cluster, number of unknown events, reason, explanation
Answer = tuple[Int32, Float32, str, int, int, str, str]
Pairs = tuple[Int32, Int32, Int64, int]  # from, to, counts; examples

__version__: str  # of the library that runs

class Catalog:
    """Distinct ids, numbered in the order in which they were added; -1 is unknown."""

    def __init__(self, kind: str) -> None: ...
    def __len__(self) -> int: ...
    @property
    def kind(self) -> str: ...
    def add_integers(self, ids: ArrayLike) -> Int32: ...
    def add_strings(self, bytes: Any, offsets: ArrayLike) -> Int32: ...
    def find_integers(self, ids: ArrayLike) -> Int32: ...
    def find_strings(self, bytes: Any, offsets: ArrayLike) -> Int32: ...
    def ids(self) -> Int64 | list[str]: ...

class Sessions:
    """Sessions laid end to end, as rows of a catalog. Arrays are read-only views."""

    def __init__(
        self,
        items: ArrayLike,
        offsets: ArrayLike,
        timestamps: ArrayLike | None = None,
        weights: ArrayLike | None = None,
    ) -> None: ...
    @staticmethod
    def from_events(
        session: ArrayLike,
        item: ArrayLike,
        timestamp: ArrayLike | None = None,
        weight: ArrayLike | None = None,
        with_order: bool = False,
    ) -> tuple[Sessions, Int64 | None]: ...
    def __len__(self) -> int: ...
    @property
    def events(self) -> int: ...
    @property
    def items(self) -> Int32: ...
    @property
    def offsets(self) -> Int64: ...
    @property
    def timestamps(self) -> Int64: ...
    @property
    def weights(self) -> Float32: ...
    def slice(self, first: int, last: int) -> Sessions: ...
    def count_before(self, time: int) -> int: ...
    def concatenate(self, other: Sessions) -> Sessions: ...
    def without_unknown(self) -> Sessions: ...
    def fingerprint(self) -> str: ...

class CheckpointMismatch(ValueError): ...

class Device:
    @property
    def name(self) -> str: ...
    @property
    def precision(self) -> str: ...

class Model:
    def __init__(self, config: str, products: int, device: Device) -> None: ...
    @property
    def device(self) -> Device: ...
    def weights(self) -> dict[str, Float32]: ...
    def set_weights(self, weights: Mapping[str, ArrayLike]) -> None: ...
    def config(self) -> str: ...

class Baseline:
    """A fitted baseline, in rows of a catalog."""

    def __len__(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def options(self) -> str: ...
    def in_catalog(self, rows: ArrayLike, products: int) -> Baseline: ...

Attribute = tuple[str, Int32, list[str]] | tuple[str, Float32]

class Bundle:
    """A release of the recommender. Attributes: (name, codes, values) or (name, numbers); clusters: (id, rows, model,
    train, fingerprint, report)."""

    def __init__(
        self,
        catalog: Catalog,
        counts: Sequence[int],
        attributes: Sequence[Attribute],
        clusters: Sequence[tuple[int, ArrayLike, Model, str, str, str]],
        route_by: Sequence[str],
        rules: str,
        fallback: Baseline | None = None,
    ) -> None: ...
    @property
    def catalog(self) -> Catalog: ...
    @property
    def counts(self) -> Int64: ...
    @property
    def attributes(self) -> list[Attribute]: ...
    @property
    def clusters(self) -> list[dict[str, Any]]: ...
    @property
    def route_by(self) -> list[str]: ...
    @property
    def rules(self) -> str: ...
    @property
    def fallback(self) -> Baseline | None: ...

class Release:
    """A loaded bundle, in rows of its catalog. Thread-safe."""

    def __init__(self, bundle: Bundle) -> None: ...
    @property
    def catalog(self) -> Catalog: ...
    @property
    def zones(self) -> list[str]: ...
    @property
    def clusters(self) -> list[int]: ...
    def list(
        self,
        events: ArrayLike,
        *,
        bought: ArrayLike,
        k: int,
        history: int,
        exclude: ArrayLike,
        only: ArrayLike | None,
        zone: str,
        rules: str,
        popular: bool,
        explain: bool,
    ) -> Answer: ...
    def list_batch(
        self,
        events: Sequence[ArrayLike],
        *,
        bought: Sequence[ArrayLike],
        k: int,
        history: int,
        exclude: ArrayLike,
        only: ArrayLike | None,
        zone: str,
        rules: str,
        popular: bool,
        explain: bool,
    ) -> Sequence[Answer]: ...

class Recommender:
    """A release that can be replaced while it is asked. Thread-safe."""

    def __init__(
        self, path: str, *, device: str, precision: str, lazy: bool, memory: int, window: float
    ) -> None: ...
    def release(self) -> Release: ...
    @property
    def path(self) -> str: ...
    def reload(self, path: str | None) -> None: ...

def replay(
    release: Release,
    events: ArrayLike,
    begin: ArrayLike,
    end: ArrayLike,
    *,
    k: int,
    history: int,
    exclude: str,
    zone: str,
    rules: str,
    popular: bool,
    progress: Callable[[int, int], bool | None] | None,
) -> tuple[Int32, Float32]: ...
def time_requests(
    release: Release,
    events: ArrayLike,
    begin: ArrayLike,
    end: ArrayLike,
    which: ArrayLike,
    *,
    k: int,
    history: int,
    exclude: str,
    zone: str,
    rules: str,
    popular: bool,
) -> NDArray[np.float64]: ...
def check_rules(rules: str, catalog: Catalog, texts: Sequence[str], numbers: Sequence[str]) -> int: ...
def cluster_sessions(sessions: Sessions, rows: ArrayLike, keep_misses: bool) -> tuple[Sessions, int, int]: ...
def count_cluster_examples(sessions: Sessions, labels: ArrayLike, clusters: int) -> tuple[Int64, Int64]: ...
def item_counts(sessions: Sessions, products: int) -> Int64: ...
def presets(name: str) -> tuple[str, str]: ...
def check_options(model: str, train: str, precision: str) -> None: ...
def train(
    model: Model,
    sessions: Sessions,
    config: str,
    validation: Sessions | None,
    refit: bool,
    warm_start: bool,
    checkpoint: str,
    progress: Callable[..., bool | None] | None,
    on_epoch: Callable[[str], bool | None] | None,
) -> str: ...
def evaluate_model(
    model: Model,
    sessions: Sessions,
    counts: Sequence[int],
    k: Sequence[int],
    min_history: int,
    last_only: bool,
    ties: str,
    progress: Callable[[int, int], bool | None] | None,
) -> str: ...
def evaluate_clusters(
    models: Sequence[tuple[ArrayLike, Model]],
    sessions: Sessions,
    counts: Sequence[int],
    k: Sequence[int],
    min_history: int,
    last_only: bool,
    ties: str,
    progress: Callable[[int, int], bool | None] | None,
) -> str: ...
def evaluate_baseline(
    baseline: Baseline,
    sessions: Sessions,
    counts: Sequence[int],
    k: Sequence[int],
    min_history: int,
    last_only: bool,
    ties: str,
    progress: Callable[[int, int], bool | None] | None,
) -> str: ...
def baseline_options(kind: str, options: str) -> str: ...
def session_knn_preset(name: str) -> str: ...
def fit_baseline(
    kind: str, options: str, sessions: Sessions, products: int, groups: ArrayLike | None = None
) -> Baseline: ...
def cross_recommendations(
    model: Model,
    sessions: Sessions,
    groups: ArrayLike,
    k: int,
    max_examples: int,
    progress: Callable[[int, int], bool | None] | None,
) -> Pairs: ...
def group_transitions(sessions: Sessions, groups: ArrayLike) -> Pairs: ...
def write_tensors(path: str, arrays: dict[str, NDArray[Any]], metadata: dict[str, str]) -> None: ...
def read_tensors(path: str) -> tuple[dict[str, NDArray[Any]], dict[str, str]]: ...
def metrics_of_ranks(ranks: ArrayLike, k: Sequence[int]) -> dict[int, tuple[float, float, float]]: ...
def save_bundle(path: str, bundle: Bundle) -> None: ...
def load_bundle(path: str, device: Device) -> Bundle: ...
def read_bundle(path: str) -> Bundle: ...
def save_catalog(path: str, catalog: Catalog, counts: Sequence[int]) -> None: ...
def load_catalog(path: str) -> tuple[Catalog, Int64]: ...
def open_device(name: str, precision: str) -> Device: ...
def devices() -> list[tuple[str, str, str]]: ...
def num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
def cpu_isa() -> str: ...
