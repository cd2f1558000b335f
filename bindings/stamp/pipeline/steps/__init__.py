"""The steps of a night, each a function of inputs, options and where its output goes: what runs them is not theirs to know.

May import: base, data, models, catalog, serving, offline, store.
"""
