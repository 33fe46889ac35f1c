"""The reference pair: source and target in the memory of one process, for fast tests.

Guarantees everything that `connectors.protocols` says, with real compare-and-swap and epochs, and lets a test decide
the fate of every COMMIT (`MemoryStore.fate`). Keeps nothing when the process ends.
"""

from tranship.connectors.memory.documents import Documents
from tranship.connectors.memory.ledger import MemoryLedger
from tranship.connectors.memory.marked import MemoryMarkedTarget
from tranship.connectors.memory.progress import MemoryProgress
from tranship.connectors.memory.schema import MemorySchema
from tranship.connectors.memory.source import MemorySource
from tranship.connectors.memory.state import TargetState
from tranship.connectors.memory.store import Fate, MemoryStore, Postponed
from tranship.connectors.memory.target import MemoryTarget

__all__ = [
    "Documents",
    "Fate",
    "MemoryLedger",
    "MemoryMarkedTarget",
    "MemoryProgress",
    "MemorySchema",
    "MemorySource",
    "MemoryStore",
    "MemoryTarget",
    "Postponed",
    "TargetState",
]
