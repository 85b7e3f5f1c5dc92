"""Every expression of every dashboard, rule and alert, on a running stack with a real Prometheus; alerts fire on the faults made here.

Started by e2e/tests/observability.rs: PEREGRINE_URL is the gateway, PEREGRINE_STACK_CONTROL the command that controls the stack,
PEREGRINE_FOLDER where logs go. Its cameras are those of that test.
"""

import json
import math
import os
import re
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from clients import Clients
from prometheus import RULES, ROOT, Prometheus, Stack, dashboards, filled, panels, wait_for

# A window of rates: some scrapes.
RATE = "8s"

# Expressions that return nothing here, and why. At most three.
WITHOUT_DATA = {
    "rule PeregrineModelDoubted": "its models are simulated and never wrong; promtool fires it, the tests of the processor set its metric",
}

# How long something may take on a machine that is busy with other things; whoever waits goes on as soon as it is there.
PATIENCE = 240

# What a test cannot do to the machine it runs on. Their thresholds are moved past what it has: the figures are real.
MOVED = {"PeregrineDiskFull": ("< 0.1", "< 1.1"), "PeregrineMachineMemory": ("< 0.1", "< 1.1")}
# What must not fire before there is a fault, however busy this machine is.
NOT_YET = {"PeregrineNoProcessor", "PeregrineCameraWithoutOwner", "PeregrineCrashLoop", "PeregrineTakeovers", "PeregrineRedisDown",
           "PeregrineRedisMemory", "PeregrineRedisErrors"}


def edit(rule):
    """Alerts wait shorter than a test has time for."""
    if "for" in rule:
        rule["for"] = "4s"
    if change := MOVED.get(rule.get("alert")):
        assert change[0] in rule["expr"], f"{rule['alert']} has another threshold than {change[0]}"
        rule["expr"] = rule["expr"].replace(*change)


def fired(prometheus, since):
    """The alerts that fire or have fired."""
    seconds = math.ceil(time.time() - since) + 1
    return {of["alertname"] for of, _ in prometheus.now(f'count_over_time(ALERTS{{alertstate="firing"}}[{seconds}s])')}


class Fault:
    """Something is made to go wrong: these alerts fire, at the latest some time after its end."""

    def __init__(self, prometheus, what, *alerts):
        self.prometheus, self.what, self.alerts, self.since = prometheus, what, set(alerts), time.time()

    def __enter__(self):
        print(self.what, flush=True)
        return self

    def missing(self):
        """The alerts that have not fired yet."""
        return self.alerts - fired(self.prometheus, self.since)

    def await_alerts(self, but=frozenset()):
        """Waits for all alerts but some."""
        try:
            wait_for(lambda: self.missing() <= but, PATIENCE, "")
        except TimeoutError:
            raise TimeoutError(f"{self.what}, and {self.missing() - but} did not fire within {PATIENCE} s") from None

    def __exit__(self, failure, *_):
        if not failure:
            self.await_alerts()


@contextmanager
def frozen(processes):
    processes = list(processes)
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    yield
    for process in processes:
        os.kill(process, signal.SIGCONT)


def provoke(stack, prometheus):
    """One fault after the other, until the alerts about it have fired."""
    processors = [name for name in stack.processes() if name.startswith("processor")]
    pid = lambda name: stack.processes()[name][0]
    fault = lambda *words: Fault(prometheus, *words)

    with fault("frames of a live camera grow too old in the stream"):
        with frozen(map(pid, processors)):
            time.sleep(1)
            with frozen([pid("producer")]):
                time.sleep(2)

    with fault("processors are frozen for longer than their leases", "PeregrineTargetDown", "PeregrineResultsLate") as late:
        with frozen(map(pid, processors)):
            time.sleep(9)
            # Results are late when there are some again.
            late.await_alerts(but={"PeregrineResultsLate"})

    with fault("a processor dies again and again", "PeregrineCrashLoop", "PeregrineTakeovers") as dying:
        # A death counts once its successor was scraped and once somebody has taken its cameras: on a busy machine, not each does.
        for _ in range(20):
            os.kill(wait_for(lambda: pid(processors[0]), PATIENCE, "no processor"), signal.SIGKILL)
            # Its cameras are taken when their leases have run out.
            time.sleep(6)
            if not dying.missing():
                break

    with fault("there is no processor", "PeregrineNoProcessor", "PeregrineCameraWithoutOwner", "PeregrineFramesMissed") as none:
        for name in processors:
            stack.ctl("stop", name)
        none.await_alerts(but={"PeregrineFramesMissed"})
        for name in processors:
            stack.ctl("start", name)

    with fault("Redis is full", "PeregrineRedisMemory") as full:
        used = re.search(r"used_memory:(\d+)", stack.redis("info", "memory"))[1]
        stack.redis("config", "set", "maxmemory", used)
        full.await_alerts()
        stack.redis("config", "set", "maxmemory", "512mb")

    with fault("Redis goes, and comes back empty", "PeregrineRedisDown", "PeregrineRedisErrors") as gone:
        stack.ctl("stop", "redis")
        gone.await_alerts()
        stack.ctl("start", "redis")


def expressions(prometheus):
    """(where, expression, legend) of everything that is asked of Prometheus."""
    for dashboard in dashboards():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield f"{dashboard['uid']}: {panel['title']}", target["expr"], target["legendFormat"]
        for annotation in dashboard["annotations"]["list"]:
            yield f"{dashboard['uid']}: {annotation['name']}", annotation["target"]["expr"], ""
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
                yield f"{dashboard['uid']}: ${variable['name']}", f"group by ({label}) ({metric})", "{{" + label + "}}"
    for group in prometheus.api("rules")["groups"]:
        for rule in group["rules"]:
            yield f"rule {rule['name']}", rule["query"], ""
            yield f"rule {rule['name']}", rule["name"] if rule["type"] == "recording" else f'ALERTS{{alertname="{rule["name"]}"}}', ""


def labels_of(expr):
    """The names of labels in an expression: matched, and those that series are grouped or joined by."""
    matched = [name for braces in re.findall(r"\{([^}]*)\}", expr) for name in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", braces)]
    grouped = [name for list in re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", expr) for name in re.findall(r"\w+", list)]
    return {*matched, *grouped}


def problems_of_expressions(prometheus, start, end):
    window = {"start": start, "end": end}
    names = set(prometheus.api("label/__name__/values", **window))
    labels = {}
    silent = set()
    for where, raw, legend in expressions(prometheus):
        expr = filled(raw, RATE)
        series = [(of, [v for _, v in values if not math.isnan(v)]) for of, values in prometheus.course(expr, start, end, 2)]
        series = [of for of, values in series if values]
        if not series:
            silent.add(where)
            if where not in WITHOUT_DATA:
                yield f"{where}: no data: {expr}"
        metrics = set(re.findall(r"[a-zA-Z_:][\w:]*", expr)) & names
        for metric in metrics - labels.keys():
            labels[metric] = set(prometheus.api("labels", **{"match[]": metric}, **window))
        if series and (unknown := labels_of(expr).difference(*(labels[metric] for metric in metrics))):
            yield f"{where}: no such label: {unknown} in {expr}"
        for label in re.findall(r"\{\{(\w+)\}\}", legend):
            if any(label not in of for of in series):
                yield f"{where}: the legend's {label} is not on every series of {expr}"
    for where in WITHOUT_DATA.keys() - silent:
        yield f"{where} is excused from returning data and does"


def problems_of_alerts(prometheus, start, end):
    fired = {}
    for of, _ in prometheus.course('ALERTS{alertstate="firing"}', start, end, 1):
        fired.setdefault(of["alertname"], of)
    for group in prometheus.api("rules")["groups"]:
        for rule in group["rules"]:
            if rule["health"] != "ok":
                yield f"{rule['name']}: {rule.get('lastError')}"
            if rule["type"] == "alerting":
                used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
                if f"rule {rule['name']}" in WITHOUT_DATA:
                    continue
                if rule["name"] not in fired:
                    yield f"{rule['name']} did not fire"
                elif missing := used - fired[rule["name"]].keys():
                    yield f"{rule['name']} speaks of labels that it has not: {missing}"


def problems_of_links():
    uids = {dashboard["uid"] for dashboard in dashboards()}
    for dashboard in dashboards():
        for uid in re.findall(r'"url": "/d/([\w-]+)', json.dumps(dashboard)):
            if uid not in uids:
                yield f"{dashboard['uid']} links to {uid}, which is not there"
    headings = re.findall(r"^#+ (.*)$", (ROOT / "docs/operations.md").read_text(), re.M)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for anchor in re.findall(r"docs/operations\.md#(\S+)", (RULES / "alerts.yml").read_text()):
        if anchor not in anchors:
            yield f"docs/operations.md has no heading {anchor}"


def main():
    stack = Stack(os.environ["PEREGRINE_STACK_CONTROL"])
    assert len(WITHOUT_DATA) <= 3, "too many exceptions"
    problems = list(problems_of_links())
    with Prometheus(stack, Path(os.environ["PEREGRINE_FOLDER"]), edit) as prometheus:
        start = time.time()
        clients = Clients(os.environ["PEREGRINE_URL"], stalled=True)
        wait_for(lambda: prometheus.now("camera:peregrine_frames_processed:rate1m > 0"), PATIENCE, "no results")
        # Until the first scrapes, nothing seems to run.
        firing = lambda: {of["alertname"] for of, _ in prometheus.now('ALERTS{alertstate="firing"}')}
        wait_for(lambda: not prometheus.now("up == 0") and not firing() & NOT_YET, PATIENCE, "alerts fire without a fault")
        time.sleep(3)
        calm = time.time()
        time.sleep(15)
        if early := fired(prometheus, calm) & NOT_YET:
            problems.append(f"nothing is wrong yet, and these fire: {early}")
        try:
            provoke(stack, prometheus)
            # Of a source that is not there, a calibration of another picture, a client that never reads, and see above.
            wrong = "PeregrineSourceDown", "PeregrineDrawnOff", "PeregrineClientsSlow", *MOVED
            with Fault(prometheus, "what was wrong from the beginning", *wrong) as always:
                always.since = start
        except TimeoutError as error:
            problems.append(str(error))
        # What fired last has to be seen by a query over time, too.
        time.sleep(2)
        end = time.time()
        clients.ended.set()
        problems += problems_of_expressions(prometheus, start, end)
        problems += problems_of_alerts(prometheus, start, end)
        count = len(list(expressions(prometheus)))
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{count} expressions over {end - start:.0f} s: {len(problems)} problems")
    sys.exit(bool(problems))


main()
