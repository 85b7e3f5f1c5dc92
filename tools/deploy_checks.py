"""What deploys Peregrine, looked at without Docker and without a cluster: a step of `./dev test`, run by pytest.

The tools are those of requirements-deploy.txt; the daemons that read configurations are the ones that the step before built.
"""

import functools
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(sys.executable).parent
BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
DAEMONS = ("producer", "processor", "gateway")
OVERLAYS = ("base", "demo", "example")


def run(tool, *args, text=None, env=None):
    """The output of a tool; what it complains about when it refuses."""
    done = subprocess.run([tool, *args], cwd=ROOT, input=text, env=env, text=True, capture_output=True)
    assert done.returncode == 0, f"{Path(tool).name} {' '.join(map(str, args))}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def compose():
    """The compose file as Docker Compose reads it, every profile included."""
    return json.loads(run(TOOLS / "docker-compose", "--profile", "*", "config", "--format", "json"))


@functools.cache
def resources(overlay):
    """The resources of an overlay, as kubectl renders them."""
    return list(yaml.safe_load_all(run(TOOLS / "kubectl", "kustomize", f"deploy/k8s/{overlay}")))


def of_kind(overlay, *kinds):
    return [resource for resource in resources(overlay) if resource["kind"] in kinds]


def drain_s():
    """How long a daemon drains at most."""
    return float(re.search(r"grace_s: ([\d.]+)", (ROOT / "daemon/src/config/sections.rs").read_text())[1])


# --- Against what others say -----------------------------------------------------------------------------------------


def test_compose_file_breaks_the_published_schema():
    run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


def test_dockerfile_has_lint():
    run(TOOLS / "hadolint", "deploy/Dockerfile")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_break_kubernetes_schemas(overlay, tmp_path):
    own = [resource for resource in resources(overlay) if not resource["apiVersion"].startswith("keda.sh/")]
    file = tmp_path / "resources.yaml"
    file.write_text(yaml.safe_dump_all(own))
    run(TOOLS / "kubernetes-validate", "--strict", "--quiet", file)


def test_scaled_object_breaks_kedas_schema():
    (scaled,) = of_kind("example", "ScaledObject")
    taken = ScaledObject.model_validate(scaled).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert taken == scaled, "KEDA would leave fields out that it does not know"


# --- Against ourselves -----------------------------------------------------------------------------------------------


def test_port_is_published_beyond_this_machine(compose):
    ports = {name: port for name, service in compose["services"].items() for port in service.get("ports", [])}
    assert ports, "nothing is published at all"
    assert {name for name, port in ports.items() if port.get("host_ip") != "127.0.0.1"} == set()


def test_image_has_no_exact_version(compose):
    images = {service["image"] for service in compose["services"].values()}
    for workload in of_kind("example", "Deployment", "StatefulSet"):
        images |= {container["image"] for container in workload["spec"]["template"]["spec"]["containers"]}
    images |= set(re.findall(r"^ARG \w+_IMAGE=(.+)", (ROOT / "deploy/Dockerfile").read_text(), re.M))
    assert {image for image in images if not re.search(r":v?\w*-?\d+\.?\d+[^:]*$", image)} == set()
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert {image for image in images if "peregrine/" in image and not image.endswith(f":{version}")} == set()


def test_daemon_is_killed_while_it_drains(compose):
    for name, service in compose["services"].items():
        if "peregrine/" in service["image"]:
            minutes, seconds = re.fullmatch(r"(?:(\d+)m)?(\d+)s", service["stop_grace_period"]).groups("0")
            assert 60 * int(minutes) + int(seconds) > drain_s(), name
    for workload in of_kind("base", "Deployment"):
        pod = workload["spec"]["template"]["spec"]
        pause = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pod["terminationGracePeriodSeconds"] - pause > drain_s(), workload["metadata"]["name"]


def test_scrape_target_is_no_service(compose):
    for file in (ROOT / "deploy/prometheus").glob("prometheus.yml"):
        for job in yaml.safe_load(file.read_text())["scrape_configs"]:
            for discovery in job.get("dns_sd_configs", []):
                assert set(discovery["names"]) <= set(compose["services"]), job["job_name"]


def test_autoscaler_asks_for_an_unknown_metric():
    known = set(re.findall(r"`(peregrine_\w+)`", (ROOT / "docs/metrics.md").read_text()))
    (scaled,) = of_kind("example", "ScaledObject")
    asked = {name for trigger in scaled["spec"]["triggers"] for name in re.findall(r"peregrine_\w+", trigger["metadata"]["query"])}
    assert asked and asked <= known


def test_redis_password_stands_among_the_arguments_or_in_the_environment(tmp_path):
    (redis,) = (each for each in of_kind("example", "StatefulSet") if each["metadata"]["name"] == "redis")
    (container,) = redis["spec"]["template"]["spec"]["containers"]
    assert "secretKeyRef" not in json.dumps(container)
    password = r"""pass "quoted" \ word"""
    (tmp_path / "password").write_text(password)
    # As in the pod, but for where the files lie.
    shell, flag, script = container["args"]
    script = script.replace("/run/secrets/redis", str(tmp_path)).replace("redis-server -", f"redis-server - --port 0 --dir {tmp_path} --unixsocket {tmp_path}/s")
    server = subprocess.Popen([shell, flag, script], stdout=subprocess.DEVNULL)
    try:
        ping = container["readinessProbe"]["exec"]["command"]
        ping[-1] = ping[-1].replace("/run/secrets/redis", str(tmp_path)).replace("redis-cli", f"redis-cli -s {tmp_path}/s")
        deadline = time.monotonic() + 30
        while subprocess.run(ping, stderr=subprocess.DEVNULL).returncode != 0:
            assert server.poll() is None and time.monotonic() < deadline, "Redis does not answer to its password"
            time.sleep(0.1)
        refused = run("redis-cli", "-s", f"{tmp_path}/s", "ping")
        assert "NOAUTH" in refused
        for seen in ("cmdline", "environ"):
            assert b"quoted" not in Path(f"/proc/{server.pid}/{seen}").read_bytes()
    finally:
        server.kill()
        server.wait()


def test_cameras_over_ipv6_are_out_of_reach():
    (policy,) = (each for each in of_kind("base", "NetworkPolicy") if each["metadata"]["name"] == "to-cameras")
    (rule,) = policy["spec"]["egress"]
    assert {to["ipBlock"]["cidr"] for to in rule["to"]} == {"0.0.0.0/0", "::/0"}


def test_dockerfile_names_one_processor_architecture():
    assert not re.findall(r"x86_64|amd64|aarch64|arm64", (ROOT / "deploy/Dockerfile").read_text())


def test_dockerfile_builds_with_other_packages_than_dev():
    packages = run("bash", "-c", r"""source <(sed -n '/^build_packages=(/,/^)/p' dev); printf '%s\n' "${build_packages[@]}" """)
    install = re.search(r"FROM \$\{RUST_IMAGE\} AS build.*?no-install-recommends(.*?)&&", (ROOT / "deploy/Dockerfile").read_text(), re.S)
    assert set(install[1].replace("\\", " ").split()) - {"ca-certificates"} == set(packages.split())


def test_demo_camera_is_another_one_than_the_stacks():
    (camera,) = tomllib.loads((ROOT / "deploy/demo.toml").read_text())["camera"]
    camera["source"]["uri"] = Path(camera["source"]["uri"]).name
    assert camera == tomllib.loads((ROOT / "stack/demo.toml").read_text())


def test_onnxruntime_differs_between_images_and_dev(compose):
    wanted = re.search(r"^onnxruntime==(\S+)", (ROOT / "tools/requirements-demo.txt").read_text(), re.M)[1]
    assert f"libonnxruntime.so.{wanted} " in (ROOT / "deploy/Dockerfile").read_text()
    assert f"onnxruntime-gpu=={wanted} " in (ROOT / "deploy/compose/requirements-gpu.txt").read_text()
    assert compose["services"]["processor-gpu"]["environment"]["ORT_DYLIB_PATH"].endswith(f".so.{wanted}")


# --- Against the daemons ---------------------------------------------------------------------------------------------


def check_config(daemon, env, config=None):
    """Has the daemon read its configuration, as the container gives it."""
    own = {key: value for key, value in env.items() if key.startswith("PEREGRINE_")}
    image = {"PEREGRINE_MODEL__PATH": "model.onnx"} if daemon == "processor" else {}
    image |= {"PEREGRINE_GATEWAY__LISTEN": "0.0.0.0:8080"} if daemon == "gateway" else {}
    run(BINARIES / daemon, *(["--config", config] if config else []), "--check-config", env={**os.environ, **image, **own})


@pytest.mark.parametrize("daemon", DAEMONS)
def test_daemon_refuses_what_compose_gives_it(compose, daemon):
    service = compose["services"][daemon]
    given = service.get("command") or []
    sources = {volume["target"]: volume["source"] for volume in service.get("volumes", [])}
    check_config(daemon, service["environment"], sources[given[1]] if given else None)


@pytest.mark.parametrize("daemon", DAEMONS)
@pytest.mark.parametrize("overlay", ["base", "example"])
def test_daemon_refuses_what_kubernetes_gives_it(overlay, daemon, tmp_path):
    (tmp_path / "admin").write_text("a-token-of-sixteen-letters-or-more")
    (given,) = [config for config in of_kind(overlay, "ConfigMap") if re.fullmatch(rf"{daemon}-\w+", config["metadata"]["name"])]
    config = tmp_path / f"{daemon}.toml"
    config.write_text(given["data"][config.name].replace("/run/secrets/peregrine", str(tmp_path)))
    check_config(daemon, {"PEREGRINE_REDIS__URL": "redis://redis:6379"}, config)
