"""Amazon Bedrock's Converse, at the endpoint's side.

Clients of Bedrock bring AWS's signatures for AWS's addresses, so none of them talks to a gateway;
there is nothing to read of a client's, and nothing to write for one.
"""

from modelyard.gateway.dialects.converse.dialect import Converse, EndpointDialect

CONVERSE: EndpointDialect = Converse()

__all__ = ["CONVERSE", "Converse", "EndpointDialect"]
