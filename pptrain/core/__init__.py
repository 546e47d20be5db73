"""Families: what a task is, in one method or in three verbs, and how it is found by name."""
from pptrain.config import FamilyConfig, PairConfig, TaskPreset, build_config, field_defaults, field_docs
from pptrain.data import Collate, DatasetBundle, Example, TaskDataset, item_key, item_rngs, pair_example
from pptrain.errors import InputError
from pptrain.vocab import TokenizerSpec, Vocab

from .look import Look
from .mixture import MixtureConfig, TaskMixture
from .ops import ExecutedSymbolicTask, OpFamily, Ops, SymbolicTask, SymbolicTaskFamily
from .registry import (
    RegisteredTask, create_task, register_family, register_task, registered_presets, registered_task,
    registered_tasks,
)
from .task import AddressedTask, Task, TokenSequenceTask, as_example, example_at

__all__ = [
    "AddressedTask", "DatasetBundle", "Example", "ExecutedSymbolicTask", "FamilyConfig", "InputError",
    "MixtureConfig", "OpFamily", "Ops", "PairConfig", "RegisteredTask", "SymbolicTask",
    "SymbolicTaskFamily", "Task", "TaskMixture", "TaskPreset", "TokenSequenceTask", "TokenizerSpec",
    "Vocab", "create_task", "pair_example", "register_family", "register_task", "registered_presets", "registered_task", "registered_tasks",
]
