"Documents of nonsense (Krishna et al. 2021), their summaries, and STEP (Zou et al. 2020)."
from .family import NonsenseProblem as NonsenseProblem
from .family import Summarization as Summarization
from .family import solve_problem as solve_problem
from .marks import MARK_RULES as MARK_RULES
from .marks import MIXED as MIXED
from .marks import MarkRule as MarkRule
from .nonsense import nonsense_document as nonsense_document
from .nonsense import nonsense_words as nonsense_words
from .pieces import reader_input as reader_input
from .settings import SummarizationConfig as SummarizationConfig
from .step import STEP_TASKS as STEP_TASKS
