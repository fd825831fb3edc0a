"""Files, looked into without the libraries that they were made with.

It makes no object of what it reads: trees of plain values come in, facts go out.
"""
