"""One catalog, many models: groups, clusters, and training a model for each.

May import: base, data, models.
"""
