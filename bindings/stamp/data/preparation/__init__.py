"""From events to sessions: what is trained on.

May import: base, engines, sources.
"""
