"""Whether the clicks of a day may be prepared: counters, what is usual, what differs from it, and who is told.

May import: base, engines, sources, prepared.
"""
