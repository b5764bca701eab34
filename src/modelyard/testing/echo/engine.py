"""The echo engine as an Engine adapter."""

import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from modelyard.domain.snapshot.capabilities import Capabilities
from modelyard.ports.engine import LaunchSpec, ResolvedModel
from modelyard.testing.echo import behaviour as behaviours


class EchoEngine:
    """`engine: {name: echo, tokens: 20, token_interval_s: 0.01}`; the model is optional."""

    def plan(self, model: ResolvedModel | None, options: Mapping[str, Any]) -> LaunchSpec:
        """See the port."""
        behaviour = behaviours.read(options)
        return LaunchSpec(
            engine="echo",
            command=(sys.executable, "-m", "modelyard.testing.echo"),
            environment={
                "ECHO_BEHAVIOUR": msgspec.json.encode(behaviour).decode(),
                "ECHO_API_KEY": "{api_key}",
            },
            files={str(file.local): file.digest for file in model.files} if model else {},
            upstream_model=model.name if model else "echo",
            slots=behaviour.slots,
            capabilities=Capabilities(chat=True, tools=True, embeddings=True, rerank=False),
            lacks=("json_object", "json_schema", "logprobs", "stop"),
            memory_bytes=32 * 1024 * 1024,
            start_timeout_s=30.0 + behaviour.start_s,
        )
