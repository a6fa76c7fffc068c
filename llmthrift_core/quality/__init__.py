"""Whether answers are good: judges, an evaluation within a daily amount, experiments, and quality over time.

Names are loaded on first use: the storage behind them takes 100-150 ms.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from llmthrift_core.quality.evaluation import Evaluation as Evaluation
    from llmthrift_core.quality.evaluation_report import EvaluationReport as EvaluationReport
    from llmthrift_core.quality.experiment_results import ArmResult as ArmResult
    from llmthrift_core.quality.experiment_results import ExperimentResults as ExperimentResults
    from llmthrift_core.quality.experiments import Experiment as Experiment
    from llmthrift_core.quality.judge import Judgement as Judgement
    from llmthrift_core.quality.judge import PairwiseJudge as PairwiseJudge
    from llmthrift_core.quality.judge import PointwiseJudge as PointwiseJudge
    from llmthrift_core.quality.judge import Preference as Preference
    from llmthrift_core.quality.question_verifier import QuestionVerifier as QuestionVerifier
    from llmthrift_core.quality.scores import QualityReport as QualityReport
    from llmthrift_core.quality.scores import QualityScore as QualityScore
    from llmthrift_core.statistics import Interval as Interval

_MODULES: Final = {
    ".evaluation": ("Evaluation",),
    ".evaluation_report": ("EvaluationReport",),
    ".experiment_results": ("ArmResult", "ExperimentResults"),
    ".experiments": ("Experiment",),
    ".judge": ("Judgement", "PairwiseJudge", "PointwiseJudge", "Preference"),
    ".question_verifier": ("QuestionVerifier",),
    ".scores": ("QualityReport", "QualityScore"),
    "..statistics": ("Interval",),
}
_HOMES: Final = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
