"""MOSS: lets a production agent repair itself at source level, safely."""

__version__ = "0.1.0"
