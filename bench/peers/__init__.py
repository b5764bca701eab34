"""Gateways of others, each in an environment of its own, for comparison."""
