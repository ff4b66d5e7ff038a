"""Every timing of failure detection, in one table: three profiles for three kinds of network.

Pure. All nodes of a cluster have the same profile. How fast a host is given up is a bargain between
the seconds that its users wait and the times that it was alive after all; each profile strikes it
for another network.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """One profile.

    Attributes:
        probe_s: between two probes of a peer that answers. Each is two packets there and two back.
        probe_again_s: between two probes once an answer is overdue: evidence is gathered fast where
            there is reason to, and nowhere else.
        silent_s: neither the agent nor the kernel has answered a probe sent this long ago or later:
            the host is unreachable. Several times the round trip, and longer than the pauses of a
            busy machine's kernel (not of its processes: those do not answer ICMP).
        agent_silent_s: only the kernel answers: the agent is down. Longer than a restart of it.
        lease_ttl_s: of an agent's session. etcd grants no less than 1.5 elections; exclusive work
            stands still for about this long when its host dies.
        grace_s: after a session's end, before the node is lost: an agent that was only slow comes
            back within it.
        fence_margin_s: exclusive containers end this much before their lease can: clocks that run
            1 % apart over a lease, and the time the kernel takes to end a container.
        claim_margin_s: who finds that the lease of a claim has ended waits this much longer.
        contact_s: a holder of floating addresses drops them when it has no answer to any probe that
            it sent less than this ago, and none from etcd. Longer than two lost probes; by far
            shorter than what others wait for: see takeover_s.
        takeover_s: who claims a floating address of a host that is unreachable, by its watchers'
            word, waits this much longer before it answers it. Longer than contact_s and the time
            that the holder takes to drop it (0.1 s), whatever it heard last before the claim.
        address_grace_s: who finds that the lease of a floating address's claim has ended waits
            this much longer: the holder may have it for as long without a lease. An agent's restart
            and an election of etcd fit into it, and the kernel, which counts in whole seconds.
        level_s: nodes, claims and suspicions have been as they are for this long before a floating
            address moves to a node that has two fewer, and every move begins this anew. Longer than
            a node that flaps is mistrusted: a move ends connections, and waiting costs nothing.
        leader_ttl_s: of the leader's lease, should nobody who could revoke it notice its end.
        boot_patience_s: an agent that starts waits this long for etcd to say what it should run
            before it starts again what it ran last: a host that was away must not bring back what
            has moved.
        flap_window_s: losses of a node within this count as flapping.
        flap_base_s: the second loss within the window costs the node this much trust, each further
            one twice as much as the one before.
        flap_limit_s: no node is mistrusted for longer.
        etcd_answer_s: how long the answer to a write may take before nobody knows what became of
            it. A write that was with a leader of etcd that died is never answered: the sooner it is
            looked up and written again, the better; but longer than a busy disk takes.
        etcd_silent_s: what was sent to another host's member of etcd for so long without its kernel
            acknowledging anything ends the connection, and all goes on at the next member; while a
            stream runs something is sent every probe_s. Longer than silent_s, for TCP sends
            again only 0.2 and 0.4 s later; to be wrong costs a reconnection.
        etcd_home_s: the member of etcd on a client's own host has answered for so long: what runs
            at another's comes back. Longer than a member lives that crashes as it starts.
        heartbeat_ms: etcd's --heartbeat-interval: about the round trip between members, or more.
        election_ms: etcd's --election-timeout: five to ten heartbeats. Below silent_s, so that who
            suspects etcd's leader soon finds another one to tell. The smallest lease
            is ceil(1.5 x this).
    """

    probe_s: float
    probe_again_s: float
    silent_s: float
    agent_silent_s: float
    lease_ttl_s: float
    grace_s: float
    fence_margin_s: float
    claim_margin_s: float
    contact_s: float
    takeover_s: float
    address_grace_s: float
    level_s: float
    leader_ttl_s: float
    boot_patience_s: float
    flap_window_s: float
    flap_base_s: float
    flap_limit_s: float
    etcd_answer_s: float
    etcd_silent_s: float
    etcd_home_s: float
    heartbeat_ms: int
    election_ms: int


# One segment, round trips below a millisecond.
LAN: Final = Timing(
    probe_s=0.2,
    probe_again_s=0.05,
    silent_s=0.3,
    agent_silent_s=1.0,
    lease_ttl_s=2.0,
    grace_s=0.5,
    fence_margin_s=0.3,
    claim_margin_s=0.1,
    contact_s=0.28,
    takeover_s=0.4,
    address_grace_s=4.0,
    level_s=90.0,
    leader_ttl_s=2.0,
    boot_patience_s=5.0,
    flap_window_s=300.0,
    flap_base_s=2.0,
    flap_limit_s=60.0,
    etcd_answer_s=0.25,
    etcd_silent_s=0.5,
    etcd_home_s=5.0,
    heartbeat_ms=50,
    election_ms=250,
)
# Sites of one region, round trips up to some 50 ms, now and then a packet lost.
WAN: Final = Timing(
    probe_s=0.5,
    probe_again_s=0.2,
    silent_s=1.5,
    agent_silent_s=2.0,
    lease_ttl_s=5.0,
    grace_s=2.0,
    fence_margin_s=0.6,
    claim_margin_s=0.3,
    contact_s=1.2,
    takeover_s=1.4,
    address_grace_s=6.0,
    level_s=150.0,
    leader_ttl_s=5.0,
    boot_patience_s=10.0,
    flap_window_s=600.0,
    flap_base_s=5.0,
    flap_limit_s=120.0,
    etcd_answer_s=1.5,
    etcd_silent_s=1.5,
    etcd_home_s=10.0,
    heartbeat_ms=200,
    election_ms=1400,
)
# Machines that stand still for seconds: overcommitted hypervisors, snapshots, live migration.
PATIENT: Final = Timing(
    probe_s=1.0,
    probe_again_s=0.5,
    silent_s=6.0,
    agent_silent_s=6.0,
    lease_ttl_s=15.0,
    grace_s=10.0,
    fence_margin_s=1.5,
    claim_margin_s=1.0,
    contact_s=4.0,
    takeover_s=4.5,
    address_grace_s=15.0,
    level_s=900.0,
    leader_ttl_s=15.0,
    boot_patience_s=30.0,
    flap_window_s=1800.0,
    flap_base_s=15.0,
    flap_limit_s=600.0,
    etcd_answer_s=2.0,
    etcd_silent_s=2.0,
    etcd_home_s=30.0,
    heartbeat_ms=500,
    election_ms=5000,
)
PROFILES: Final[Mapping[str, Timing]] = MappingProxyType(
    {"lan": LAN, "wan": WAN, "patient": PATIENT}
)
DEFAULT_PROFILE: Final = "lan"
