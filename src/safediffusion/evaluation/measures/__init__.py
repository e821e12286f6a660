"""Measures: each computes one metric from raw records and needs no image.

A measure has its own interval and its own paired comparison. Records that failed are left out before it is
called: `failures` decides which these are.
"""

from safediffusion.evaluation.measures.clustered import ClusteredRate
from safediffusion.evaluation.measures.counts import Count, Mean
from safediffusion.evaluation.measures.measure import Keep, Measure, Record, Unmeasured, every
from safediffusion.evaluation.measures.per_prompts import CountPer
from safediffusion.evaluation.measures.rates import FailureRate, MeanOfRates, Rate
from safediffusion.evaluation.measures.reference import Distance, FromReference

__all__ = [
    "ClusteredRate",
    "Count",
    "CountPer",
    "Distance",
    "FailureRate",
    "FromReference",
    "Keep",
    "Mean",
    "MeanOfRates",
    "Measure",
    "Rate",
    "Record",
    "Unmeasured",
    "every",
]
