"""The paths of the API, and how much of a body or a silence is borne.

Pure.
"""

from typing import Final

STATUS: Final = "/v1/status"
DOCTOR: Final = "/v1/doctor"
NODES: Final = "/v1/nodes"
NODE: Final = "/v1/nodes/{node}"
SERVICES: Final = "/v1/services"
ALLOCATIONS: Final = "/v1/allocations"
STACK: Final = "/v1/stacks/{stack}"
CHANGES: Final = "/v1/stacks/{stack}/changes"
PLAN: Final = "/v1/stacks/{stack}/plan"
HISTORY: Final = "/v1/stacks/{stack}/history"
GENERATION: Final = "/v1/stacks/{stack}/generations/{generation}"
PROGRESS: Final = "/v1/stacks/{stack}/progress"
VOLUMES: Final = "/v1/volumes"
NETWORKS: Final = "/v1/networks"
NETWORK: Final = "/v1/networks/{network}"
VOLUME: Final = "/v1/volumes/{volume}"
FLOATING: Final = "/v1/floating"
FLOATING_ADDRESS: Final = "/v1/floating/{address}"
FLOATING_MOVE: Final = "/v1/floating/{address}/move"
CERTIFICATES: Final = "/v1/certificates"
CERTIFICATE: Final = "/v1/certificates/{certificate}"
AUTHORITY: Final = "/v1/authority"
CLOSED: Final = "/v1/closed/{name}"
WHY: Final = "/v1/why"
LOGS: Final = "/v1/logs"
ACCESS: Final = "/v1/access"
EVENTS: Final = "/v1/events"
IMAGES: Final = "/v1/images"
NET_DOCTOR: Final = "/v1/net/doctor"
NET_SHOW: Final = "/v1/net"
AGENT_LOGS: Final = "/v1/allocations/{id}/logs"
AGENT_ACCESS: Final = "/v1/access"
AGENT_IMAGES: Final = "/v1/images"
AGENT_PROBES: Final = "/v1/probes"

# A document in etcd is at most 1 MiB; as much again for configs and secrets.
BODY_BYTES_MAX: Final = 2 * 1024 * 1024
# A quiet stream sends a blank line this often; a reader that hears nothing for three of them has
# lost its server: a host that vanished sends no reset.
STREAM_HEARTBEAT_S: Final = 5.0
STREAM_SILENCE_S_MAX: Final = 3 * STREAM_HEARTBEAT_S
