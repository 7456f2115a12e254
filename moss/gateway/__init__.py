"""The model gateway: the only way out of a box, a process of its own. Map: `server` takes requests, `world` decides
who speaks, `upstream`, `script` and `recording` speak, `ledger` counts, `records` keeps, `client` is the other side."""
