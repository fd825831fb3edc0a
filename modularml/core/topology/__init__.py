"""Nodes and the graph that they form.

It knows no batches, losses at work or phases.
"""
