"""Means and differences with intervals: for one look (`ratios`), and for as many looks as anybody likes (`sequential`)."""

from llmthrift_core.statistics.ratios import Interval as Interval
from llmthrift_core.statistics.ratios import RatioSums as RatioSums
from llmthrift_core.statistics.ratios import deviation as deviation
from llmthrift_core.statistics.ratios import exponential_mean as exponential_mean
from llmthrift_core.statistics.ratios import quality_difference as quality_difference
from llmthrift_core.statistics.ratios import quality_interval as quality_interval
from llmthrift_core.statistics.ratios import ratio_interval as ratio_interval
from llmthrift_core.statistics.ratios import relative_saving as relative_saving
from llmthrift_core.statistics.ratios import t_quantile as t_quantile
from llmthrift_core.statistics.ratios import units_for_tail as units_for_tail
from llmthrift_core.statistics.ratios import units_needed as units_needed
