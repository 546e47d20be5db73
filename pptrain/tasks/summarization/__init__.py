"Documents of nonsense (Krishna et al. 2021), their summaries, and STEP (Zou et al. 2020)."
from .family import Summarization as Summarization
from .marks import MARK_RULES as MARK_RULES
from .nonsense import nonsense_words as nonsense_words
from .pieces import reader_input as reader_input
from .settings import SummarizationConfig as SummarizationConfig
from .step import STEP_TASKS as STEP_TASKS
