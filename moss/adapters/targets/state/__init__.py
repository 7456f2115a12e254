"""The state of a live agent as a folder: copied, kept, exchanged. The same for every kind of target."""
