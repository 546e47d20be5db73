"""Short algorithms on lists of symbols; importing this registers the family `procedural`."""

from .family import Procedural, official_row, procedural_vocab, write_row
from .ops import eca_step, ops, stack_moves
from .settings import (
    EXTRA_OPS,
    PAPER_OPS,
    PROCEDURAL_PRESETS,
    ProceduralConfig,
    check_procedural,
    row_width,
)

__all__ = [
    "EXTRA_OPS", "PAPER_OPS", "PROCEDURAL_PRESETS", "Procedural", "ProceduralConfig",
    "check_procedural", "eca_step", "official_row", "ops", "procedural_vocab", "row_width",
    "stack_moves", "write_row",
]
