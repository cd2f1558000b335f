"""A/B arithmetic: an arm's lift with intervals, in all visitors and by segment, how long a test must run, whether visitors
were split as planned.

Visitors are what a test assigns to arms, so everything here counts visitors: a rate whose denominator is something
else (clicks per impression) is a ratio of two sums over visitors, and so is its variance. Intervals and tests are
two-sided, of a number of visitors that was fixed before the test began: looking every day and stopping at the first
small p-value finds differences that are not there.

SciPy has the distributions: ``pip install 'stamp-recommender[offline]'``.

May import: base, data, verdicts.

>>> from stamp.offline import ab
>>> ab.proportions(control=(300, 10_000), treatment=(360, 10_000))
conversion   control  treatment
visitors      10,000  10,000
value        0.03000  0.03600
difference  +0.00600  95 %: +0.00105 to +0.01095
relative     +20.0 %  95 %: +1.9 % to +38.1 %
p = 0.0175 (z test): higher
"""

from .arithmetic import means, proportions, ratio
from .effects import Arm, Effect, Interval
from .planning import Duration, SampleSize, detectable_lift, duration, sample_size
from .segments import Heterogeneity, SegmentEffect, Segments, by_segment
from .split import SampleRatio, sample_ratio

__all__ = [
    "Arm",
    "Duration",
    "Effect",
    "Heterogeneity",
    "Interval",
    "SampleRatio",
    "SampleSize",
    "SegmentEffect",
    "Segments",
    "by_segment",
    "detectable_lift",
    "duration",
    "means",
    "proportions",
    "ratio",
    "sample_ratio",
    "sample_size",
]
