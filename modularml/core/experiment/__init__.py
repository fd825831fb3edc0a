"""Experiments: phases, the runner, history, results, checkpoints and files.

It knows no loop from within and no widget.
"""
