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
from .clustered import ClusteredRecommender, load_clusters
from .evaluation import Evaluation, evaluate
from .hardware import DeviceInfo, devices
from .parallel_training import TrainingFailed, train_clusters
from .recommenders import PopularityRecommender, StampRecommender, TrainingDiverged, load
from .sessions import Sessions
from .training import TrainReport, train_cluster

__version__ = "0.1.0"
__all__ = [
    "ClusteredRecommender",
    "DeviceInfo",
    "Evaluation",
    "PopularityRecommender",
    "Sessions",
    "StampRecommender",
    "TrainReport",
    "TrainingDiverged",
    "TrainingFailed",
    "cpu_isa",
    "datasets",
    "devices",
    "evaluate",
    "load",
    "load_clusters",
    "num_threads",
    "set_num_threads",
    "train_cluster",
    "train_clusters",
]
