"""Compose files to work on: one that says nearly all that hafen understands, and others."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[4]
# Other people's files: they stay out of the project.
OTHERS: Final = ROOT.parent / "shared" / "data" / "compose"
# What their files need to be loaded.
VARIABLES: Final = dict.fromkeys(
    (
        *("TIMEZONE", "PIHOLE_PW", "PIHOLE_ROUTER_IP", "PIHOLE_NETWORK_DOMAIN"),
        *("PIHOLE_REVERSE_DNS", "PIHOLE_HOST_IP", "PIHOLE_HOST_IPV6"),
    ),
    "value",
)
BESIDE: Final = {
    "db/password.txt": "hunter2",
    "web.env": "A=1\nB='two words'\nC=${A}\n",
    "raw.env": "D='$not a variable'\n",
    "web.labels": "team=shop\n",
    "app.conf": "port = 80\n",
    "base.yaml": "services:\n  base:\n    image: base:1\n    env_file: web.env\n"
    "    volumes: ['./etc:/etc/app:ro']\n    extends: {service: root}\n"
    "  root: {image: root:1, cap_add: [CHOWN], labels: {from: root}}\n",
    "more/compose.yaml": "include: [even.yaml]\nservices: {log: {image: 'log:${TAG}'}}\n",
    "more/even.yaml": "services: {even: {image: even:1}}\nvolumes: {spare: }\n",
    "more/.env": "TAG=7\n",
}
WHOLE: Final = """\
name: shop
x-env: &env {ONE: 1, TWO: "${TWO:-two}"}
include:
  - more/compose.yaml
services:
  web:
    image: registry.example.com/shop/web:${TAG:-1}
    build: {context: ./web, target: run, args: {A: 1}, tags: ["shop/web:2"], labels: [a=b]}
    extends: {file: base.yaml, service: base}
    command: ["serve", "--port", "$$PORT"]
    entrypoint: /bin/sh -c 'exec "$$@"'
    environment: {<<: *env, C: true, D: }
    env_file: [web.env, {path: raw.env, format: raw}, {path: no.env, required: false}]
    labels: [team=shop, empty]
    label_file: web.labels
    ports:
      - 8080-8081:80-81
      - "53:53/udp"
      - {target: 443, published: "8443", app_protocol: http, mode: ingress}
      - {target: 53, published: 53, protocol: tcp, mode: host}
    expose: [9000, "9001-9002/tcp"]
    healthcheck: {test: [CMD-SHELL, "wget -q localhost"], interval: 1m30s, retries: 2}
    stop_grace_period: 20s
    stop_signal: SIGINT
    working_dir: /srv
    user: "1000:1000"
    group_add: [audio, 44]
    init: true
    tty: true
    stdin_open: true
    platform: linux/amd64
    pull_policy: always
    volumes:
      - data:/data
      - ./etc:/etc/web:ro
      - /var/cache/web
      - {type: volume, source: named, target: /named, volume: {nocopy: true, subpath: a/b}}
      - {type: bind, source: ./src, target: /src, bind: {create_host_path: false}}
      - {type: tmpfs, target: /run/web, tmpfs: {size: 64m, mode: 0700}}
    tmpfs: [/tmp, "/scratch:size=16m,mode=1777"]
    configs: [app, {source: inline, target: /etc/inline, mode: 0440, uid: "7", gid: "8"}]
    secrets: [{source: password, target: db}]
    networks: {front: {aliases: [w, WWW.example.com], priority: 5}, back: , given: }
    hostname: web
    domainname: example.com
    extra_hosts: ["db:10.0.0.1", "gw=host-gateway"]
    dns: 10.0.0.53
    dns_search: [example.com]
    dns_opt: ["ndots:2"]
    cap_add: [NET_ADMIN]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:false", "seccomp:unconfined"]
    devices: ["/dev/fuse:/dev/fuse:rw", {source: /dev/kvm, target: /dev/kvm, permissions: r}]
    device_cgroup_rules: ["c 1:3 mr"]
    read_only: true
    ulimits: {nofile: {soft: 1024, hard: 2048}, nproc: 512}
    sysctls: ["net.core.somaxconn=1024"]
    shm_size: 128m
    pid: host
    cpuset: 0-1
    cpu_shares: 512
    mem_limit: 256m
    memswap_limit: 512m
    mem_swappiness: 10
    oom_score_adj: -100
    blkio_config: {weight: 300, device_read_bps: [{path: /dev/sda, rate: 1mb}]}
    restart: always
    links: ["db:database", db]
    depends_on:
      db: {condition: service_healthy, restart: true}
      setup: {condition: service_completed_successfully}
    logging: {driver: json-file}
    deploy:
      mode: replicated
      replicas: 3
      labels: {tier: front}
      endpoint_mode: vip
      resources:
        limits: {cpus: "0.5", memory: 256M, pids: 100}
        reservations: {cpus: 0.1, memory: 64M, devices: [{capabilities: [gpu], count: 1}]}
      placement:
        constraints: ["node.labels.zone == north", node.hostname != a]
        preferences: [{spread: node.labels.rack}]
        max_replicas_per_node: 2
      restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3, window: 1m}
      update_config: {parallelism: 2, delay: 1s, failure_action: pause, order: stop-first}
      rollback_config: {parallelism: 0, max_failure_ratio: 0.5, failure_action: continue}
    x-hafen:
      standby: 1
      update: {progress_deadline: 5m, canary: 1, auto_promote: 10m}
      affinity: address
  db:
    image: postgres
    healthcheck: {test: pg_isready}
    volumes: ["data:/var/lib/postgresql/data"]
    secrets: [password]
    container_name: shop-db
    networks: {back: {ipv4_address: 10.1.2.3}}
    deploy: {endpoint_mode: dnsrr}
    x-hafen: {exclusive: true}
  setup: {image: setup, restart: "no", depends_on: [db], profiles: []}
  monitor: {image: monitor, network_mode: host, ports: ["9100:9100"]}
  sums: {image: sums, network_mode: none}
  nightly:
    image: backup
    gpus: 1
    x-hafen:
      cron: {schedule: "0 3 * * *", timezone: Europe/Berlin, overlap: replace}
      job: {max_concurrent: 1}
  debug: {image: debug, profiles: [debug], depends_on: [web]}
volumes:
  data:
  named: {name: elsewhere}
configs:
  app: {file: app.conf}
  inline: {content: "a = ${TWO:-two}"}
secrets:
  password: {file: db/password.txt}
networks:
  front:
    driver_opts: {com.docker.network.driver.mtu: 1400}
    ipam: {config: [{subnet: "fd00:1::/64"}]}
  back: {driver: bridge, internal: true, ipam: {config: [{subnet: 10.1.0.0/16}]}}
  given: {external: {name: elsewhere}}
  unused: {labels: [a=b]}
"""


def others() -> list[Path]:
    """Return other people's files, where they are."""
    return sorted(OTHERS.glob("*.yaml"))
