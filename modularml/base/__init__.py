"""The vocabulary every layer shares: errors, configuration, registries, events.

It imports nothing else of this package and no numerical library but numpy.
"""
