"""Every query of every dashboard finds data in a real Prometheus that has watched a real server at work, and what a
panel names (labels, columns, series that it colours) is in that data."""

import concurrent.futures
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from harness import Server, TestCase, encode, main, noise, program, smooth, wait_until  # noqa: E402
from jobs_test import CONFIG, picture  # noqa: E402
from prerequisites import DEPLOY  # noqa: E402
from prometheus import OPTIONAL, Prometheus, exported, metric_names  # noqa: E402

BOARDS = [json.loads(path.read_text()) for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json"))]
INTERVAL = "500ms"
WINDOW = "5s"  # of rates, as Grafana would choose one: ten times the interval
# One request at a time fits, so that another is refused.
SETTINGS = """
drain { delay {} }
admission { max_bytes: 1048576 }
training { first_retry {} }
"""


def substituted(query, seconds, **variables):
    """As Grafana sends it. A value of $instance is escaped, twice, because it goes into a regular expression."""
    values = {"__rate_interval": WINDOW, "__interval": "1s", "__range": f"{seconds}s", **variables}
    return re.sub(r"\$(\w+)", lambda m: values.get(m[1], m[0]), query)


def targets(board):
    """(panel's title, query, whether it asks for one moment)."""
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"], target.get("instant", False)


def legends(target, series):
    """What Grafana calls the series; raises KeyError on a label that they have not."""
    return {re.sub(r"\{\{(\w+)\}\}", lambda m: labels[m[1]], target["legendFormat"]) for labels in series}


def columns(panel, series):
    """Names of a table's columns; raises KeyError where a transformation names one that is not there."""
    names = dict.fromkeys(["Time", "Value", *(label for labels in series for label in labels)])
    for step in panel.get("transformations", []):
        options = step["options"]
        if step["id"] == "sortBy":
            [names[by["field"]] for by in options["sort"]]
        elif step["id"] == "groupingToMatrix":
            row, column, value = (options[key] for key in ("rowField", "columnField", "valueField"))
            [names[name] for name in (row, column, value)]
            names = dict.fromkeys([f"{row}\\{column}", *(labels[column] for labels in series)])
        elif step["id"] == "filterFieldsByName":
            names = {name: names[name] for name in options["include"]["names"]}
        else:
            [names[name] for name in options["indexByName"]]
            renamed = {name: new for name, new in options["renameByName"].items() if names[name] is None}
            names = dict.fromkeys(renamed.get(name, name) for name in names)
    return set(names)


def uncoloured(panel, names):
    """Overrides that meet no series of these names."""
    matchers = [override["matcher"] for override in panel["fieldConfig"]["overrides"]]
    return [m["options"] for m in matchers
            if not any(re.fullmatch(m["options"], n) if m["id"] == "byRegexp" else m["options"] == n for n in names)]


program("deweather-server")
program("deweather-train")


class DashboardsTest(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server("--data-dir", cls.data_folder(), config=SETTINGS))
        cls.prometheus = cls.enterClassContext(Prometheus(cls.server.metrics_address, INTERVAL))
        wait_until(lambda: cls.prometheus.values("sum(deweather_training_ended_total)"))  # seen before anything happens
        cls.start = time.time()
        with cls.server.client() as client:
            cls.restore(client)
            cls.refuse_and_cancel(client)
            cls.learn(client)
        wait_until(lambda: cls.prometheus.values('ALERTS{alertname="DeweatherJobFailed", alertstate="firing"}'), 60)
        cls.seconds = int(time.time() - cls.start) + 1

    @classmethod
    def data_folder(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.work = pathlib.Path(folder.name)
        (cls.work / "data").mkdir()
        return str(cls.work / "data")

    @classmethod
    def restore(cls, client):
        """Of several sizes, some at a time; with maps of uncertainty; and what is no picture."""
        for width, height in ((64, 64), (300, 200), (257, 500)):
            client.restore(encode(smooth(width, height)))
            client.restore(encode(noise(width, height)), uncertainty_map=True)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: client.start_restore(encode(smooth(64, 64))).exception(), range(16)))
        assert client.start_restore(b"no picture").exception().code().name == "INVALID_ARGUMENT"

    @classmethod
    def refuse_and_cancel(cls, client):
        """While a large picture is in flight another is refused; then its caller goes."""
        large = client.start_restore(encode(smooth(1500, 1500)))
        wait_until(lambda: cls.server.metrics()["deweather_queue_tiles"] > 0)
        assert client.start_restore(encode(smooth(300, 300))).exception().code().name == "RESOURCE_EXHAUSTED"
        large.cancel()
        wait_until(lambda: cls.server.metrics()["deweather_cancel_seconds_count"] > 0)
        wait_until(lambda: cls.server.metrics()["deweather_inflight_requests"] == 0)

    @classmethod
    def learn(cls, client):
        """One job that succeeds, and one whose pairs have lost a half; requests meanwhile."""
        for i in range(4):
            picture(cls.work / f"scenes/{i}.png", i)
            picture(cls.work / f"rainy/input/{i}.png", i, shift=30)
            picture(cls.work / f"rainy/gt/{i}.png", i)
        for name in ("scenes", "rainy"):
            cls.deweather("datasets", "upload", name, cls.work / name)
        (cls.work / "job.textproto").write_text(CONFIG % {"steps": 60, "more": ""})
        cls.run_job(client, "SUCCEEDED")
        [half] = cls.work.glob("data/datasets/rainy/**/gt/0.png")
        half.unlink()
        cls.run_job(client, "FAILED")

    @classmethod
    def run_job(cls, client, state):
        cls.deweather("jobs", "submit", "--config", cls.work / "job.textproto")

        def ended():
            client.restore(encode(smooth(64, 64)))
            return cls.server.metrics()[f'deweather_training_ended_total{{state="{state}"}}'] > 0
        wait_until(ended, 300)

    @classmethod
    def deweather(cls, *args):
        subprocess.run([program("deweather"), *map(str, args), "--server", cls.server.address], check=True,
                       capture_output=True, timeout=60)

    def asked(self, query, instance=".*"):
        query = query.replace(" or vector(0)", "")
        return substituted(query, self.seconds, instance=instance, model=".*", layer="0")

    def names(self, panel):
        """What the series or columns of a panel are called; of what is not on this machine, a stand-in."""
        names = set()
        for target in panel["targets"]:
            if metric_names(target["expr"]) & OPTIONAL - exported(self.server):
                names.add(re.sub(r"\{\{\w+\}\}", "-", target["legendFormat"]))
                continue
            window = {} if target.get("instant") else {"start": self.start, "end": self.start + self.seconds}
            every = target["expr"].removesuffix(" > 0")  # those at 0, too
            series = self.prometheus.series(self.asked(every), **window)
            names |= columns(panel, series) if panel["type"] == "table" else legends(target, series)
        return names

    def missing(self, query, instant=False, instance=".*"):
        """What is wrong with a query of a panel; empty if it finds data."""
        gone = metric_names(query) - self.prometheus.names()
        if gone and gone <= OPTIONAL - exported(self.server):
            return ""  # no GPU, or no limit of memory, here
        if gone:
            return f"no metric {', '.join(sorted(gone))}"
        query = self.asked(query, instance)
        window = {} if instant else {"start": self.start, "end": self.start + self.seconds}
        return "" if self.prometheus.values(query, **window) else "no data"

    def one_instance(self):
        return re.escape(self.server.metrics_address).replace("\\", "\\\\")

    def test_every_query_finds_data(self):
        for board in BOARDS:
            for title, query, instant in targets(board):
                for instance in (".*", self.one_instance()):
                    with self.subTest(f"{board['title']}: {title}", query=query, instance=instance):
                        self.assertEqual(self.missing(query, instant, instance), "")

    def test_no_query_finds_data_of_a_server_that_is_not_chosen(self):
        for board in BOARDS:
            for title, query, instant in targets(board):
                if "$instance" in query and metric_names(query) <= self.prometheus.names():
                    with self.subTest(f"{board['title']}: {title}", query=query):
                        self.assertEqual(self.missing(query, instant, "elsewhere"), "no data")

    def test_every_name_in_a_panel_is_one_of_its_data(self):
        for board in BOARDS:
            for panel in board["panels"]:
                with self.subTest(f"{board['title']}: {panel['title']}"):
                    self.assertEqual(uncoloured(panel, self.names(panel)) if panel["type"] != "row" else [], [])

    def test_a_misspelt_name_is_found(self):
        found = [{"layer": "0", "expert": "1"}]
        self.assertEqual(legends({"legendFormat": "layer {{layer}}"}, found), {"layer 0"})
        with self.assertRaises(KeyError):
            legends({"legendFormat": "layer {{layr}}"}, found)
        [matrix] = [p for board in BOARDS for p in board["panels"] if p["title"].startswith("Load: tokens")]
        self.assertEqual(columns(matrix, found), {"layer\\expert", "1"})
        with self.assertRaises(KeyError):
            columns(matrix, [{"layr": "0", "expert": "1"}])
        self.assertEqual(uncoloured(matrix, {"layer\\expert"}), [])
        self.assertEqual(uncoloured(matrix, {"layer"}), ["layer\\expert"])

    def test_every_variable_has_values(self):
        for board in BOARDS:
            for variable in board["templating"]["list"]:
                with self.subTest(f"{board['title']}: {variable['name']}"):
                    series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"]).groups()
                    values = self.prometheus.get(f"label/{label}/values", **{"match[]": series})
                    self.assertTrue(values)

    def test_all_that_a_server_tells_is_shown(self):
        """Or is a part of what is shown: of a histogram, one of three series."""
        shown = set().union(*(metric_names(query) for board in BOARDS for _, query, _ in targets(board)))
        records = set().union(*(metric_names(rule["query"]) for group in self.prometheus.get("rules")["groups"]
                                for rule in group["rules"]))
        base = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown | records}
        hidden = {name for name in exported(self.server)
                  if name.startswith(("deweather_", "process_")) and re.sub(r"_(bucket|sum|count)$", "", name) not in base}
        self.assertEqual(hidden, set())

    def test_a_misspelt_query_is_found(self):
        self.assertEqual(self.missing("sum(deweather_queue_tile) or vector(0)"), "no metric deweather_queue_tile")
        self.assertEqual(self.missing('sum(deweather_training_jobs{state="QUEUD"}) or vector(0)'), "no data")
        with self.assertRaisesRegex(AssertionError, "parse error"):
            self.missing("sum(deweather_queue_tiles")


if __name__ == "__main__":
    main()
