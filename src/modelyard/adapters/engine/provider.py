"""Models of outside providers. Nothing is launched, and nothing of a provider is known here: the
reconciler joins what a service asks for with the Provider documents and their keys."""

from collections.abc import Mapping
from typing import Any

from modelyard.domain.documents import upstreams
from modelyard.errors import Invalid
from modelyard.ports.engine import LaunchSpec, ResolvedModel


class ProviderEngine:
    """`engine: {name: provider, provider: NAME, model: UPSTREAM-NAME}`, or `upstreams: [...]`."""

    def plan(self, model: ResolvedModel | None, options: Mapping[str, Any]) -> LaunchSpec:
        """See the port."""
        if model is not None:
            raise Invalid(
                "engine provider serves outside models and takes no spec.model",
                hint="remove spec.model; the provider's name for it goes to spec.engine.model",
            )
        wanted = upstreams.of_options(options)
        models = {one.model for one in wanted}
        return LaunchSpec(
            engine="provider",
            upstreams=wanted,
            upstream_model=models.pop() if len(models) == 1 else "",
        )
