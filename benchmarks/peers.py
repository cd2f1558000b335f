"""Other libraries that find the products of the largest inner products, each a call from queries to lists.

The approximate ones search a graph (HNSW, 32 neighbours a product), and may miss some: what they find of the exact lists
is their recall, beside which their time is to be read. How far they search is the least of EFFORTS that finds TARGET of
it, or the last. Products in 8 bits, without a graph, lose what rounding does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

try:
    import faiss
    import usearch.index
except ImportError:  # peers on CPUs alone
    faiss = usearch = None

K, NEIGHBOURS, EFFORTS, TARGET = 20, 32, (32, 64, 128, 256, 512), 0.95

Search = Callable[[np.ndarray], np.ndarray]  # queries [B,D] to ids [B,K]


def exact_lists(table: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """By NumPy, in no order."""
    blocks = np.array_split(queries, -(-len(queries) // 20))
    return np.concatenate([np.argpartition(block @ table.T, -K, axis=1)[:, -K:] for block in blocks])


def recall(search: Search, queries: np.ndarray, exact: np.ndarray) -> float:
    found = search(queries)
    return float(np.mean([len(np.intersect1d(*lists)) / K for lists in zip(found, exact, strict=True)]))


def versions() -> dict[str, str]:
    return {"faiss_version": faiss.__version__, "usearch_version": usearch.__version__}


def in_faiss(index, table: np.ndarray) -> Search:
    index.train(table)
    index.add(table)
    return lambda queries: index.search(queries, K)[1]


def without_graph(table: np.ndarray) -> dict[str, Search]:
    """They look at every product. Rows of SQ8 end in zeros, up to a multiple of 16: it has no vector instructions for others."""
    dim, zeros = table.shape[1], -table.shape[1] % 16
    eight = faiss.IndexScalarQuantizer(dim + zeros, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)

    def padded(rows: np.ndarray) -> np.ndarray:
        return np.pad(rows, ((0, 0), (0, zeros)))

    search = in_faiss(eight, padded(table))
    return {"faiss": in_faiss(faiss.IndexFlatIP(dim), table), "faiss sq8": lambda queries: search(padded(queries))}


def with_graph(
    table: np.ndarray, threads: int, queries: np.ndarray, exact: np.ndarray
) -> tuple[dict[str, Search], dict]:
    """And how far each searches."""
    dim, calls, efforts = table.shape[1], {}, {}

    def least(name: str, search: Search, set_effort: Callable[[int], None]) -> None:
        for effort in EFFORTS:
            set_effort(effort)
            if recall(search, queries, exact) >= TARGET:
                break
        calls[name], efforts[name] = search, effort

    hnsw = faiss.IndexHNSWFlat(dim, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    least("faiss hnsw", in_faiss(hnsw, table), lambda effort: setattr(hnsw.hnsw, "efSearch", effort))
    for kind in ("f32", "i8"):
        graph = usearch.index.Index(ndim=dim, metric="ip", dtype=kind, connectivity=NEIGHBOURS)
        graph.add(np.arange(len(table)), table, threads=threads)

        def search(queries: np.ndarray, graph=graph) -> np.ndarray:
            found = graph.search(queries, K, threads=threads).keys
            return found.reshape(len(queries), -1)

        least(f"usearch {kind}", search, lambda effort, graph=graph: setattr(graph, "expansion_search", effort))
    return calls, efforts
