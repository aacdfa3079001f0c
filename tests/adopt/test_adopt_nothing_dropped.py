"""Every field of a Compose service is carried over, or told: none is ever dropped without a word."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.adopt import compose
from atoll.adopt.choices import settle
from atoll.adopt.text import service_text
from atoll.adopt.tree import Tree

# The fields of the Compose specification's `service`, each with a value that is not its default.
SAMPLES: dict[str, Any] = {
    "annotations": {"a": "b"}, "attach": False, "blkio_config": {"weight": 300}, "build": {"args": {"A": "1"}},
    "cap_add": ["ALL"], "cap_drop": ["ALL"], "cgroup": "host", "cgroup_parent": "m", "command": "python app.py --fast",
    "configs": ["site"], "container_name": "c", "cpu_count": 2, "cpu_percent": 50, "cpu_period": "20ms",
    "cpu_quota": 5000, "cpu_rt_period": "1ms", "cpu_rt_runtime": "1ms", "cpu_shares": 73, "cpus": "0.5", "cpuset": "0",
    "credential_spec": {"file": "x.json"}, "depends_on": {"api": {"condition": "service_healthy"}},
    "deploy": {"resources": {"limits": {"cpus": "0.5", "pids": 4}}}, "develop": {"watch": []}, "devices": ["/dev/x"],
    "device_cgroup_rules": ["c 1:3 mr"], "dns": "8.8.8.8", "dns_opt": ["use-vc"], "dns_search": "example.com",
    "domainname": "d", "entrypoint": "python app.py --slow", "env_file": "web.env", "environment": {"COLOUR": "red"},
    "expose": ["4000"], "external_links": ["redis"], "extra_hosts": ["a:1.2.3.4"], "gpus": "all", "group_add": ["mail"],
    "healthcheck": {"test": "curl http://localhost:8000/well"}, "hostname": "h", "image": "acme/web:1", "init": True,
    "ipc": "host", "isolation": "default", "label_file": "l", "labels": {"a": "b"}, "links": ["api:backend"],
    "logging": {"driver": "syslog"}, "mac_address": "02:42:ac:11:65:43", "mem_limit": "64m", "mem_reservation": "32m",
    "mem_swappiness": 20, "memswap_limit": "1g", "models": ["llm"], "network_mode": "host",
    "networks": {"back": {"aliases": ["w"]}}, "oom_kill_disable": True, "oom_score_adj": 5, "pid": "host",
    "pids_limit": 10, "platform": "linux/arm64", "ports": ["80:8000"], "post_start": [{"command": "x"}],
    "pre_stop": [{"command": "x"}], "privileged": True, "profiles": ["dev"], "provider": {"type": "x"},
    "pull_policy": "always", "read_only": True, "restart": "no", "runtime": "runc", "scale": 3, "secrets": ["key"],
    "security_opt": ["label:disable"], "shm_size": "256mb", "stdin_open": True, "stop_grace_period": "40s",
    "stop_signal": "SIGINT", "storage_opt": {"size": "1G"}, "sysctls": {"a": "1"}, "tmpfs": "/run", "tty": True,
    "ulimits": {"nofile": 4096}, "use_api_socket": True, "user": "node", "userns_mode": "host", "uts": "host",
    "volumes": ["data:/data"], "volumes_from": ["api"], "working_dir": "/srv",
}  # fmt: skip
FILES = {
    "web/app.py": "from flask import Flask\napp = Flask(__name__)\n",
    "web/requirements.txt": "flask\n",
    "web/Dockerfile": 'FROM python:3.12\nWORKDIR /app\nEXPOSE 8000\nCMD ["python", "app.py", "--port", "8000"]\n',
    "api/main.py": "app = FastAPI()\n",
    "api/requirements.txt": "fastapi\nuvicorn\n",
    "web.env": "SIZE=9\n",
}
JUNK = st.recursive(
    st.integers(1, 9) | st.sampled_from(["x", "1:2:3:4", "80-:90", "50x"]),
    lambda inner: st.lists(inner, min_size=1, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, min_size=1),
    max_leaves=3,
)


def outcome(service: dict[str, Any]) -> tuple[list[str], list[str]]:
    """All that a person gets to see: the files' text, and what is said."""
    build = service.get("build")
    own = {**service, "build": {"context": "web", **(build if isinstance(build, dict) else {})}}
    services = {"web": own, "api": {"build": "api", "expose": ["80"]}, "db": {"image": "postgres"}}
    texts = {**FILES, "compose.yaml": json.dumps({"services": services})}
    tree = Tree(texts, lambda name: texts[name].encode(), "shop")
    findings = compose.read(tree, "compose.yaml", ["dev"])
    settle(findings, {})
    said = [f"{each.service} {each.what} {each.fix}" for each in (*findings.left, *findings.unneeded)]
    return [service_text(found) for found in findings.services], said


@pytest.mark.parametrize("key", SAMPLES)
def test_a_field_is_carried_over_or_told(key: str) -> None:
    assert outcome({key: SAMPLES[key]}) != outcome({})


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sets(st.sampled_from(sorted(SAMPLES)), min_size=2, max_size=9).map(sorted), st.data())
def test_no_field_hides_another(keys: list[str], data: st.DataObject) -> None:
    service = {key: SAMPLES[key] for key in keys}
    gone = data.draw(st.sampled_from(keys))
    hidden = gone == "command" and "entrypoint" in keys and SAMPLES["command"] == SAMPLES["entrypoint"]
    assert hidden or outcome(service) != outcome({key: value for key, value in service.items() if key != gone})


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted({*SAMPLES} - {"build"})) | st.just("brand_new_field"), JUNK)
def test_a_field_of_a_wrong_kind_is_told(key: str, value: Any) -> None:
    assert outcome({key: value}) != outcome({}), (key, value)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["build", "deploy", "healthcheck", "ulimits"]),
    st.sampled_from(["brand_new", "args", "cache_from", "placement", "start_interval", "memlock", "no_cache"]),
)
def test_a_field_of_a_table_is_told(key: str, inner: str) -> None:
    test = {"test": "curl http://localhost:8000/"} if key == "healthcheck" else {}
    value = "10s" if inner == "start_interval" else "1"
    assert outcome({key: {**test, inner: value}}) != outcome({key: test})


def test_what_is_told_says_file_line_and_field() -> None:
    text = "services:\n  web:\n    build: web\n    cap_add:\n      - ALL\n"
    files = {**FILES, "compose.yaml": text}
    findings = compose.read(Tree(files, lambda name: files[name].encode(), "shop"), "compose.yaml")
    assert [(str(place), each.what) for each in findings.left for place in each.places] == [
        ("compose.yaml:4 services.web.cap_add", "cap_add (ALL) is not carried over")
    ]
