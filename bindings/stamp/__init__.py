"""stamp: session-based recommendation with STAMP, trained and served by hand-written kernels.

>>> import stamp
>>> shop = stamp.datasets.synthetic_shop(sessions=2000, products=200, seed=1)
>>> train, test = shop.sessions.split_last(0.1)
>>> model = stamp.StampRecommender(dim=32, epochs=2).fit(train, progress=False)
>>> ids, scores = model.recommend(list(train.session(0)), k=5)
>>> len(ids)
5
"""

from . import datasets
from ._stamp import cpu_isa, num_threads, set_num_threads
from .bundles import build_bundle, diff_bundles, inspect_bundle, verify_bundle
from .clusters import CatalogClusters, cluster_catalog
from .evaluation import Evaluation, evaluate
from .hardware import DeviceInfo, devices
from .products import Products
from .recommenders import PopularityRecommender, StampRecommender, TrainingDiverged, load
from .rules import rules_schema
from .serving import Recommendations, Recommender
from .sessions import Sessions

__version__ = "0.1.0"
__all__ = [
    "CatalogClusters",
    "DeviceInfo",
    "Evaluation",
    "PopularityRecommender",
    "Products",
    "Recommendations",
    "Recommender",
    "Sessions",
    "StampRecommender",
    "TrainingDiverged",
    "build_bundle",
    "cluster_catalog",
    "cpu_isa",
    "datasets",
    "devices",
    "diff_bundles",
    "evaluate",
    "inspect_bundle",
    "load",
    "num_threads",
    "rules_schema",
    "set_num_threads",
    "verify_bundle",
]
