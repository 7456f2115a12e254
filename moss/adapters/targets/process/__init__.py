"""Owns the live agent as a supervised process of this host, behind the hold proxy."""

from moss.adapters.targets.process.target import ProcessTarget as ProcessTarget
