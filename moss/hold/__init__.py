"""Owns the hold proxy: a process of its own in front of the live agent, where messages wait during a swap."""
