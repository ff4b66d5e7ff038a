"""HAProxy's figures get the names that people know."""

from node_agent.gateway.metrics import named
from node_agent.gateway.slots import Slot, Table
from shared.model import AllocId

TABLES = {
    "shop.web": Table(slots=(Slot(number=1, allocation=AllocId("shop.web.1.a")), Slot(number=2)))
}


def test_backends_get_their_service_and_servers_their_replica() -> None:
    text = (
        "# HELP haproxy_server_bytes_in_total Bytes.\n"
        "# TYPE haproxy_server_bytes_in_total counter\n"
        'haproxy_backend_bytes_in_total{proxy="shop.web.8080:once"} 5\n'
        'haproxy_server_bytes_in_total{proxy="shop.web.to80",server="s1"} 7\n'
        'haproxy_server_bytes_in_total{proxy="shop.web.to80",server="s2"} 0\n'
        'haproxy_frontend_bytes_in_total{proxy="hafen:http"} 1\n'
        "haproxy_process_nbthread 2\n"
    )
    assert named(text, TABLES) == (
        "# HELP haproxy_server_bytes_in_total Bytes.\n"
        "# TYPE haproxy_server_bytes_in_total counter\n"
        'haproxy_backend_bytes_in_total{proxy="shop.web.8080:once",stack="shop",service="web"} 5\n'
        'haproxy_server_bytes_in_total{proxy="shop.web.to80",server="s1",stack="shop",'
        'service="web",replica="shop.web.1.a"} 7\n'
        'haproxy_frontend_bytes_in_total{proxy="hafen:http"} 1\n'
        "haproxy_process_nbthread 2\n"
    )
