"""stamp: session-based recommendation with STAMP, trained and served by hand-written kernels.

>>> import stamp
>>> shop = stamp.datasets.synthetic_shop(sessions=2000, products=200, seed=1)
>>> train, test = shop.sessions.split_last(0.1)
>>> model = stamp.StampRecommender(dim=32, epochs=2).fit(train, progress=False)
>>> ids, scores = model.recommend(list(train.session(0)), k=5)
>>> len(ids)
5
"""

from typing import TYPE_CHECKING, Any

from ._stamp import __version__ as __version__
from ._stamp import cpu_isa, num_threads
from .catalog.clusters import CatalogClusters, cluster_catalog
from .catalog.parallel_training import TrainingFailed, train_clusters
from .catalog.training import train_cluster
from .data import datasets
from .data.products import Products
from .data.sessions import Sessions
from .models.baselines import (
    AssociationRulesRecommender,
    ItemKNNRecommender,
    PopularityRecommender,
    SequentialRulesRecommender,
    SessionKNNRecommender,
    SessionPopularityRecommender,
)
from .models.clustered import ClusteredRecommender, load_clusters
from .models.evaluation import Evaluation, evaluate
from .models.hardware import DeviceInfo, devices, set_num_threads
from .models.loading import load
from .models.stamp_recommender import StampRecommender, TrainingDiverged
from .models.train_reports import TrainReport
from .serving.bundles import build_bundle, diff_bundles, inspect_bundle, verify_bundle
from .serving.new_products import add_products, refresh_products
from .serving.recommender import Recommendations, Recommender
from .serving.rules import rules_schema

if TYPE_CHECKING:
    from . import offline, pipeline, store

__all__ = [
    "AssociationRulesRecommender",
    "CatalogClusters",
    "ClusteredRecommender",
    "DeviceInfo",
    "Evaluation",
    "ItemKNNRecommender",
    "PopularityRecommender",
    "Products",
    "Recommendations",
    "Recommender",
    "SequentialRulesRecommender",
    "SessionKNNRecommender",
    "SessionPopularityRecommender",
    "Sessions",
    "StampRecommender",
    "TrainReport",
    "TrainingDiverged",
    "TrainingFailed",
    "add_products",
    "build_bundle",
    "cluster_catalog",
    "cpu_isa",
    "datasets",
    "devices",
    "diff_bundles",
    "evaluate",
    "inspect_bundle",
    "load",
    "load_clusters",
    "num_threads",
    "offline",
    "pipeline",
    "refresh_products",
    "rules_schema",
    "set_num_threads",
    "store",
    "train_cluster",
    "train_clusters",
    "verify_bundle",
]


def __getattr__(name: str) -> Any:
    """The offline library, the pipeline and the store are imported when they are first asked for: serving has no need of
    them."""
    if name in ("offline", "pipeline", "store"):
        import importlib

        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
