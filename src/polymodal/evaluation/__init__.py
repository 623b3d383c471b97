"""Measuring: likelihood ranking, intervals, word error rate. Small pure functions; the benchmarks put them together."""
