"""Questions of reasoning-gym, byte by byte; importing this registers the family `rg`."""
from .questions import ReasoningGym, RGConfig

__all__ = ["RGConfig", "ReasoningGym"]
