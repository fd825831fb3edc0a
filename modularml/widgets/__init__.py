"""The live views of a notebook, and the static forms that stay when a run is over.

It loads nothing: a widget is imported when it is first shown.
"""
