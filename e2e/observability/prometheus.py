"""A private Prometheus with this project's configuration and rules, which scrapes a running stack, its Redis and this machine."""

import json
import os
import re
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy/prometheus"
DASHBOARDS = sorted((ROOT / "grafana/dashboards").glob("*.json"))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def fetch(url, data=None, headers=None, method=None):
    request = urllib.request.Request(url, data, headers or {}, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


class Stack:
    """A stack that somebody started, by the socket beside it."""

    def __init__(self, control):
        self.control = control.split()
        self.sockets = Path(Path(self.control[self.control.index("--run-dir") + 1], "control").read_text()).parent

    def ctl(self, *command):
        return subprocess.run([*self.control, *command], check=True, capture_output=True, text=True).stdout

    def processes(self):
        """Name to process id and address of metrics; none where it does not run."""
        found = {}
        for line in self.ctl("status").splitlines():
            pid, admin = re.search(r"pid (\d+)", line), re.search(r"http://([^/]+)/metrics", line)
            found[line.split()[0]] = (pid and int(pid[1]), admin and admin[1])
        return found

    def redis(self, *command):
        redis = ["redis-cli", "-s", str(self.sockets / "redis.sock"), *command]
        return subprocess.run(redis, check=True, capture_output=True, text=True).stdout


class Prometheus:
    """Runs from `with` on. `edit` may change each rule; `interval` is the seconds between two scrapes."""

    def __init__(self, stack, folder, edit=lambda rule: None, interval=1):
        self.stack, self.folder, self.edit, self.interval = stack, Path(folder), edit, interval
        self.url = f"http://127.0.0.1:{free_port()}"
        self.exporters = {"redis": f"127.0.0.1:{free_port()}", "node": f"127.0.0.1:{free_port()}"}
        self.children, self.ended = [], threading.Event()

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_configuration()
        self.write_targets()
        threading.Thread(target=self.follow_targets, daemon=True).start()
        self.spawn("prometheus-redis-exporter", "-web.listen-address", self.exporters["redis"],
                   "-redis.addr", f"unix://{self.stack.sockets}/redis.sock", "-connection-timeout", "500ms")
        self.spawn("prometheus-node-exporter", f"--web.listen-address={self.exporters['node']}")
        self.spawn("prometheus", f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data",
                   f"--web.listen-address={self.url.removeprefix('http://')}")
        wait_for(lambda: fetch(f"{self.url}/-/ready"), 120, "Prometheus is not ready")
        return self

    def __exit__(self, *_):
        self.ended.set()
        for child in self.children:
            child.terminate()
        for child in self.children:
            child.wait()

    def spawn(self, *command):
        log = open(self.folder / f"{command[0]}.log", "w")
        self.children.append(subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL))

    def write_configuration(self):
        """As it is, but for the intervals, and for the names of services, which are files of targets here."""
        config = yaml.safe_load((RULES / "prometheus.yml").read_text())
        every = f"{self.interval}s"
        config["global"] = {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every}
        for job in config["scrape_configs"]:
            del job["dns_sd_configs"]
            job["file_sd_configs"] = [{"files": [f"{self.folder}/targets-{job['job_name']}.json"]}]
        self.jobs = [job["job_name"] for job in config["scrape_configs"]]
        for name in config["rule_files"]:
            rules = yaml.safe_load((RULES / name).read_text())
            for rule in (rule for group in rules["groups"] for rule in group["rules"]):
                self.edit(rule)
            (self.folder / name).write_text(yaml.safe_dump(rules, sort_keys=False))
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config, sort_keys=False))

    def write_targets(self):
        processes = self.stack.processes()
        for job in self.jobs:
            mine = {name: admin for name, (_, admin) in processes.items() if name.split("-")[0] == job and job != "redis"}
            if job in self.exporters:
                mine = {job: self.exporters[job]}
            targets = [{"targets": [admin], "labels": {"instance": name}} for name, admin in mine.items() if admin]
            path = self.folder / f"targets-{job}.json"
            if not path.exists() or json.loads(path.read_text()) != targets:
                (self.folder / "targets.tmp").write_text(json.dumps(targets))
                os.replace(self.folder / "targets.tmp", path)

    def follow_targets(self):
        """A daemon that starts again has another address."""
        while not self.ended.wait(0.5):
            try:
                self.write_targets()
            except subprocess.CalledProcessError:
                return  # The stack has ended.

    def api(self, path, **parameters):
        query = urllib.parse.urlencode(parameters, doseq=True)
        try:
            return json.loads(fetch(f"{self.url}/api/v1/{path}?{query}"))["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{parameters}: {error.read().decode()}") from error

    def now(self, expr, at=None):
        """Series of one moment, as (labels, value)."""
        found = self.api("query", query=expr, time=at or time.time())["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def course(self, expr, start, end, step):
        """Series over time, as (labels, [(time, value)])."""
        found = self.api("query_range", query=expr, start=start, end=end, step=step)["result"]
        return [(s["metric"], [(float(t), float(v)) for t, v in s["values"]]) for s in found]


def wait_for(condition, longest, what):
    deadline = time.monotonic() + longest
    while True:
        try:
            if result := condition():
                return result
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} after {longest} s")
        time.sleep(0.2)


def dashboards():
    return [json.loads(path.read_text()) for path in DASHBOARDS]


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def filled(expr, rate_interval):
    """A panel's expression with everything chosen."""
    return re.sub(r"\$(camera|worker)\b", ".*", expr.replace("$__rate_interval", rate_interval))
