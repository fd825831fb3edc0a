"""The heart: data, training, topology, execution and experiments, each on the ones before.

It knows no screen but the plain displays of `modularml.display`, and no widget.
"""
