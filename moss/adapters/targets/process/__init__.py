"""Owns the live agent as a supervised process of this host, behind the hold proxy. The target itself is in `target`:
importing this package must cost nothing, since `moss status` reads the supervisor's record."""
