"""Pictures and text of plain data: diagrams, curves, console progress.

It knows no node, phase or experiment: it draws the specs that they hand out.
"""
