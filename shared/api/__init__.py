"""What the HTTP API speaks: paths and records, for the server, our client and other programs.

What people ask (`asked`), what a change would do or did (`foreseen`), what is (`views`,
`networks`), where images are (`images`), what passes between nodes and who reaches whom (`net`).

Pure. JSON; a stream is one JSON object a line. Served by every scheduler over mutual TLS on
settings.API_PORT and over the unix socket <run_dir>/api.sock (mode 0600).

    GET    /v1/status                                       ClusterView
    GET    /v1/doctor                                       Diagnosis
    GET    /v1/nodes                                        NodeList
    GET    /v1/nodes/{node}                                 NodeDetail
    PUT    /v1/nodes/{node}                 NodeChange  ->  NodeDetail
    DELETE /v1/nodes/{node}                             ->  NodeDetail
    GET    /v1/services?stack=                              ServiceList
    GET    /v1/allocations?stack=&service=&node=            AllocationList
    PUT    /v1/stacks/{stack}              StackUpload  ->  Accepted
    DELETE /v1/stacks/{stack}                           ->  Accepted
    POST   /v1/stacks/{stack}/changes    ChangeRequest  ->  Accepted
    POST   /v1/stacks/{stack}/plan         StackUpload  ->  PlanView
    GET    /v1/stacks/{stack}/history                       HistoryView
    GET    /v1/stacks/{stack}/generations/{generation}      model.Stack
    GET    /v1/stacks/{stack}/progress?after=REVISION       stream of StackProgress, ends when done
    GET    /v1/volumes                                      VolumeList
    DELETE /v1/volumes/{volume}?force=                  ->  VolumeView
    GET    /v1/networks                                     NetworkList
    POST   /v1/networks                   model.Network ->  NetworkView
    DELETE /v1/networks/{network}                       ->  NetworkView
    GET    /v1/floating                                     FloatingList
    PUT    /v1/floating/{address}        FloatingAsked  ->  FloatingView
    DELETE /v1/floating/{address}                       ->  FloatingView
    POST   /v1/floating/{address}/move    FloatingMove  ->  FloatingView
    GET    /v1/certificates                                 CertificateList
    PUT    /v1/certificates/{certificate} CertificateUpload -> CertificateView
    DELETE /v1/certificates/{certificate}               ->  CertificateView
    GET    /v1/authority                                    AuthorityView
    PUT    /v1/closed/{stack}[.{service}]               ->  ClosedView
    DELETE /v1/closed/{stack}[.{service}]               ->  ClosedView
    GET    /v1/why?stack=&service=&allocation=              WhyView
    GET    /v1/logs?stack=&service=&allocation=&follow=&tail=   stream of LogEntry
    GET    /v1/access?stack=&service=&ago=&follow=&tail=    stream of AccessEntry
    GET    /v1/events?follow=                               stream of model.Event
    PUT    /v1/images?name=                     archive ->  stream of ImagePush, a node each
    GET    /v1/images?name=                                 ImageHolders
    GET    /v1/net                                          NetView
    GET    /v1/net/doctor                                   NetDiagnosis

Every refusal is an ErrorBody with a 4xx or 5xx status. In a stream a blank line says only that the
stream lives, and a last line that is an ErrorBody says why it broke off. The agents' own API
(settings.AGENT_PORT) has

    GET    /v1/allocations/{id}/logs?follow=&tail=          stream of LogEntry
    GET    /v1/access?service=&since=&follow=&tail=         stream of AccessEntry
    PUT    /v1/images?name=                     archive ->  stream of one ImageHeld
    GET    /v1/images?name=                                 ImageHeld
    POST   /v1/probes                     ProbeRequest  ->  ProbeAnswer

An archive is the body itself, a docker-archive or oci-archive tar file; with `name` the image is
called so and not as the archive says. The same archive again changes nothing.
"""

from shared.api.access import AccessEntry
from shared.api.asked import (
    Abort,
    Accepted,
    Change,
    ChangeRequest,
    Promote,
    Restart,
    Rollback,
    Scale,
    StackUpload,
    Start,
    Stop,
)
from shared.api.edge import (
    AuthorityView,
    CertificateList,
    CertificateUpload,
    CertificateView,
    ClosedView,
)
from shared.api.floating import FloatingAsked, FloatingList, FloatingMove, FloatingView
from shared.api.foreseen import (
    Fact,
    FieldChange,
    GenerationView,
    Happening,
    HistoryView,
    Move,
    PlanView,
    ServiceChange,
    SlotStep,
    WhyView,
)
from shared.api.images import ImageHeld, ImageHolders, ImagePush
from shared.api.net import (
    PROBES_MAX,
    EntryView,
    FilterFact,
    KernelFacts,
    MemberView,
    NetCell,
    NetDiagnosis,
    NetView,
    Probe,
    ProbeAnswer,
    ProbeKind,
    ProbeRequest,
    ProbeResult,
    ProbeState,
    ReachView,
    RouteFact,
    ServiceNetView,
)
from shared.api.networks import NetworkList, NetworkView, PoolView
from shared.api.nodes import Left, NodeChange, NodeDetail, NodeList, NodeView
from shared.api.paths import (
    ACCESS,
    AGENT_ACCESS,
    AGENT_IMAGES,
    AGENT_LOGS,
    AGENT_PROBES,
    ALLOCATIONS,
    AUTHORITY,
    BODY_BYTES_MAX,
    CERTIFICATE,
    CERTIFICATES,
    CHANGES,
    CLOSED,
    DOCTOR,
    EVENTS,
    FLOATING,
    FLOATING_ADDRESS,
    FLOATING_MOVE,
    GENERATION,
    HISTORY,
    IMAGES,
    LOGS,
    NET_DOCTOR,
    NET_SHOW,
    NETWORK,
    NETWORKS,
    NODE,
    NODES,
    PLAN,
    PROGRESS,
    SERVICES,
    STACK,
    STATUS,
    STREAM_HEARTBEAT_S,
    STREAM_SILENCE_S_MAX,
    VOLUME,
    VOLUMES,
    WHY,
)
from shared.api.views import (
    AllocationList,
    AllocationView,
    ClusterView,
    Diagnosis,
    ErrorBody,
    EtcdMemberView,
    Finding,
    Level,
    LogEntry,
    ServiceList,
    ServiceView,
    SlotView,
    StackProgress,
    VolumeList,
    VolumeView,
)

__all__ = [
    "ACCESS",
    "AGENT_ACCESS",
    "AGENT_IMAGES",
    "AGENT_LOGS",
    "AGENT_PROBES",
    "ALLOCATIONS",
    "AUTHORITY",
    "BODY_BYTES_MAX",
    "CERTIFICATE",
    "CERTIFICATES",
    "CHANGES",
    "CLOSED",
    "DOCTOR",
    "EVENTS",
    "FLOATING",
    "FLOATING_ADDRESS",
    "FLOATING_MOVE",
    "GENERATION",
    "HISTORY",
    "IMAGES",
    "LOGS",
    "NETWORK",
    "NETWORKS",
    "NET_DOCTOR",
    "NET_SHOW",
    "NODE",
    "NODES",
    "PLAN",
    "PROBES_MAX",
    "PROGRESS",
    "SERVICES",
    "STACK",
    "STATUS",
    "STREAM_HEARTBEAT_S",
    "STREAM_SILENCE_S_MAX",
    "VOLUME",
    "VOLUMES",
    "WHY",
    "Abort",
    "Accepted",
    "AccessEntry",
    "AllocationList",
    "AllocationView",
    "AuthorityView",
    "CertificateList",
    "CertificateUpload",
    "CertificateView",
    "Change",
    "ChangeRequest",
    "ClosedView",
    "ClusterView",
    "Diagnosis",
    "EntryView",
    "ErrorBody",
    "EtcdMemberView",
    "Fact",
    "FieldChange",
    "FilterFact",
    "Finding",
    "FloatingAsked",
    "FloatingList",
    "FloatingMove",
    "FloatingView",
    "GenerationView",
    "Happening",
    "HistoryView",
    "ImageHeld",
    "ImageHolders",
    "ImagePush",
    "KernelFacts",
    "Left",
    "Level",
    "LogEntry",
    "MemberView",
    "Move",
    "NetCell",
    "NetDiagnosis",
    "NetView",
    "NetworkList",
    "NetworkView",
    "NodeChange",
    "NodeDetail",
    "NodeList",
    "NodeView",
    "PlanView",
    "PoolView",
    "Probe",
    "ProbeAnswer",
    "ProbeKind",
    "ProbeRequest",
    "ProbeResult",
    "ProbeState",
    "Promote",
    "ReachView",
    "Restart",
    "Rollback",
    "RouteFact",
    "Scale",
    "ServiceChange",
    "ServiceList",
    "ServiceNetView",
    "ServiceView",
    "SlotStep",
    "SlotView",
    "StackProgress",
    "StackUpload",
    "Start",
    "Stop",
    "VolumeList",
    "VolumeView",
    "WhyView",
]
