"""The one simulator of the project: traces, replicas, and what becomes of them under a rule."""
