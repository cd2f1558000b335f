"""Raw clicks, as shops have them, as one table of events.

May import: base, engines.
"""
