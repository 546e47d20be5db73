"""simpler_tasks: twenty-five one-line functions on token lists (Wu, Li & Liang 2022)."""

from .family import SimplerTasks as SimplerTasks, ops as ops
from .settings import (
    ALIASES as ALIASES, OP_NAMES as OP_NAMES, SimplerTasksConfig as SimplerTasksConfig,
)
