"""Quality of answers: judges, an evaluation within a daily amount, experiments, and quality over time.

Names are loaded on first use: the storage behind them takes 100-150 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.exports import lazy_exports

if TYPE_CHECKING:
    from llmthrift_core.quality.evaluation import Evaluation as Evaluation
    from llmthrift_core.quality.evaluation import EvaluationReport as EvaluationReport
    from llmthrift_core.quality.experiment_results import ArmResult as ArmResult
    from llmthrift_core.quality.experiment_results import ExperimentResults as ExperimentResults
    from llmthrift_core.quality.experiments import Experiment as Experiment
    from llmthrift_core.quality.judge import Judgement as Judgement
    from llmthrift_core.quality.judge import PairwiseJudge as PairwiseJudge
    from llmthrift_core.quality.judge import PointwiseJudge as PointwiseJudge
    from llmthrift_core.quality.judge import Preference as Preference
    from llmthrift_core.quality.live_samples import LiveSample as LiveSample
    from llmthrift_core.quality.live_samples import sample_live as sample_live
    from llmthrift_core.quality.question_verifier import QuestionVerifier as QuestionVerifier
    from llmthrift_core.quality.routing_guard import QualityGuard as QualityGuard
    from llmthrift_core.quality.sampling import labels_worth as labels_worth
    from llmthrift_core.quality.scores import QualityReport as QualityReport
    from llmthrift_core.quality.scores import QualityScore as QualityScore
    from llmthrift_core.quality.shadow import ShadowEvaluation as ShadowEvaluation
    from llmthrift_core.quality.shadow_results import ShadowReport as ShadowReport
    from llmthrift_core.quality.shadow_results import ShadowRow as ShadowRow
    from llmthrift_core.quality.shortening_guard import ShorteningGuard as ShorteningGuard
    from llmthrift_core.quality.shortening_guard import ShorteningReport as ShorteningReport
    from llmthrift_core.statistics import Interval as Interval

__all__ = [
    "ArmResult",
    "Evaluation",
    "EvaluationReport",
    "Experiment",
    "ExperimentResults",
    "Interval",
    "Judgement",
    "LiveSample",
    "PairwiseJudge",
    "PointwiseJudge",
    "Preference",
    "QualityGuard",
    "QualityReport",
    "QualityScore",
    "QuestionVerifier",
    "ShadowEvaluation",
    "ShadowReport",
    "ShadowRow",
    "ShorteningGuard",
    "ShorteningReport",
    "labels_worth",
    "sample_live",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "llmthrift_core.quality.evaluation": ("Evaluation", "EvaluationReport"),
        "llmthrift_core.quality.experiment_results": ("ArmResult", "ExperimentResults"),
        "llmthrift_core.quality.experiments": ("Experiment",),
        "llmthrift_core.quality.judge": ("Judgement", "PairwiseJudge", "PointwiseJudge", "Preference"),
        "llmthrift_core.quality.live_samples": ("LiveSample", "sample_live"),
        "llmthrift_core.quality.question_verifier": ("QuestionVerifier",),
        "llmthrift_core.quality.routing_guard": ("QualityGuard",),
        "llmthrift_core.quality.sampling": ("labels_worth",),
        "llmthrift_core.quality.scores": ("QualityReport", "QualityScore"),
        "llmthrift_core.quality.shadow": ("ShadowEvaluation",),
        "llmthrift_core.quality.shadow_results": ("ShadowReport", "ShadowRow"),
        "llmthrift_core.quality.shortening_guard": ("ShorteningGuard", "ShorteningReport"),
        "llmthrift_core.statistics": ("Interval",),
    },
)
