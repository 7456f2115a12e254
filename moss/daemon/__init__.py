"""Owns what MOSS's own processes share (hold proxy, supervisor): one of a kind, outliving whoever started it.

Knows nothing of agents, swaps or HTTP. Imports the standard library and `moss.errors` only, so that it starts fast.
"""
