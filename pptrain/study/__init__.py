"""Runs that differ in one thing, a tidy table of what was measured, and verdicts on what papers claim.

Each name loads when it is first used: a grid that only starts notebooks does without torch."""
from typing import TYPE_CHECKING

if TYPE_CHECKING:   # what editors and type checkers read; the table below is what Python reads
    # what runs
    from .profiles import PROFILES as PROFILES
    from .profiles import profile as profile
    from .profiles import read_seeds as read_seeds
    from .budgets import StudyConfig as StudyConfig
    from .budgets import configure as configure
    from .budgets import parameter_counts as parameter_counts
    from .budgets import training_flops as training_flops
    from .arms import KNOWN_ARMS as KNOWN_ARMS
    from .arms import Arm as Arm
    from .arms import Rates as Rates
    from .arms import arm_of as arm_of
    from .variants import COLUMNS as COLUMNS
    from .variants import VARIANTS as VARIANTS
    from .variants import StudySetup as StudySetup
    from .variants import TextTask as TextTask
    from .variants import run_variant as run_variant
    from .variants import text_model as text_model
    from .variants import warm_up as warm_up
    from .tuning import best_rates as best_rates
    from .tuning import run_study as run_study
    from .tuning import tuned_rates as tuned_rates
    from .stacks import run_stacked as run_stacked
    from .skills import SkillConfig as SkillConfig
    from .skills import run_skill as run_skill
    from .facts import guessing as guessing

    # what is measured on the table
    from ..measure.savings import gains as gains
    from ..measure.savings import token_saving as token_saving
    from ..measure.savings import tokens_to_reach as tokens_to_reach

    # what it says
    from .statistics import Decision as Decision
    from .statistics import decide as decide
    from .claims import Claim as Claim
    from .claims import judge as judge
    from .claims import judge_study as judge_study
    from .claims import save_results as save_results

    # what is inside its models
    from .representations import KeepWeights as KeepWeights
    from .representations import arm_models as arm_models
    from .representations import compare_models as compare_models
    from .representations import inside_study as inside_study
    from .donors import donor_of as donor_of

    # how it is shown
    from .crossing import crossing_table as crossing_table
    from .crossing import crossing_picture as crossing_picture
    from .figures import all_effects as all_effects
    from .figures import mean_gains as mean_gains
    from .figures import study_picture as study_picture
    from .gathering import GridResults as GridResults
    from .report import write_report as write_report

    # a paper's experiment
    from .replication import Replication as Replication
    from .replication import ReplicationResult as ReplicationResult
    from .replication import run as run

_ROOMS = {
    "pptrain.study.profiles": ["PROFILES", "profile", "read_seeds"],
    "pptrain.study.budgets": ["StudyConfig", "configure", "parameter_counts", "training_flops"],
    "pptrain.study.arms": ["KNOWN_ARMS", "Arm", "Rates", "arm_of"],
    "pptrain.study.variants": [
        "COLUMNS", "VARIANTS", "StudySetup", "TextTask", "run_variant", "text_model", "warm_up",
    ],
    "pptrain.study.tuning": ["best_rates", "run_study", "tuned_rates"],
    "pptrain.study.stacks": ["run_stacked"],
    "pptrain.study.skills": ["SkillConfig", "run_skill"],
    "pptrain.study.facts": ["guessing"],
    "pptrain.measure.savings": ["gains", "token_saving", "tokens_to_reach"],
    "pptrain.study.statistics": ["Decision", "decide"],
    "pptrain.study.claims": ["Claim", "judge", "judge_study", "save_results"],
    "pptrain.study.representations": [
        "KeepWeights", "arm_models", "compare_models", "inside_study",
    ],
    "pptrain.study.donors": ["donor_of"],
    "pptrain.study.crossing": ["crossing_picture", "crossing_table"],
    "pptrain.study.figures": [
        "all_effects", "mean_gains", "study_picture",
    ],
    "pptrain.study.gathering": ["GridResults"],
    "pptrain.study.report": ["write_report"],
    "pptrain.study.replication": ["Replication", "ReplicationResult", "run"],
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}
__all__ = list(_HOME)

if not TYPE_CHECKING:
    def __getattr__(name):
        from importlib import import_module
        if name not in _HOME:
            raise AttributeError(f"module 'pptrain.study' has no attribute {name!r}")
        return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
