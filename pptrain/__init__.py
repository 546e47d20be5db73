"""pptrain: pre-pre-training of language models on formal data.

The names below are the front of the house, listed in one place. Each loads when it is first used: importing
pptrain imports neither torch nor transformers nor plotly. The chapters in `nbs/` tell the rest."""
from typing import TYPE_CHECKING

__version__ = "1.0.0"

if TYPE_CHECKING:   # what editors and type checkers read; the table below is what Python reads
    from .core import AddressedTask as AddressedTask
    from .core import SymbolicTaskFamily as SymbolicTaskFamily
    from .core import Task as Task
    from .core import TaskPreset as TaskPreset
    from .core import TokenSequenceTask as TokenSequenceTask
    from .core import create_task as create_task
    from .core import register_family as register_family
    from .core import register_task as register_task
    from .core import registered_presets as registered_presets
    from .core import registered_tasks as registered_tasks
    from .corpora import load_corpus as load_corpus
    from .data import Example as Example
    from .data import create_control as create_control
    from .data import register_control as register_control
    from .data import registered_controls as registered_controls
    from .errors import InputError as InputError
    from .eval import run_transfer_evaluation as run_transfer_evaluation
    from .integrations import HFCausalLMAdapter as HFCausalLMAdapter
    from .integrations import HFModelConfig as HFModelConfig
    from .measure import exact_match as exact_match
    from .measure import perplexity as perplexity
    from .measure import register_measure as register_measure
    from .measure import registered_measures as registered_measures
    from .runs import PrePreTrainer as PrePreTrainer
    from .runs import PrePreTrainingRun as PrePreTrainingRun
    from .runs import Recipe as Recipe
    from .runs import RunConfig as RunConfig
    from .runs import load_recipe as load_recipe
    from .transfer import ReinitializeEmbeddingTransferPolicy as ReinitializeEmbeddingTransferPolicy
    from .transfer import SkipParametersTransferPolicy as SkipParametersTransferPolicy
    from .transfer import TransferBundle as TransferBundle
    from .transfer import TransferPolicy as TransferPolicy
    from .transfer import TransferReport as TransferReport
    from .transfer import create_policy as create_policy
    from .transfer import register_policy as register_policy
    from .transfer import registered_policies as registered_policies
    from .widgets import compare as compare
    from .widgets import explore as explore
    from .widgets import monitor as monitor

_ROOMS = {
    "core": [
        "AddressedTask", "SymbolicTaskFamily", "Task", "TaskPreset", "TokenSequenceTask", "create_task",
        "register_family", "register_task", "registered_presets", "registered_tasks",
    ],
    "corpora": ["load_corpus"],
    "data": ["Example", "create_control", "register_control", "registered_controls"],
    "errors": ["InputError"],
    "eval": ["run_transfer_evaluation"],
    "integrations": ["HFCausalLMAdapter", "HFModelConfig"],
    "measure": ["exact_match", "perplexity", "register_measure", "registered_measures"],
    "runs": ["PrePreTrainer", "PrePreTrainingRun", "Recipe", "RunConfig", "load_recipe"],
    "transfer": [
        "ReinitializeEmbeddingTransferPolicy", "SkipParametersTransferPolicy", "TransferBundle",
        "TransferPolicy", "TransferReport", "create_policy", "register_policy", "registered_policies",
    ],
    "widgets": ["compare", "explore", "monitor"],
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}
__all__ = list(_HOME)

if not TYPE_CHECKING:
    def __getattr__(name):
        from importlib import import_module
        if name not in _HOME:
            raise AttributeError(f"module 'pptrain' has no attribute {name!r}")
        return getattr(import_module(f"pptrain.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
