"""Data as a function: addressed streams, examples, datasets, controls over any of them, mixtures of them."""
from .controls import CONTROLS, ShuffledExamples, create_control, permute, register_control, registered_controls
from .controls import frozen, ngram_null, random_tokens, shuffled, unigram_noise
from .columns import Columns
from .datasets import Collate, DatasetBundle, Examples, Rows, TaskDataset
from .draws import GENERATOR_VERSION, item_draws
from .examples import IGNORE, Example, labelled, pair_example
from .mixtures import mixture
from .streams import SPLITS, item_key, item_rng, item_rngs

__all__ = ["Collate", "Columns", "DatasetBundle", "Example", "Rows", "TaskDataset", "create_control", "frozen", "mixture",
           "ngram_null", "pair_example", "random_tokens", "register_control", "registered_controls", "shuffled",
           "unigram_noise"]
