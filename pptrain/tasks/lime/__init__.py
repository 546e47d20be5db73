"""Rule, case and result over changing symbols; importing this registers the family `lime`."""

from .family import LIME_MARKS, Lime, check_lime, lime_vocab, symbol_numbers
from .ops import ops
from .problems import PROBLEMS, RewriteRule, Roles, draw_roles, rewritten, substitute
from .search import cases, matches, paths
from .settings import LONGEST, MIXED, LimeConfig

__all__ = [
    "LIME_MARKS", "LONGEST", "Lime", "LimeConfig", "MIXED", "PROBLEMS",
    "RewriteRule", "Roles", "cases", "check_lime", "draw_roles", "lime_vocab", "matches", "ops",
    "paths", "rewritten", "substitute", "symbol_numbers",
]
