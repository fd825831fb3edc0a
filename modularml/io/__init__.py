"""Files: a tree of plain values in a zip that is safe to open and whole or not there.

It knows no class of the library; objects hand over trees and are made from them.
"""
