"""The clerk: a small agent that answers a shop's customers with tools over SQLite. Standard library only."""

VERSION = "1.0"
