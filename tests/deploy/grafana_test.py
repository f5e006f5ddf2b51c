"""Dashboards and provisioning of Grafana as files: what its documentation wants of them, and what ties them together.

https://grafana.com/docs/grafana/v11.2/administration/provisioning/ and .../dashboards/build-dashboards/view-dashboard-json-model/
"""

import itertools
import json
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import harness  # noqa: E402, F401  goes on in the Python that has the packages
import yaml  # noqa: E402
from prerequisites import DEPLOY, ROOT  # noqa: E402

GRAFANA = DEPLOY / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
BOARDS = {file.stem: json.loads(file.read_text()) for file in FILES}
PANELS = [(f"{name}: {panel['title']}", panel) for name, board in BOARDS.items() for panel in board["panels"]
          if panel["type"] != "row"]
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SOURCE = {"type": "prometheus", "uid": "prometheus"}
UIDS = ["deweather-experts", "deweather-host", "deweather-serving", "deweather-training"]
UNITS = {"none", "short", "s", "dtdurations", "bytes", "percentunit", "reqps", "cps", "ops", "dB"}
KINDS = {"timeseries", "stat", "heatmap", "table", "state-timeline", "row"}
# Of Grafana 11.2; a colour of its themes would do as well.
COLOUR_MODES = {"fixed", "thresholds", "palette-classic", "continuous-blues"}
CALCS = {"lastNotNull", "max", "min", "sum"}
PROPERTIES = {"color", "unit", "custom.align", "custom.axisPlacement", "custom.cellOptions", "custom.fillOpacity",
              "custom.lineStyle", "custom.width"}
# https://grafana.com/docs/grafana/v11.2/panels-visualizations/query-transform-data/transform-data/
TRANSFORMATIONS = {
    "filterFieldsByName": {"include"},
    "groupingToMatrix": {"columnField", "rowField", "valueField"},
    "organize": {"excludeByName", "includeByName", "indexByName", "renameByName"},
    "sortBy": {"fields", "sort"},
}
RED = "#D55E00"
# No red beside green.
COLOURS = {"#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#999999"}


def load(path):
    return yaml.safe_load((GRAFANA / "provisioning" / path).read_text())


def everywhere(value, key):
    """Every value of `key`, however deep."""
    if isinstance(value, dict):
        yield from (v for k, v in value.items() if k == key)
        value = list(value.values())
    for inner in value if isinstance(value, list) else []:
        yield from everywhere(inner, key)


def limits(panel):
    """Values at which a panel turns red, or ceases to be."""
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {"steps": []})["steps"]
    red = [i for i, step in enumerate(steps) if step["color"] == RED]
    return {steps[max(i, 1)]["value"] for i in red}


def numbers(expression):
    """Those of an alert's expression; 0 also as the bound between no event and one."""
    found = {float(factor) * (2 ** 30 if unit else 1)
             for factor, unit in re.findall(r"(?<=[<>=] )(\d[\d.]*)( \* 2\^30)?", expression)}
    return found | ({0.5, 1.0} if 0.0 in found else set())


def overlap(a, b):
    return (a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"] and
            a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"])


class ProvisioningTest(unittest.TestCase):
    def test_data_source(self):
        file = load("datasources/prometheus.yaml")
        self.assertEqual(file["apiVersion"], 1)
        [source] = file["datasources"]
        self.assertEqual({"type": source["type"], "uid": source["uid"]}, SOURCE)
        self.assertEqual((source["access"], source["isDefault"], source["editable"]), ("proxy", True, False))
        host, port = re.fullmatch(r"http://(\w+):(\d+)", source["url"]).groups()
        self.assertIn(host, COMPOSE["services"])
        self.assertIn(f":{port}", str(COMPOSE["services"][host]["ports"]))

    def test_interval_is_that_of_prometheus(self):
        scraping = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["global"]["scrape_interval"]
        [source] = load("datasources/prometheus.yaml")["datasources"]
        self.assertEqual(source["jsonData"]["timeInterval"], scraping)

    def test_dashboards_lie_where_grafana_looks(self):
        file = load("dashboards/deweather.yaml")
        self.assertEqual(file["apiVersion"], 1)
        [provider] = file["providers"]
        self.assertEqual((provider["type"], provider["allowUiUpdates"]), ("file", False))
        targets = {target: source for source, target, *_ in
                   (str(volume).split(":") for volume in COMPOSE["services"]["grafana"]["volumes"])}
        self.assertEqual(targets[provider["options"]["path"]], "./grafana/dashboards")
        self.assertEqual(targets["/etc/grafana/provisioning"], "./grafana/provisioning")

    def test_home_is_one_of_them(self):
        home = COMPOSE["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
        self.assertIn(pathlib.Path(home).stem, BOARDS)


class DashboardsTest(unittest.TestCase):
    def test_uids_are_the_files_names(self):
        self.assertEqual({name: board["uid"] for name, board in BOARDS.items()}, {uid: uid for uid in UIDS})

    def test_are_written_as_grafana_exports_them(self):
        for file in FILES:
            with self.subTest(file.name):
                text = json.dumps(json.loads(file.read_text()), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
                self.assertEqual(file.read_text(), text)

    def test_head(self):
        for name, board in BOARDS.items():
            with self.subTest(name):
                self.assertIsNone(board["id"])
                self.assertEqual(board["schemaVersion"], 39)  # Grafana 11.0 to 11.2
                self.assertEqual((board["timezone"], board["refresh"]), ("browser", "10s"))
                self.assertTrue(board["title"] and board["description"])
                [links] = board["links"]
                self.assertEqual((links["type"], links["tags"]), ("dashboards", ["deweather"]))
                self.assertTrue(links["keepTime"] and links["includeVars"])
                self.assertIn("deweather", board["tags"])

    def test_variables(self):
        for name, board in BOARDS.items():
            with self.subTest(name):
                found = board["templating"]["list"]
                self.assertIn("instance", [v["name"] for v in found])
                for variable in found:
                    self.assertEqual((variable["type"], variable["datasource"]), ("query", SOURCE))
                    self.assertEqual(variable["query"]["query"], variable["definition"])
                    self.assertRegex(variable["definition"], r"^label_values\(.+, \w+\)$")
                    self.assertEqual(variable["includeAll"], variable["multi"])
                used = set(re.findall(r"\$(\w+)", json.dumps(board["panels"])))
                names = {v["name"] for v in found} | {"__interval", "__rate_interval", "__range", "1"}  # of label_replace
                self.assertEqual(used - names, set())

    def test_panels_have_ids_and_places_of_their_own(self):
        for name, board in BOARDS.items():
            with self.subTest(name):
                ids = [panel["id"] for panel in board["panels"]]
                self.assertEqual(len(ids), len(set(ids)))
                places = [panel["gridPos"] for panel in board["panels"]]
                for place in places:
                    self.assertLessEqual(place["x"] + place["w"], 24)
                    self.assertGreater(min(place["w"], place["h"]), 0)
                for a, b in itertools.combinations(places, 2):
                    self.assertFalse(overlap(a, b), (a, b))

    def test_panels_say_what_they_show(self):
        for name, panel in PANELS:
            with self.subTest(name):
                self.assertIn(panel["type"], KINDS)
                self.assertGreater(len(panel["description"]), 15)
                self.assertEqual(panel["datasource"], SOURCE)
                self.assertIn(panel["fieldConfig"]["defaults"].get("unit", "none"), UNITS)
                units = [p["value"] for o in panel["fieldConfig"]["overrides"] for p in o["properties"] if p["id"] == "unit"]
                self.assertLessEqual(set(units), UNITS)
                if panel["type"] == "heatmap":
                    self.assertIn(panel["options"]["yAxis"]["unit"], UNITS)

    def test_queries(self):
        for name, panel in PANELS:
            with self.subTest(name):
                refs = [target["refId"] for target in panel["targets"]]
                self.assertEqual(len(refs), len(set(refs)))
                for target in panel["targets"]:
                    self.assertEqual(target["datasource"], SOURCE)
                    self.assertTrue(target["expr"])
                    self.assertTrue(target["legendFormat"] or panel["type"] == "table")
                    self.assertEqual(bool(target.get("instant")), not target["range"])
                    # A window of fixed length misses what a wide time range steps over.
                    self.assertNotRegex(target["expr"], r"\[\d")
                    # A range query would read all of the range at each step of it.
                    self.assertLessEqual("$__range" in target["expr"], bool(target.get("instant")))

    def test_sums_add_up_steps_that_do_not_overlap(self):
        for name, panel in PANELS:
            if "sum" in panel["options"].get("legend", {}).get("calcs", []):
                with self.subTest(name):
                    self.assertEqual(panel["interval"], "1m")
                    for target in panel["targets"]:
                        self.assertIn("offset $__interval", target["expr"])
                        self.assertNotIn("$__rate_interval", target["expr"])

    def test_transformations_and_calculations_are_grafanas(self):
        for name, panel in PANELS:
            with self.subTest(name):
                for step in panel.get("transformations", []):
                    self.assertEqual(set(step["options"]), TRANSFORMATIONS[step["id"]])
                for calcs in everywhere(panel["options"], "calcs"):
                    self.assertLessEqual(set(calcs), CALCS)
                for override in panel["fieldConfig"]["overrides"]:
                    self.assertIn(override["matcher"]["id"], ("byName", "byRegexp"))
                    self.assertLessEqual({p["id"] for p in override["properties"]}, PROPERTIES)

    def test_coloured_cells_have_a_scale(self):
        for name, panel in PANELS:
            defaults = panel["fieldConfig"]["defaults"]
            if defaults.get("custom", {}).get("cellOptions", {}).get("type") == "color-background":
                with self.subTest(name):
                    self.assertRegex(defaults["color"]["mode"], "^continuous-")
                    self.assertLess(defaults["min"], defaults["max"])

    def test_red_begins_where_the_alert_does(self):
        groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
        bounds = {rule["alert"]: numbers(rule["expr"]) for group in groups for rule in group["rules"] if "alert" in rule}
        for name, panel in PANELS:
            with self.subTest(name):
                alerts = re.findall(r"\bDeweather[A-Z]\w+", panel["description"])
                self.assertLessEqual(set(alerts), set(bounds))
                if alerts:
                    self.assertLessEqual(limits(panel), set().union(*(bounds[alert] for alert in alerts)))

    def test_panels_of_the_guide_are_there(self):
        guide = (ROOT / "docs/operations.md").read_text()
        alerts = re.search(r"^## Alerts\n(.*?)(?=^## |\Z)", guide, re.M | re.S)[1]
        found = re.findall(r"\*(?:(\w+) / )?([A-Z][^*]+)\*", " ".join(alerts.split()))
        self.assertGreater(len(found), 20)
        for board, title in found:
            with self.subTest(f"{board} / {title}"):
                panels = [name.split(": ", 1) for name, _ in PANELS]
                variables = [v["label"] for b in BOARDS.values() for v in b["templating"]["list"]]
                self.assertTrue(title in variables or any(
                    panel.startswith(title) and board in ("", uid.removeprefix("deweather-")) for uid, panel in panels))

    def test_colours_can_be_told_apart(self):
        for name, board in BOARDS.items():
            with self.subTest(name):
                found = [*everywhere(board["panels"], "color"), *everywhere(board["panels"], "fixedColor")]
                for colour in (c for c in found if isinstance(c, str)):
                    self.assertIn(colour, COLOURS | {"rgba(255,0,255,0.7)"})  # of exemplars, by default
                for scale in (c for c in found if isinstance(c, dict) and "mode" in c):
                    self.assertIn(scale["mode"], COLOUR_MODES | {"scheme"})
                    self.assertEqual(scale.get("scheme", "Viridis"), "Viridis")


def losses(written, read, path=""):
    """Paths of `written` that are not in `read`, or are otherwise."""
    if isinstance(written, dict):
        for key, value in written.items():
            if not isinstance(read, dict) or key not in read:
                yield f"{path}/{key}"
            else:
                yield from losses(value, read[key], f"{path}/{key}")
    elif isinstance(written, list):
        for i, value in enumerate(written):
            yield from losses(value, read[i] if isinstance(read, list) and i < len(read) else None, f"{path}[{i}]")
    elif written != read:
        yield path


class SchemaTest(unittest.TestCase):
    def test_grafanas_own_types_know_every_field(self):
        """What goes through the types that Grafana publishes for 11.2 comes out whole: they drop what they do not know."""
        try:
            from grafana_foundation_sdk.cog import encoder, plugins
            from grafana_foundation_sdk.models import dashboard
        except ImportError:
            self.skipTest("no grafana-foundation-sdk here: run scripts/setup")
        plugins.register_default_plugins()
        for name, board in BOARDS.items():
            with self.subTest(name):
                read = json.loads(encoder.JSONEncoder().encode(dashboard.Dashboard.from_json(board)))
                unknown = [path for path in losses(board, read)
                           if path != "/id" and not re.fullmatch(r"/templating/list\[\d\]/definition", path)]
                self.assertEqual(unknown, [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
