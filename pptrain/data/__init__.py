"""Data as a function: addressed streams, examples, datasets, and controls over any of them."""
from .controls import CONTROLS, ShuffledExamples, create_control, permute, register_control, registered_controls, shuffled
from .datasets import Collate, DatasetBundle, Examples, Rows, TaskDataset
from .examples import IGNORE, Example, labelled, pair_example
from .streams import SPLITS, item_key, item_rng, item_rngs

__all__ = ["Collate", "DatasetBundle", "Example", "Rows", "TaskDataset", "create_control", "pair_example",
           "register_control", "registered_controls", "shuffled"]
