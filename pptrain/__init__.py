"""pptrain: pre-pre-training of language models on formal data. Names load when first used; see `nbs/` for the chapters."""
__version__ = "1.0.0"

_HOME = {"create_task": "core", "register_task": "core", "registered_tasks": "core", "registered_presets": "core",
         "TaskPreset": "core", "RunConfig": "runs", "PrePreTrainer": "runs", "PrePreTrainingRun": "runs",
         "TransferBundle": "transfer", "TransferReport": "transfer", "ReinitializeEmbeddingTransferPolicy": "transfer",
         "SkipParametersTransferPolicy": "transfer", "InputError": "vocab"}
__all__ = [*_HOME]


def __getattr__(name):
    from importlib import import_module
    if name not in _HOME: raise AttributeError(f"module 'pptrain' has no attribute {name!r}")
    return getattr(import_module(f"pptrain.{_HOME[name]}"), name)


def __dir__(): return sorted({*globals(), *_HOME})
