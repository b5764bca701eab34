"""Secrets in the environment that the platform was started with."""

import os
import re
from collections.abc import Mapping

from modelyard.errors import Invalid, NotFound
from modelyard.ports.meta import DEFAULT_TENANT
from modelyard.ports.secrets import usable

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS = "MODELYARD_"
"""What the platform's own processes tell each other is nothing for a provider."""


class EnvSecrets:
    """`env:NAME`. A changed variable needs a restart: no process sees another's environment."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment

    def resolve(self, reference: str, *, tenant: str = DEFAULT_TENANT, origin: str = "") -> str:
        """See the port. A variable is bound to no origin."""
        name = reference.removeprefix("env:")
        if not _NAME.fullmatch(name):
            raise Invalid("an environment variable is named as in env:OPENAI_API_KEY")
        if name.startswith(_OURS):
            raise Invalid(
                f"{name} is the platform's own and is sent nowhere",
                hint="give the key a name of its own",
            )
        value = self._environment.get(name)
        if value is None:
            raise NotFound(
                f"the environment variable {name} is not set",
                hint=f"set {name} where `modelyard up` is started, and start it again",
            )
        return usable(value, f"the environment variable {name}")
