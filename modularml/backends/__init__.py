"""The numeric libraries: one module for each, loaded when it is needed."""
