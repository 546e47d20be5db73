"""nca: a fresh random universe of cells per sequence (Lee et al. 2026)."""
from typing import TYPE_CHECKING

from .family import (
    NCA as NCA, change_fraction as change_fraction, grids_of as grids_of,
    patch_tokens as patch_tokens, unpatch as unpatch,
)
from .settings import (
    NCAConfig as NCAConfig, frame_count as frame_count, frame_tokens as frame_tokens,
    nca_presets as nca_presets,
)

if TYPE_CHECKING:
    from .automata import Rules as Rules, rollout as rollout
else:
    def __getattr__(name):
        "What torch runs, and what therefore waits until somebody asks."
        if name not in ("Rules", "rollout"):
            raise AttributeError(f"module 'pptrain.tasks.nca' has no attribute {name!r}")
        from . import automata
        return getattr(automata, name)
