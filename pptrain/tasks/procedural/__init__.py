"""Short algorithms on lists of symbols; importing this registers the family `procedural`."""

from .family import Procedural
from .ops import eca_step, ops, stack_moves
from .settings import EXTRA_OPS, PAPER_OPS, ProceduralConfig

__all__ = [
    "EXTRA_OPS", "PAPER_OPS", "Procedural", "ProceduralConfig", "eca_step", "ops",
    "stack_moves",
]
