"""Every port in one place. The docstrings are the contracts that `moss.testing` holds each adapter to.

Ports are synchronous: an adapter is a plain class (engine SDKs are synchronous, too), and the engine calls it
through one bounded thread pool (`engine.offload`). Everything is idempotent by key: calling twice is calling once.
A port raises only errors of `moss.errors`, those that its docstring names.
"""

from moss.domain.patch import FileChange as FileChange
from moss.domain.patch import Patch as Patch
from moss.ports.boxes import Box as Box
from moss.ports.boxes import BoxCapabilities as BoxCapabilities
from moss.ports.boxes import Boxes as Boxes
from moss.ports.boxes import BoxExit as BoxExit
from moss.ports.boxes import BoxRole as BoxRole
from moss.ports.boxes import BoxSpec as BoxSpec
from moss.ports.boxes import ExitReason as ExitReason
from moss.ports.boxes import Limits as Limits
from moss.ports.boxes import Mount as Mount
from moss.ports.boxes import MountName as MountName
from moss.ports.boxes import OwnStart as OwnStart
from moss.ports.boxes import Probed as Probed
from moss.ports.clock import Clock as Clock
from moss.ports.coders import CoderCommand as CoderCommand
from moss.ports.coders import CoderEvent as CoderEvent
from moss.ports.coders import CoderRole as CoderRole
from moss.ports.coders import CoderTask as CoderTask
from moss.ports.coders import CodingAgent as CodingAgent
from moss.ports.coders import EventKind as EventKind
from moss.ports.evidence import Cursor as Cursor
from moss.ports.evidence import EvidenceSource as EvidenceSource
from moss.ports.evidence import Rejected as Rejected
from moss.ports.evidence import Scan as Scan
from moss.ports.gateway import GatewayControl as GatewayControl
from moss.ports.gateway import GatewayMode as GatewayMode
from moss.ports.gateway import Grant as Grant
from moss.ports.gateway import Usage as Usage
from moss.ports.images import Image as Image
from moss.ports.images import ImageBuilder as ImageBuilder
from moss.ports.judges import Judge as Judge
from moss.ports.judges import Notice as Notice
from moss.ports.judges import Notifier as Notifier
from moss.ports.judges import Vote as Vote
from moss.ports.source import Source as Source
from moss.ports.store import BatchRow as BatchRow
from moss.ports.store import BrokenLink as BrokenLink
from moss.ports.store import Claim as Claim
from moss.ports.store import FingerprintRow as FingerprintRow
from moss.ports.store import Head as Head
from moss.ports.store import Outgoing as Outgoing
from moss.ports.store import RunRow as RunRow
from moss.ports.store import Store as Store
from moss.ports.target import Answered as Answered
from moss.ports.target import Held as Held
from moss.ports.target import InstalledTarget as InstalledTarget
from moss.ports.target import LiveTarget as LiveTarget
from moss.ports.target import LiveVersion as LiveVersion
from moss.ports.target import Probe as Probe
from moss.ports.target import Readiness as Readiness
from moss.ports.target import Released as Released
from moss.ports.target import Snapshot as Snapshot
from moss.ports.turns import Place as Place
from moss.ports.turns import TurnDriver as TurnDriver
