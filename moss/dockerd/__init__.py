"""What the adapters of a Docker Engine share: the connection, and how every container of the substrate is made."""

from moss.dockerd.engine import (
    CALL_SECONDS,
    NO_SPACE,
    OLDEST,
    SOCKET,
    Config,
    Conflict,
    Engine,
    Gone,
    home_tag,
    labels_filter,
    moment,
    plain,
)

__all__ = [
    "CALL_SECONDS",
    "NO_SPACE",
    "OLDEST",
    "SOCKET",
    "Config",
    "Conflict",
    "Engine",
    "Gone",
    "home_tag",
    "labels_filter",
    "moment",
    "plain",
]
