"""Owns what tells one run of the machine from the next: pids and monotonic seconds mean nothing across it."""

from pathlib import Path


def boot_id() -> str:
    """The kernel's own id of this run."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
