"""Intervals, paired tests and resampling: pure mathematics, from numpy and scipy."""
