"""The live agent as a container of a Docker Engine, behind the hold proxy."""
