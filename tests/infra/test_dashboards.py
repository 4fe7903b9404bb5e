"""Grafana dashboards and Prometheus rules: they use series that exist, by labels that those have, and fire when they should.

The PromQL itself is checked, and the rules run over made-up series, where `promtool` is on the PATH or `infra/helm/build.sh promtool`
has built it; else those tests skip.
"""

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from components.shared import platform
from components.train.exporter import FAMILIES

ROOT = Path(__file__).parents[2]
CHART, HERE = ROOT / "helm/sphinx-x", Path(__file__).parent / "rules"
DASHBOARDS, RULES = sorted((CHART / "dashboards").glob("*.json")), sorted((CHART / "rules").glob("*.yaml"))
OUR_LABELS = {"run", "variant", "dataset", "task"} | {"namespace", "pod"}
"""The exporter's, and those that the scrape adds."""
WORDS = {"by", "on", "without", "ignoring", "group_left", "group_right", "and", "or", "unless", "bool", "offset"}


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def custom_series() -> dict[str, set[str]]:
    """What kube-state-metrics gives by our configuration: name to labels."""
    series = {}
    for resource in yaml.safe_load((CHART / "dashboards/kube-state-metrics.yaml").read_text())["spec"]["resources"]:
        common = set(resource["labelsFromPath"])
        for metric in resource["metrics"]:
            own = set(metric["each"]["gauge"].get("labelsFromPath", {}))
            series[f"{resource['metricNamePrefix']}_{metric['name']}"] = common | own
    return series


def known_series() -> dict[str, set[str]]:
    foreign = yaml.safe_load((HERE / "series.yaml").read_text())
    series = {name: set(labels) for source in foreign.values() for name, labels in source.items()}
    return series | custom_series() | {family.name: OUR_LABELS for family in FAMILIES}


def panels(path: Path) -> list[dict]:
    return json.loads(path.read_text())["panels"]


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL expression with where it stands."""
    for path in DASHBOARDS:
        for panel in panels(path):
            for target in panel.get("targets", ()):
                yield f"{path.name}: {panel['title']}", target["expr"]
        for variable in json.loads(path.read_text())["templating"]["list"]:
            if variable["type"] == "query":
                query = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
                assert query, variable
                yield f"{path.name}: variable {variable['name']}", f"count by ({query[2]}) ({query[1]})"
    for path in RULES:
        for rule in rules(path):
            yield f"{path.name}: {rule['alert']}", rule["expr"]


def rules(path: Path) -> list[dict]:
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def used(expression: str) -> set[str]:
    """Names of the series in an expression."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    return {name for name in re.findall(r"(?<![\w.])[A-Za-z_]\w*(?!\w|\s*\()", bare) if name not in WORDS}


def matchers(expression: str) -> Iterator[tuple[str, str]]:
    """(series, label) of every matcher."""
    for name, inner in re.findall(r"(\w+)\{((?:[^{}\"]|\"(?:[^\"\\]|\\.)*\")*)\}", expression):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", inner):
            yield name, label


EXPRESSIONS = list(expressions())


def test_there_is_something_to_check():
    assert names(DASHBOARDS) == [f"sphinx-x-{one}.json" for one in ("gpu", "loader", "pipelines", "training")]
    assert names(RULES) == ["cluster.yaml", "gpus.yaml", "training.yaml"]
    assert used('sum by (a) (rate(x_total{b="c d"}[5m])) / on (e) group_left () y_z > 5 or vector(0)') == {"x_total", "y_z"}


@pytest.mark.parametrize(("place", "expression"), EXPRESSIONS, ids=[place for place, _ in EXPRESSIONS])
def test_only_series_and_labels_that_exist_are_used(place, expression):
    known = known_series()
    assert used(expression)
    assert used(expression) <= set(known), place
    wrong = [f"{name}{{{label}}}" for name, label in matchers(expression) if label not in known[name]]
    assert wrong == []


def test_every_series_of_ours_is_shown_or_watched():
    everywhere = set().union(*(used(expression) for _, expression in EXPRESSIONS))
    ours = {family.name for family in FAMILIES} | set(custom_series())
    assert ours - everywhere == {"sphinx_x_train_start_timestamp_seconds"}


@pytest.mark.parametrize("variant", ["nano", "plus-2k"])
def test_names_of_training_pods_and_trainjobs_are_told_by_the_same_patterns_everywhere(variant):
    trainjob = platform.trainjob_name(variant, "a-run", "a-digest")
    text = "\n".join(expression for _, expression in EXPRESSIONS)
    pods = set(re.findall(r'pod=~"(sphinx-x[^"]*)"', text))
    trainjobs = set(re.findall(r'trainjob=~"(sphinx-x[^"]*)"', text))
    assert len(pods) == len(trainjobs) == 1
    assert re.fullmatch(*pods, f"{trainjob}-node-0-3-abcde")
    assert re.fullmatch(*trainjobs, trainjob)
    assert not re.fullmatch(*pods, "sphinx-x-reaper-5d9c8b7f6d-abcde")
    assert f'"({trainjobs.pop()})-node-0-.+"' in text  # the rule that makes the one of the other


def test_labels_of_trainjobs_are_those_that_the_launcher_sets():
    trainjob = yaml.safe_load((CHART / "dashboards/kube-state-metrics.yaml").read_text())["spec"]["resources"][0]
    assert trainjob["labelsFromPath"]["variant"] == ["metadata", "labels", platform.VARIANT_LABEL]
    assert trainjob["labelsFromPath"]["pipeline_run"] == ["metadata", "labels", platform.PIPELINE_RUN_LABEL]


@pytest.mark.parametrize("path", DASHBOARDS, ids=names(DASHBOARDS))
def test_a_dashboard_is_whole(path):
    board = json.loads(path.read_text())
    assert board["uid"] == path.stem
    assert len(board["uid"]) <= 40
    assert board["title"].startswith("SPHINX-X ")
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {variable["name"] for variable in board["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", path.read_text())) - {"__all"} <= variables
    for panel in board["panels"]:
        assert panel["title"]
        if panel["type"] == "row":
            continue
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
        assert all(target["legendFormat"] for target in panel["targets"]) or panel["type"] == "table"


@pytest.mark.parametrize("path", DASHBOARDS, ids=names(DASHBOARDS))
def test_panels_fill_the_grid_without_overlap_and_without_gaps(path):
    taken: dict[tuple[int, int], str] = {}
    for panel in panels(path):
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for cell in itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])):
            assert cell not in taken, f"{panel['title']} lies on {taken.get(cell)}"
            taken[cell] = panel["title"]
    height = 1 + max(y for _, y in taken)
    assert len(taken) == 24 * height


@pytest.mark.parametrize("path", RULES, ids=names(RULES))
def test_every_alert_says_what_is_wrong_and_what_to_do(path):
    assert path.read_text().startswith("# ")
    for rule in rules(path):
        assert rule["alert"].startswith("SphinxX")
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"].endswith(".")
        assert len(rule["annotations"]["description"]) > 40
        told = "".join(rule["annotations"].values())
        labels = set(re.findall(r"\$labels\.(\w+)", told))
        known = known_series()
        made = set(re.findall(r'"(\w+)", "\$1"', rule["expr"]))  # by label_replace
        assert labels <= made.union(*(known[name] for name in used(rule["expr"]))), rule["alert"]


def promtool() -> str | None:
    asked = subprocess.run([ROOT / "infra/helm/build.sh", "promtool", "--path"], capture_output=True, text=True)
    return shutil.which("promtool") or (asked.stdout.strip() if asked.returncode == 0 else None)


needs_promtool = pytest.mark.skipif(
    promtool() is None, reason="promtool is neither on the PATH nor built: infra/helm/build.sh promtool (needs Go)"
)


def run_promtool(*arguments: str) -> None:
    ended = subprocess.run([str(promtool()), *arguments], capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@needs_promtool
def test_every_expression_is_promql(tmp_path):
    def recorded(index: int, expression: str) -> dict:
        return {"record": f"checked:{index}", "expr": re.sub(r"\$\w+", "x", expression)}

    group = {"name": "all", "rules": [recorded(index, expression) for index, (_, expression) in enumerate(EXPRESSIONS)]}
    file = tmp_path / "expressions.yaml"
    file.write_text(yaml.safe_dump({"groups": [group]}))
    run_promtool("check", "rules", str(file))
    run_promtool("check", "rules", *map(str, RULES))


LABEL_VALUES = {
    "namespace": ["kubeflow"],
    "pod": [f"{platform.trainjob_name('plus', 'a-run', 'a-digest')}-node-0-{node}-abcde" for node in range(2)],
    "trainjob": [platform.trainjob_name("plus", "a-run", "a-digest")],
    "deployment": ["sphinx-x-reaper"],
    "resource": ["nvidia_com_gpu"],
    "phase": ["Running", "Pending"],
    "type": ["Failed", "Suspended"],
    "reason": ["Error"],
}
"""Values that the expressions look for; any other label has a value that nothing looks for."""


@needs_promtool
def test_every_panel_shows_something_where_there_is_something_to_show(tmp_path):
    series = []
    for name, labels in known_series().items():
        # Rank 0 alone has our series.
        choices = {
            label: LABEL_VALUES.get(label, ["x"])[: 1 if name.startswith("sphinx_x_") else None] for label in sorted(labels)
        }
        for values in itertools.product(*choices.values()):
            pairs = ",".join(f'{label}="{value}"' for label, value in zip(choices, values, strict=True))
            series.append({"series": f"{name}{{{pairs}}}", "values": "1x20"})
    shown = [re.sub(r"\$\w+", ".+", expression) for place, expression in EXPRESSIONS if ".json" in place]
    one = [{"labels": "{}", "value": 1}]
    asked = [{"expr": f"count({expression}) > bool 0", "eval_time": "15m", "exp_samples": one} for expression in shown]
    file = tmp_path / "panels.test.yaml"
    file.write_text(yaml.safe_dump({"tests": [{"interval": "1m", "input_series": series, "promql_expr_test": asked}]}))
    run_promtool("test", "rules", str(file))


@needs_promtool
def test_alerts_fire_when_they_should_and_not_before(tmp_path):
    text = (HERE / "alerts.test.yaml").read_text()
    told = {rule["alert"] for path in RULES for rule in rules(path)}
    assert {alert for alert in told if alert not in text} == set()
    file = tmp_path / "alerts.test.yaml"
    file.write_text(text.replace("{{rules}}", str(CHART / "rules")))
    run_promtool("test", "rules", str(file))
