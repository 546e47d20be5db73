"""Skills that are learnt suddenly, as data; importing this registers the family `probes`."""

from .family import Probes, draw_haystack, haystack_row
from .settings import LARGEST, PROBES, ProbesConfig

__all__ = [
    "LARGEST", "PROBES", "Probes", "ProbesConfig", "draw_haystack", "haystack_row",
]
