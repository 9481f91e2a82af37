"""Verifies dashboards, rules and runbooks with the real things: a server under load, Prometheus, Grafana's types.

    verify.py --prometheus DIR            everything; DIR holds the programs prometheus and promtool
    verify.py --prometheus DIR --picture FILE [--minutes N]
                                          also draws the overview from the data of the last N minutes

What it knows of the expressions it reads from the files themselves: each panel's and each rule's has to yield at least
one sample that is a number, each selector in any of them at least one series, and each counter among these has to be
above 0. So a metric or a label that is renamed in the code, or never counted, is found here.
"""

import argparse
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import picture
from load import Load
from processes import ROOT, running

DASHBOARDS = ROOT / "dashboards"
HERE = ROOT / "tests" / "dashboards"
# Seconds for everything to have happened that the load makes happen. It takes about fifteen.
LOAD_TIME_MAX = 90

# What Grafana puts into expressions, and what stands for it here.
VARIABLES = {
    "$job": "stentor",
    "$instance": ".*",
    "$plugin": ".*",
    "$__rate_interval": "15s",
}

SELECTOR = re.compile(r"\b((?:stentor_|process_)\w+|up|[a-z_]+:\w+:\w+)\b(\{[^}]*\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
COMPARISON = re.compile(r'\{[^}]*\}|"[^"]*"|(>=|<=|==|!=|>|<)')


def substituted(expression):
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    if "$" in expression:
        raise AssertionError(f"a variable that is not known: {expression}")
    return expression


def selectors(expression):
    """The selectors of an expression, without what only chooses among servers and plugins."""
    found = set()
    for name, braces in SELECTOR.findall(expression):
        chosen = [
            f'{label}{operator}"{value}"'
            for label, operator, value in MATCHER.findall(braces)
            if label not in ("job", "instance", "plugin")
        ]
        found.add(name + ("{" + ",".join(chosen) + "}" if chosen else ""))
    return found


def always(expression):
    """An alert's expression with a sample also when it does not fire: its comparisons say 0 or 1. What it compares with
    an hour ago is compared with a moment ago."""
    compared = COMPARISON.sub(lambda found: f"{found[1]} bool" if found[1] else found[0], expression)
    return re.sub(r"offset \w+", "offset 2s", compared)


# ---------------------------------------------------------------------------------------------- What the files say


def panels():
    """All panels: the dashboard's name, and the panel."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            if panel["type"] != "row":
                yield path.name, panel


def check_panels():
    """What Grafana's types cannot say of a panel."""
    faults = []
    for dashboard, panel in panels():
        place = f"{dashboard}, {panel['title']}"
        if not panel["description"].endswith("."):
            faults.append(f"{place}: its description is no sentence")
        for target in panel["targets"]:
            expression = target["expr"]
            for name, braces in SELECTOR.findall(expression):
                if 'job=~"$job"' not in braces or 'instance=~"$instance"' not in braces:
                    faults.append(f"{place}: {name} is not of the servers that are chosen")
                if name.startswith("stentor_plugin_") and dashboard == "plugins.json":
                    if 'plugin=~"$plugin"' not in braces and name != "stentor_plugin_generation":
                        faults.append(f"{place}: {name} is not of the plugins that are chosen")
            for function, window in re.findall(r"\b(rate|increase)\([^\[]*\[([^\]]*)\]", expression):
                if function == "rate" and window != "$__rate_interval":
                    faults.append(f"{place}: a rate over {window}")
    return faults


def check_runbooks(alerts):
    """A page for each alert and an alert for each page, each with the same four parts."""
    faults = []
    pages = {path.stem: path for path in (DASHBOARDS / "runbooks").glob("*.md")}
    for name in sorted(set(alerts) ^ set(pages)):
        faults.append(f"{name}: {'no runbook' if name in alerts else 'a runbook without an alert'}")
    for name in sorted(set(alerts) & set(pages)):
        parts = re.findall(r"^## (.*)$", pages[name].read_text(encoding="utf-8"), re.MULTILINE)
        if parts != ["Meaning", "Impact", "Diagnosis", "Mitigation"]:
            faults.append(f"runbooks/{name}.md: its parts are {parts}")
        annotations, labels = alerts[name]["annotations"], alerts[name]["labels"]
        if annotations.get("runbook") != f"runbooks/{name}.md" or labels.get("severity") not in ("critical", "warning"):
            faults.append(f"{name}: no runbook or no severity")
        if not annotations.get("summary") or not annotations.get("description"):
            faults.append(f"{name}: no summary or no description")
    return faults


def runbook_expressions():
    for path in sorted((DASHBOARDS / "runbooks").glob("*.md")):
        for block in re.findall(r"^```promql\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            for expression in block.strip().split("\n\n"):
                yield f"runbooks/{path.name}", expression


def check_tested(alerts):
    """Each alert is made to fire in the tests of rules, and after that to resolve."""
    expected, name = {}, None
    for line in (HERE / "alerts.test.yml").read_text(encoding="utf-8").splitlines():
        named = re.search(r"\balertname: (\w+)", line)
        name = named[1] if named else name
        if "exp_alerts:" in line:
            expected.setdefault(name, []).append("resolved" if "exp_alerts: []" in line else "firing")
    return [
        f"{name}: is not made to fire and then to resolve in alerts.test.yml"
        for name in alerts
        if "firing resolved" not in " ".join(expected.get(name, []))
    ]


def run(*command, **options):
    """Runs a program; prints what it says when it fails."""
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False, timeout=300, **options)
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, command[:3]))}:\n{done.stdout}{done.stderr}")
    return done.stdout


def check_schema():
    """Grafana's types, and that they do find faults."""
    files = sorted(DASHBOARDS.glob("*.json"))
    run("node", HERE / "schema.mjs", *files)
    with tempfile.TemporaryDirectory() as directory:
        broken = pathlib.Path(directory) / "broken.json"
        text = files[0].read_text(encoding="utf-8")
        broken.write_text(text.replace('"lineWidth"', '"lineWidht"', 1), encoding="utf-8")
        checked = subprocess.run(["node", HERE / "schema.mjs", broken], capture_output=True, text=True, check=False)
    if "lineWidht" not in checked.stderr:
        raise AssertionError(f"a key that Grafana does not know is not found: {checked.stdout}{checked.stderr}")


# ---------------------------------------------------------------------------------------------- What the data say


class Expressions:
    """All that is to be asked of Prometheus."""

    def __init__(self, rules):
        self.rules = rules
        self.named = []
        for dashboard, panel in panels():
            for target in panel["targets"]:
                place = f"{dashboard}, {panel['title']}, {target['refId']}"
                self.named.append((place, substituted(target["expr"])))
        for rule in rules:
            expression = always(rule["query"]) if rule["type"] == "alerting" else rule["query"]
            self.named.append((rule["name"], expression))
            if rule["type"] == "recording":
                self.named.append((f"{rule['name']}, as recorded", rule["name"]))
        self.named += [(place, substituted(expression)) for place, expression in runbook_expressions()]
        self.selectors = sorted(set().union(*(selectors(expression) for _, expression in self.named)))

    def faults(self, prometheus, counters):
        """What is not yet as it should be. The longer the load runs, the fewer."""
        faults = []
        for place, expression in self.named:
            values = [value for _, value in prometheus.query(expression)]
            if all(math.isnan(value) for value in values):
                faults.append(f"{place}: {'only NaN' if values else 'no sample'}: {expression}")
        for selector in self.selectors:
            name = selector.split("{")[0]
            values = [value for _, value in prometheus.query(selector)]
            good = bool(values) and (name not in counters or sum(values) > 0)
            if not good:
                faults.append(f"{selector}: {'never counted' if values else 'no such series'}")
        return faults

    def unknown(self, text):
        """What cannot come right however long the load runs: names that the server does not know from its start."""
        known = set(re.findall(r"^(?:# TYPE )?(\w+)", text, re.MULTILINE)) | counters_in(text)
        names = {selector.split("{")[0] for selector in self.selectors}
        strange = sorted(name for name in names - known if name != "up" and ":" not in name)
        return [f"{name}: the server has no such metric" for name in strange]


def counters_in(text):
    """Names of series that only grow: of counters, and of the parts of histograms."""
    names = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        if kind == "counter":
            names.add(name)
        elif kind == "histogram":
            names.update(name + part for part in ("_bucket", "_sum", "_count"))
    return names


def say(text):
    print(f"dashboards: {text}", flush=True)


def demand(faults):
    if faults:
        raise AssertionError("\n".join(faults))


def all_rules(prometheus):
    return [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]


def under_load(server, prometheus, expressions, load):
    """Waits until everything that is to happen has happened. Returns the seconds that it took."""
    began = time.monotonic()
    faults = ["the load did not begin"]
    while faults:
        load.check()
        if time.monotonic() - began > LOAD_TIME_MAX:
            demand(faults)
        # A scrape comes every second, so there is nothing new to be seen before.
        time.sleep(1)
        faults = expressions.faults(prometheus, counters_in(server.metrics()))
    return time.monotonic() - began


def verify(programs, picture_file, minutes):
    promtool = programs / "promtool"
    run(DASHBOARDS / "build", "--check")
    demand(check_panels())
    check_schema()
    say("the dashboards are as Grafana's types have them")
    run(promtool, "check", "rules", *sorted(DASHBOARDS.glob("*.rules.yml")))
    run(promtool, "test", "rules", HERE / "alerts.test.yml")
    with running(programs / "prometheus") as (server, prometheus):
        rules = all_rules(prometheus)
        alerts = {rule["name"]: rule for rule in rules if rule["type"] == "alerting"}
        demand(check_runbooks(alerts) + check_tested(alerts))
        say(f"{len(alerts)} alerts fire and resolve in their tests, and have runbooks")
        expressions = Expressions(rules)
        demand(expressions.unknown(server.metrics()))
        load = Load(server)
        try:
            seconds = under_load(server, prometheus, expressions, load)
            run(promtool, "check", "metrics", input=server.metrics())
            demand([f"{rule['name']}: {rule['lastError']}" for rule in all_rules(prometheus) if rule["health"] != "ok"])
            say(
                f"after {seconds:.0f} s of load {len(expressions.named)} expressions yield numbers, and "
                f"{len(expressions.selectors)} selectors find series"
            )
            if picture_file:
                picture.draw(prometheus, server, picture_file, minutes)
                say(f"drew {picture_file}")
        finally:
            load.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--picture", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--minutes", type=float, default=4)
    arguments = parser.parse_args()
    try:
        verify(arguments.prometheus.resolve(), arguments.picture and arguments.picture.resolve(), arguments.minutes)
    except AssertionError as error:
        sys.exit(f"dashboards: {error}")


if __name__ == "__main__":
    main()
