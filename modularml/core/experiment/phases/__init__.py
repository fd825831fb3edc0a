"""The kinds of phases, a file each, and groups of them.

They say what is to be done; execution does it.
"""
