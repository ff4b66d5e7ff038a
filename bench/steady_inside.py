"""Runs inside a virtual host for bench/steady.py: prints what it uses."""

import http.client
import json
import os
import ssl
import time
from pathlib import Path

from shared.settings import DEFAULT_PATH, ETCD_CLIENT_PORT, load
from shared.tls import client_context

# Writes of any kind go through proposals; leases are renewed without one.
COUNTERS = (
    "etcd_server_proposals_committed_total",
    "etcd_debugging_mvcc_put_total",
    "etcd_mvcc_put_total",
    "etcd_debugging_mvcc_delete_total",
    "etcd_mvcc_txn_total",
    "etcd_debugging_lease_renewed_total",
    "etcd_debugging_mvcc_current_revision",
)
PARTS = {
    "agent": "-m node_agent --config",
    "names": "-m node_agent.names",
    "scheduler": "-m scheduler",
    "supervisor": "-m deploy.host",
    "etcd": "etcd --name",
    "haproxy": "haproxy -W",
}


def counters(context: ssl.SSLContext) -> dict[str, float]:
    talk = http.client.HTTPSConnection("127.0.0.1", ETCD_CLIENT_PORT, context=context, timeout=5)
    talk.request("GET", "/metrics")
    lines = talk.getresponse().read().decode().splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name: float(found[name]) for name in COUNTERS if name in found}


def parts() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            stat = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # It has ended meanwhile.
        for part, words in PARTS.items():
            if words in line and "respawn" not in line and "setpriv" not in line:
                one = found.setdefault(part, {"rss_bytes": 0.0, "cpu_s": 0.0})
                one["rss_bytes"] += int(stat[21]) * page
                one["cpu_s"] += (int(stat[11]) + int(stat[12])) / tick
    return found


def main() -> None:
    tls = load(DEFAULT_PATH).tls
    assert tls is not None, "every lab has certificates"
    record = {"at_s": time.monotonic(), "counted": counters(client_context(tls)), "parts": parts()}
    print(json.dumps(record))


if __name__ == "__main__":
    main()
