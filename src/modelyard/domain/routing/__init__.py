"""Which endpoint gets a request. Decisions only: the caller keeps the state and tells the time.

`Router` is all a gateway process needs for one service; `rules` holds the rules, `candidates` what
is known of endpoints, `prefixes` what they are believed to have cached.
"""

from modelyard.domain.routing.candidates import Candidate
from modelyard.domain.routing.prefixes import PrefixIndex
from modelyard.domain.routing.router import Router, Work
from modelyard.domain.routing.rules import RULES, Choice, Request, Rule, rule_named
from modelyard.domain.routing.weighted import Weighted, differ

__all__ = [
    "RULES",
    "Candidate",
    "Choice",
    "PrefixIndex",
    "Request",
    "Router",
    "Rule",
    "Weighted",
    "Work",
    "differ",
    "rule_named",
]
