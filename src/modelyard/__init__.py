"""Modelyard: from a language model on disk to a governed production endpoint."""

__version__ = "0.1.0"
