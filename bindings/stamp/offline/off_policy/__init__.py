"""Off-policy estimates: what another release would have earned, from a log of what was shown with how likely it was.

A test on visitors takes weeks and one release. A share of visitors whose lists are explored, slot by slot with known
probabilities, lets any number of releases be judged afterwards, each by the rows in which chance showed what it would
have (docs/off_policy.md).

May import: base, data, recordings, replays, verdicts.

>>> import stamp
>>> from stamp import offline
>>> from stamp.offline import off_policy
>>> shop = stamp.datasets.synthetic_shop(sessions=6000, products=60, seed=1)
>>> train, test = shop.sessions.split_by_time("14D")
>>> rules = {"today": stamp.SequentialRulesRecommender(), "new": stamp.SessionKNNRecommender()}
>>> run = offline.replay({name: each.fit(train) for name, each in rules.items()}, test, zones=offline.product_page(k=6))
>>> log = off_policy.explore(run, "today", zone="product page", k=2, strength=5.0)
>>> found = off_policy.estimate(log, off_policy.replayed(run, "new", zone="product page"), without_overlap="leave out")
"""

from .asking import ask
from .estimating import estimate
from .exploring import explore, replayed
from .exposures import ExposureLog
from .policies import ExploredLists, Probabilities, RankedLists
from .reading import read_exposures
from .results import OffPolicyEstimate, OffPolicyEstimates, SlotEstimates

__all__ = [
    "ExploredLists",
    "ExposureLog",
    "OffPolicyEstimate",
    "OffPolicyEstimates",
    "Probabilities",
    "RankedLists",
    "SlotEstimates",
    "ask",
    "estimate",
    "explore",
    "read_exposures",
    "replayed",
]
