"""How a phase is done: bindings, batches, flat lists of calls, loops of events.

It knows no phase, history or callback by class.
"""
