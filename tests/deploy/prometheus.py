"""A real Prometheus beside the tests: deploy/prometheus.yml, but for whom it asks and how often."""

import json
import os
import re
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request

import yaml
from prerequisites import DEPLOY, need

PROMETHEUS = need("prometheus")
WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset"}
# Only on servers with a GPU, with a limit of memory, with HTTP, with TLS, or with tokens.
OPTIONAL = {"deweather_gpu_memory_bytes", "deweather_memory_limit_bytes", "deweather_http_connections_refused_total",
            "deweather_tls_certificate_expiry_timestamp_seconds", "deweather_tls_files_ok", "deweather_tokens_file_ok"}


def metric_names(query):
    """Names of the metrics in a PromQL expression."""
    query = re.sub(r'"(\\.|[^"\\])*"', '""', query)
    query = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", query)
    query = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", query)
    return {name for name in re.findall(r"(?<![\w:.$])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])", query)} - WORDS


def config(target, interval):
    """As deployed, for one server on this machine."""
    parsed = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    parsed["global"].update(scrape_interval=interval, scrape_timeout=interval, evaluation_interval=interval)
    parsed["rule_files"] = [str(DEPLOY / name) for name in parsed["rule_files"]]
    [scrape] = [s for s in parsed["scrape_configs"] if s["job_name"] == "deweather"]
    for discovery in [key for key in scrape if key.endswith("_sd_configs")]:
        del scrape[discovery]
    scrape["static_configs"] = [{"targets": [target]}]
    parsed["scrape_configs"] = [scrape]
    return yaml.safe_dump(parsed)


class Prometheus:
    """Asks the server at `target`, HOST:PORT, for its metrics every `interval`."""

    def __init__(self, target, interval):
        self.folder = tempfile.TemporaryDirectory()
        path = os.path.join(self.folder.name, "prometheus.yml")
        with open(path, "w") as file:
            file.write(config(target, interval))
        self.process = subprocess.Popen(
            [PROMETHEUS, f"--config.file={path}", f"--storage.tsdb.path={self.folder.name}/data",
             "--web.listen-address=127.0.0.1:0"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        said = []
        for line in self.process.stderr:
            said.append(line)
            if match := re.search(r'msg="Listening on" address=(\S+)', line):
                self.address = match[1]
            if "ready to receive web requests" in line:
                return
        raise AssertionError("Prometheus did not start:\n" + "".join(said[-5:]))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate(timeout=30)
        self.folder.cleanup()

    def get(self, path, **parameters):
        """`data` of a reply of its HTTP API."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {json.load(error)['error']}") from error

    def found(self, query, start=None, end=None):
        """Series of a query over a time, or without one at this moment."""
        if start is None:
            return self.get("query", query=query)["result"]
        return self.get("query_range", query=query, start=start, end=end, step=1)["result"]

    def values(self, query, **window):
        """Every sample that is a number."""
        return [float(value) for series in self.found(query, **window)
                for _, value in series.get("values") or [series["value"]] if value not in ("NaN", "+Inf", "-Inf")]

    def series(self, query, **window):
        """The labels of each series."""
        return [series["metric"] for series in self.found(query, **window)]

    def names(self):
        """Names of all metrics that it has, records among them."""
        return set(self.get("label/__name__/values"))


def exported(server):
    """Names of the metrics that a server exports."""
    return {re.match(r"[\w:]+", series)[0] for series in server.metrics()}
