"""Short algorithms on lists of symbols; importing this registers the family `procedural`."""

from .family import Procedural, official_row, procedural_vocab, write_row
from .ops import eca_step, ops, stack_moves
from .settings import EXTRA_OPS, PAPER_OPS, ProceduralConfig

__all__ = [
    "EXTRA_OPS", "PAPER_OPS", "Procedural", "ProceduralConfig", "eca_step", "official_row", "ops",
    "procedural_vocab", "stack_moves", "write_row",
]
