"""Whether what models hold for probable comes as often as they say.

May import: base, data, models, serving, recordings.
"""
