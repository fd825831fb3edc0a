"""Samples: columns, tables, views, sets and references to them."""
