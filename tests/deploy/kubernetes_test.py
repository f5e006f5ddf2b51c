"""deploy/kubernetes: what kustomize makes of it is valid, fits together and fits the server; each check can fail."""

import copy
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import harness  # noqa: E402  goes on in the Python that has the packages
import kubernetes_checks as checks  # noqa: E402
import kubernetes_validate  # noqa: E402
import yaml  # noqa: E402
from kubernetes_checks import kustomize  # noqa: E402
from prerequisites import DEPLOY, ROOT  # noqa: E402

SERVER = harness.program("deweather-server")
KUBERNETES = DEPLOY / "kubernetes"
DOCS = (ROOT / "docs/kubernetes.md").read_text()
DEFAULTS = (DEPLOY / "server.textproto").read_text()
VERSION = re.search(r"^project\(deweather VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), re.M)[1]
CLUSTERS = ("1.27", "1.37")  # the oldest that docs/kubernetes.md names, and the newest known


def documented(folder):
    """The overlay that docs/kubernetes.md writes out, in this folder."""
    text = re.search(r"^```yaml\n(.*?)^```", DOCS, re.M | re.S)[1]
    here = os.path.relpath(ROOT.resolve(), pathlib.Path(folder).resolve())
    pathlib.Path(folder, "kustomization.yaml").write_text(text.replace("../deweather/", f"{here}/"))
    return kustomize(folder)


def encrypted(folder):
    """overlays/scale with components/tls."""
    here = os.path.relpath(KUBERNETES.resolve(), pathlib.Path(folder).resolve())
    pathlib.Path(folder, "kustomization.yaml").write_text(
        f"resources: [{here}/overlays/scale]\ncomponents: [{here}/components/tls]\n")
    return kustomize(folder)


def build():
    trees = {name: kustomize(KUBERNETES / name) for name in ("base", "overlays/gpu", "overlays/scale")}
    with tempfile.TemporaryDirectory() as folder:
        trees["documented"] = documented(folder)
        trees["tls"] = encrypted(folder)
    monitoring = kustomize(KUBERNETES / "monitoring")
    return {name: [*objects, *monitoring] for name, objects in trees.items()}


TREES = build()

CHECKS = {
    **{check.__name__: check for check in (
        checks.selectors, checks.ports, checks.references, checks.mounts, checks.restricted, checks.no_token,
        checks.one_runs_jobs, checks.listening, checks.budgets, checks.network, checks.headless, checks.shared,
        checks.autoscaling, checks.secrets)},
    "timing": lambda objects: checks.timing(objects, DEFAULTS),
    "memory": lambda objects: checks.memory(objects, DEFAULTS),
    "images": lambda objects: checks.images(objects, VERSION),
}


def schema(objects):
    for thing in objects:
        for version in CLUSTERS:
            if thing["kind"] not in checks.FOREIGN:
                try:
                    kubernetes_validate.validate(thing, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    yield f"{checks.name(thing)}, Kubernetes {version}: {error.message}"


CHECKS["schema"] = schema


class TreesTest(unittest.TestCase):
    def test_every_check_of_every_tree(self):
        for tree, objects in TREES.items():
            for name, check in CHECKS.items():
                with self.subTest(tree=tree, check=name):
                    self.assertEqual(list(check(objects)), [])

    def test_the_configurations_are_sound(self):
        with tempfile.TemporaryDirectory() as folder:
            for tree, objects in TREES.items():
                for thing in checks.of_kind(objects, "ConfigMap"):
                    if "server.textproto" not in thing["data"]:
                        continue
                    path = pathlib.Path(folder, "server.textproto")
                    path.write_text(thing["data"]["server.textproto"].replace("/var/lib/deweather", folder))
                    done = subprocess.run([SERVER, "--check-config", "--config", path], capture_output=True, text=True,
                                          check=False)
                    self.assertEqual(done.returncode, 0, f"{tree}: {done.stderr}")

    def test_names_are_unique(self):
        for tree, objects in TREES.items():
            names = [checks.name(thing) for thing in objects]
            self.assertEqual(len(names), len(set(names)), tree)

    def test_what_stays_when_an_overlay_is_deleted(self):
        self.assertEqual(checks.of_kind(TREES["base"], "Namespace", "PersistentVolumeClaim"), [])


# What a slip would do to overlays/scale, or to the tree that is named, and the check that must see it.
def pod(objects, kind="Deployment"):
    return checks.of_kind(objects, kind)[0]["spec"]["template"]


def server(objects, kind="Deployment"):
    return pod(objects, kind)["spec"]["containers"][0]


def disk(objects):
    return only(objects, "StatefulSet")["spec"]["volumeClaimTemplates"][0]


def waiting(objects):
    return only(objects, "HorizontalPodAutoscaler")["spec"]["metrics"][0]["pods"]["target"]


def spread(objects):
    return pod(objects)["spec"]["topologySpreadConstraints"][0]


def only(objects, kind, name=None):
    return next(o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"]))


def policy(objects, name="deweather"):
    return only(objects, "NetworkPolicy", name)["spec"]


def config(objects, old, new):
    for thing in checks.of_kind(objects, "ConfigMap"):
        if "server.textproto" in thing["data"]:
            thing["data"]["server.textproto"] = thing["data"]["server.textproto"].replace(old, new)


SLIPS = [
    ("schema", lambda o: server(o).update(livenesProbe={})),
    ("schema", lambda o: only(o, "Service")["spec"]["ports"][0].update(port="grpc")),
    ("selectors", lambda o: only(o, "Service", "deweather")["spec"].update(selector={"a": "b"})),
    ("selectors", lambda o: only(o, "PodDisruptionBudget")["spec"]["selector"].update(matchLabels={"a": "b"})),
    ("selectors", lambda o: policy(o)["podSelector"].update(matchLabels={"a": "b"})),
    ("selectors", lambda o: only(o, "PodMonitor")["spec"]["selector"].update(matchLabels={"a": "b"})),
    ("selectors", lambda o: pod(o)["metadata"]["labels"].update({"app.kubernetes.io/component": "jobs"})),
    ("selectors", lambda o: spread(o)["labelSelector"].update(matchLabels={"a": "b"})),
    ("ports", lambda o: only(o, "Service")["spec"]["ports"][0].update(targetPort="http")),
    ("ports", lambda o: policy(o)["ingress"][0]["ports"][0].update(port="prometheus")),
    ("ports", lambda o: only(o, "PodMonitor")["spec"]["podMetricsEndpoints"][0].update(port="prometheus")),
    ("ports", lambda o: server(o)["readinessProbe"]["grpc"].update(port=50052)),
    ("ports", lambda o: server(o).pop("livenessProbe")),
    ("references", lambda o: o.remove(only(o, "PersistentVolumeClaim"))),
    ("references", lambda o: o.remove(only(o, "ServiceAccount"))),
    ("references", lambda o: only(o, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"].update(kind="StatefulSet")),
    ("references", lambda o: only(o, "StatefulSet")["spec"].update(serviceName="deweather-job")),
    ("references", lambda o: pod(o)["spec"]["volumes"][1]["configMap"].update(name="deweather-serve-config")),
    ("mounts", lambda o: pod(o)["spec"]["volumes"].pop()),
    ("mounts", lambda o: server(o)["volumeMounts"][0].pop("readOnly")),
    ("restricted", lambda o: pod(o)["spec"]["securityContext"].pop("runAsNonRoot")),
    ("restricted", lambda o: pod(o)["spec"]["securityContext"].pop("seccompProfile")),
    ("restricted", lambda o: pod(o)["spec"].update(hostPID=True)),
    ("restricted", lambda o: pod(o)["spec"]["volumes"].append({"name": "data", "hostPath": {"path": "/data"}})),
    ("restricted", lambda o: server(o)["securityContext"].pop("capabilities")),
    ("restricted", lambda o: server(o)["securityContext"].update(runAsUser=0)),
    ("restricted", lambda o: server(o)["securityContext"].update(allowPrivilegeEscalation=True)),
    ("restricted", lambda o: server(o)["securityContext"].pop("readOnlyRootFilesystem")),
    ("restricted", lambda o: server(o)["ports"][0].update(hostPort=50051)),
    ("no_token", lambda o: pod(o)["spec"].pop("automountServiceAccountToken")),
    ("one_runs_jobs", lambda o: only(o, "StatefulSet")["spec"].update(replicas=2)),
    ("one_runs_jobs", lambda o: config(o, "training { enabled: false }", "")),
    ("listening", lambda o: config(o, ":50051", ":50052")),
    ("listening", lambda o: config(o, "0.0.0.0:9464", "127.0.0.1:9464")),
    ("listening", lambda o: config(o, "allow_plaintext_beyond_loopback: true", "")),
    ("secrets", lambda o: server(o)["args"].append("--tls-key=/run/deweather/tls/tls.key")),
    ("secrets", lambda o: pod(o)["spec"]["volumes"].append({"name": "tls", "secret": {"secretName": "deweather-tls"}})),
    ("ports", lambda o: server(o)["args"].append("--tls-cert=/etc/deweather/tls.crt")),
    ("budgets", lambda o: only(o, "PodDisruptionBudget", "deweather-serve")["spec"].update(minAvailable=3)),
    ("budgets", lambda o: only(o, "PodDisruptionBudget", "deweather")["spec"].update(maxUnavailable=0)),
    ("network", lambda o: policy(o, "deweather-callers")["ingress"][0]["from"].append({"namespaceSelector": {}})),
    ("network", lambda o: policy(o, "deweather-callers")["ingress"][0].pop("from")),
    ("network", lambda o: policy(o, "deweather-callers").update(ingress=[{}])),
    ("network", lambda o: policy(o)["ingress"].clear()),
    ("network", lambda o: policy(o).update(egress=[{}])),
    ("network", lambda o: policy(o)["egress"][0]["ports"].append({"port": 443})),
    ("network", lambda o: policy(o)["policyTypes"].remove("Egress")),
    ("network", lambda o: o.remove(only(o, "NetworkPolicy", "deweather-admins"))),
    ("headless", lambda o: only(o, "Service", "deweather-headless")["spec"].pop("clusterIP")),
    ("headless", lambda o: only(o, "Service", "deweather")["spec"].update(clusterIP="None")),
    ("shared", lambda o: only(o, "PersistentVolumeClaim")["spec"].update(accessModes=["ReadWriteOnce"])),
    ("shared", lambda o: disk(o)["spec"].update(accessModes=["ReadWriteMany"])),
    ("autoscaling", lambda o: waiting(o).update(averageValue="1000")),
    ("timing", lambda o: pod(o)["spec"].update(terminationGracePeriodSeconds=65)),
    ("timing", lambda o: config(o, "training {", "drain { timeout { seconds: 60 } }\ntraining {")),
    ("timing", lambda o: config(o, "  threads: 2\n", "  stop_grace { seconds: 90 }\n")),
    ("timing", lambda o: server(o)["livenessProbe"].update(failureThreshold=3)),
    ("timing", lambda o: server(o)["startupProbe"].update(failureThreshold=3)),
    ("memory", lambda o: server(o)["resources"].update(limits={"memory": "3Gi"}, requests={"memory": "3Gi"})),
    ("memory", lambda o: config(o, "4294967296", "8589934592")),
    ("images", lambda o: server(o).update(image="deweather:latest")),
    ("images", lambda o: server(o)["args"].append("--device=cuda")),
    ("images", lambda o: server(o)["resources"]["limits"].update({"nvidia.com/gpu": 1})),
    ("images", lambda o: only(o, "Service")["metadata"]["labels"].update({"app.kubernetes.io/version": "0.0.9"})),
]


class SlipsTest(unittest.TestCase):
    def test_each_check_sees_what_it_is_for(self):
        for number, (name, slip) in enumerate(SLIPS):
            objects = copy.deepcopy(TREES["overlays/scale"])
            slip(objects)
            with self.subTest(slip=number, check=name):
                self.assertNotEqual(list(CHECKS[name](objects)), [])

    def test_no_check_is_without_a_slip(self):
        self.assertEqual(set(CHECKS), {name for name, _ in SLIPS})

    def test_kustomize_refuses_what_is_not_there(self):
        for line in ("resources: [none.yaml]", "patches: [{target: {kind: Pod}, path: none.yaml}]"):
            with tempfile.TemporaryDirectory() as folder:
                pathlib.Path(folder, "kustomization.yaml").write_text(f"{line}\n")
                with self.assertRaises(AssertionError):
                    kustomize(folder)


class OverlaysTest(unittest.TestCase):
    def test_patches_do_what_they_are_for(self):
        """kustomize says nothing of a patch whose target is not there."""
        scale = TREES["overlays/scale"]
        about = (("Service", "deweather", "serve"), ("Service", "deweather-headless", "serve"),
                 ("Service", "deweather-jobs", "jobs"), ("NetworkPolicy", "deweather-callers", "serve"),
                 ("NetworkPolicy", "deweather-admins", "jobs"))
        for kind, name, wanted in about:
            labels = checks.labels_wanted(only(scale, kind, name))
            self.assertEqual(labels.get("app.kubernetes.io/component"), wanted, name)
        mounted = {m["mountPath"]: m["name"] for m in server(scale, "StatefulSet")["volumeMounts"]}
        self.assertEqual(mounted["/var/lib/deweather/models"], "models")
        self.assertEqual(mounted["/var/lib/deweather"], "data")

    def test_gpu(self):
        for tree, workloads in (("overlays/gpu", 1), ("documented", 2)):
            found = checks.containers(TREES[tree])
            self.assertEqual(len(found), workloads)
            for _, container in found:
                self.assertTrue(container["image"].endswith(f"deweather:{VERSION}-cuda"), container["image"])
                self.assertEqual(container["resources"]["limits"]["nvidia.com/gpu"], 1)
            for _, template in checks.pods(TREES[tree]):
                self.assertEqual(template["spec"]["tolerations"][0]["key"], "nvidia.com/gpu")
        rollout = only(TREES["documented"], "Deployment")["spec"]["strategy"]["rollingUpdate"]
        self.assertEqual(rollout, {"maxSurge": 0, "maxUnavailable": 1})  # needs no GPU that is free

    def test_tls(self):
        found = checks.containers(TREES["tls"])
        self.assertEqual(len(found), 2)
        known = subprocess.run([SERVER, "--help"], capture_output=True, text=True, check=True).stdout
        for workload, container in found:
            with self.subTest(checks.name(workload)):
                self.assertTrue(checks.encrypts(container))
                self.assertEqual(container["readinessProbe"]["exec"]["command"], checks.PROBE)
                for arg in container["args"]:
                    if arg.startswith("--"):
                        self.assertRegex(known, rf"{arg.partition('=')[0]}[ ,]")

    def test_the_documented_overlay_says_what_it_is_asked(self):
        objects = TREES["documented"]
        self.assertEqual(server(objects)["image"], f"registry.example/deweather:{VERSION}-cuda")
        self.assertEqual(only(objects, "PersistentVolumeClaim")["spec"]["storageClassName"], "nfs")
        template = only(objects, "StatefulSet")["spec"]["volumeClaimTemplates"][0]
        self.assertEqual(template["spec"]["storageClassName"], "fast-ssd")
        self.assertEqual(only(objects, "Deployment")["metadata"]["namespace"], "deweather")

    def test_the_first_steps_wait_for_every_pod(self):
        steps = DOCS.partition("\n## Objects")[0]
        for workload, _ in checks.pods(TREES["documented"]):
            self.assertIn(f"rollout status {workload['kind'].lower()}/{workload['metadata']['name']}\n", steps)

    def test_the_copy_of_models(self):
        job = yaml.safe_load((KUBERNETES / "overlays/scale/copy-models.yaml").read_text())
        self.assertEqual(list(schema([job])), [])
        self.assertEqual(list(checks.restricted([{**job, "kind": "Deployment"}])), [])
        for volume in job["spec"]["template"]["spec"]["volumes"]:
            claim = volume["persistentVolumeClaim"]["claimName"]
            self.assertIn(claim, checks.claims(TREES["overlays/scale"]))

    def test_what_the_documentation_names_is_there(self):
        for path in set(re.findall(r"deploy/kubernetes/[\w/.-]+\w|deploy/launch|deploy/scale|docs/\w+\.md", DOCS)):
            self.assertTrue((ROOT / path).exists(), path)
        objects = {o["metadata"]["name"] for tree in TREES.values() for o in tree} | set(checks.claims(TREES["base"]))
        table = re.search(r"## Objects\n(.*?)\n## ", DOCS, re.S)[1]
        for name in re.findall(r"`((?:data-)?deweather-?[\w-]*)`", table):
            self.assertIn(name, objects)


class CallersTest(unittest.TestCase):
    """A caller with the service config of docs/kubernetes.md, while one of two servers goes down."""

    CONFIG = re.search(r'^    (\{"healthCheckConfig".*\})$', DOCS, re.M)[1]

    def setUp(self):
        config = "drain { delay { seconds: 2 } timeout { seconds: 20 } }"
        self.servers = [self.enterContext(harness.Server("--model", "identity", config=config)) for _ in range(2)]
        self.goes = self.enterContext(self.servers[0].client())
        self.request = self.goes.request(harness.encode(harness.smooth(64, 64)))
        self.failures, self.done, self.end = [], 0, threading.Event()

    def hold(self):
        """A call that keeps the server, and its connections, for as long as it drains."""
        def half_a_picture():
            yield self.goes.message("deweather.v1.RestoreLargeRequest")(start={"image_bytes": 1000})
            self.end.wait()

        held = self.goes.method(harness.SERVICE, "RestoreLarge")(half_a_picture())
        self.addCleanup(held.cancel)
        harness.wait_until(lambda: self.servers[0].metrics()["deweather_inflight_bytes"] > 0)

    def call(self, restore):
        try:
            restore(self.request, timeout=30)
            self.done += 1
        except harness.grpc.RpcError as error:
            self.failures.append(f"{error.code().name}: {error.details()}")

    def refused(self):
        try:
            self.goes.method(harness.SERVICE, "Restore")(self.request, timeout=30)
        except harness.grpc.RpcError as error:
            return error.code().name == "UNAVAILABLE"
        return False

    def test_none_of_its_calls_is_lost(self):
        channel = self.enterContext(harness.grpc.insecure_channel(
            "ipv4:" + ",".join(server.address for server in self.servers),
            options=[("grpc.service_config", self.CONFIG)]))
        name = f"/{harness.SERVICE}/Restore"
        reply = self.goes.message("deweather.v1.RestoreResponse")
        restore = channel.unary_unary(name, type(self.request).SerializeToString, reply.FromString)
        self.hold()

        def go_on():
            while not self.end.is_set():
                self.call(restore)

        callers = [threading.Thread(target=go_on) for _ in range(4)]
        for caller in callers:
            caller.start()
        self.addCleanup(lambda: [caller.join() for caller in callers])
        self.addCleanup(self.end.set)
        for server in self.servers:
            harness.wait_until(lambda s=server: s.metrics()['deweather_restore_requests_total{code="OK"}'] > 20)
        self.servers[0].process.terminate()
        harness.wait_until(self.refused)
        before = self.done
        harness.wait_until(lambda: self.done > before + 20)
        self.assertIsNone(self.servers[0].process.poll())
        self.assertEqual(self.failures, [])


class MetricsTest(unittest.TestCase):
    def setUp(self):
        self.adapter = yaml.safe_load((KUBERNETES / "overlays/scale/prometheus-adapter.yaml").read_text())
        self.rule = self.adapter["rules"]["custom"][0]

    def test_the_autoscaler_asks_for_a_metric_that_there_is(self):
        scaler = only(TREES["overlays/scale"], "HorizontalPodAutoscaler")
        metric = scaler["spec"]["metrics"][0]["pods"]["metric"]["name"]
        self.assertIn(f'"{metric}"', (ROOT / "server/restore/metrics.cc").read_text())
        self.assertTrue(self.rule["seriesQuery"].startswith(f"{metric}{{"))
        self.assertIn(metric, DOCS)

    def test_the_adapter_asks_what_prometheus_understands(self):
        promtool = shutil.which("promtool")
        if not promtool:
            self.skipTest("no promtool")
        query = self.rule["metricsQuery"]
        for template, text in (("<<.Series>>", "deweather_queue_oldest_seconds"), ("<<.GroupBy>>", "pod"),
                               ("<<.LabelMatchers>>", 'namespace="deweather",pod=~"a|b"')):
            self.assertIn(template, query)
            query = query.replace(template, text)
        with tempfile.TemporaryDirectory() as folder:
            rules = pathlib.Path(folder, "rules.yml")
            for expr in (query, self.rule["seriesQuery"], re.search(r"`(sum\(.*\))`", DOCS)[1]):
                rules.write_text(yaml.safe_dump({"groups": [{"name": "a", "rules": [{"record": "a", "expr": expr}]}]}))
                done = subprocess.run([promtool, "check", "rules", rules], capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, 0, done.stderr)

    def prometheus_rule(self, *labels, status=0):
        done = subprocess.run([KUBERNETES / "prometheus-rule", *labels], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        return yaml.safe_load(done.stdout) if status == 0 else None

    def test_alerts_become_a_rule_and_stay_what_they_are(self):
        rule = self.prometheus_rule("release: prometheus")
        self.assertEqual((rule["apiVersion"], rule["kind"]), ("monitoring.coreos.com/v1", "PrometheusRule"))
        self.assertEqual(rule["metadata"]["labels"]["release"], "prometheus")
        self.assertEqual(rule["spec"], yaml.safe_load((DEPLOY / "alerts.yml").read_text()))
        self.prometheus_rule("release", status=2)
        self.prometheus_rule("--release", status=2)

    def test_dashboards_are_all_there(self):
        wanted = {path.name: path.read_text() for path in (DEPLOY / "grafana/dashboards").glob("*.json")}
        self.assertTrue(wanted)
        found = {}
        for thing in checks.of_kind(TREES["base"], "ConfigMap"):
            if thing["metadata"].get("labels", {}).get("grafana_dashboard") == "1":
                found.update(thing["data"])
            self.assertLess(len(str(thing)), 250_000)  # what `kubectl apply` can note beside an object
        self.assertEqual(found, wanted)

    def test_the_job_is_called_as_alerts_have_it(self):
        label = only(TREES["base"], "PodMonitor")["spec"]["jobLabel"]
        for _, template in checks.pods(TREES["overlays/scale"]):
            self.assertEqual(template["metadata"]["labels"][label], "deweather")
        scraped = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
        self.assertIn("deweather", [job["job_name"] for job in scraped])


if __name__ == "__main__":
    harness.main()
