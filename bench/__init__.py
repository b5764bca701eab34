"""Figures of Modelyard beside its peers; see docs/benchmarks.md."""
