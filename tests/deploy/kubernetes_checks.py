"""What kustomize makes of a folder, and what must hold of such objects: each check yields its complaints."""

import re
import shutil
import subprocess

import yaml
from prerequisites import skip

WORKLOADS = ("StatefulSet", "Deployment")
# Their schemas are the Prometheus operator's.
FOREIGN = ("PodMonitor", "PrometheusRule")
# Volumes of the profile `restricted`.
VOLUMES = {"name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected",
           "secret"}
PROBE = ["/usr/bin/deweather", "health"]
# What a server that goes down waits for.
DRAIN = (("drain", "delay"), ("drain", "timeout"), ("training", "stop_grace"))


def kustomize(folder):
    tools = (["kustomize", "build"], ["kubectl", "kustomize"])
    tool = next((tool for tool in tools if shutil.which(tool[0])), None)
    if tool is None:
        skip("neither kustomize nor kubectl here")
    done = subprocess.run([*tool, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode != 0 or done.stderr:
        raise AssertionError(f"{folder}: {done.stderr}")
    return list(yaml.safe_load_all(done.stdout))


def of_kind(objects, *kinds):
    return [o for o in objects if o["kind"] in kinds]


def name(thing):
    return f"{thing['kind']} {thing['metadata']['name']}"


def pods(objects):
    """(workload, pod template) of each."""
    return [(o, o["spec"]["template"]) for o in of_kind(objects, *WORKLOADS)]


def containers(objects):
    return [(o, c) for o, template in pods(objects) for c in template["spec"]["containers"]]


def selects(selector, labels):
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def labels_wanted(thing):
    """What an object says of the pods that it is about; None if it is about none."""
    spec = thing.get("spec", {})
    if thing["kind"] == "Service":
        return spec["selector"]
    selector = spec.get("podSelector") or spec.get("selector")
    return selector["matchLabels"] if selector else None


def selected(objects, thing):
    return [(o, t) for o, t in pods(objects) if selects(labels_wanted(thing), t["metadata"]["labels"])]


def selectors(objects):
    for thing in objects:
        if labels_wanted(thing) is not None and not selected(objects, thing):
            yield f"{name(thing)} selects no pod"
    for workload, template in pods(objects):
        labels = template["metadata"]["labels"]
        if [o for o, _ in selected(objects, workload)] != [workload]:
            yield f"{name(workload)} does not select its own pods, and them alone"
        for spread in template["spec"].get("topologySpreadConstraints", []):
            if not selects(spread["labelSelector"]["matchLabels"], labels):
                yield f"{name(workload)} spreads other pods than its own"


def ports_wanted(thing):
    """Names of the pods' ports that an object relies on."""
    spec = thing["spec"]
    if thing["kind"] == "Service":
        return [port["targetPort"] for port in spec["ports"]]
    if thing["kind"] == "PodMonitor":
        return [endpoint["port"] for endpoint in spec["podMetricsEndpoints"]]
    return [port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]]


def encrypts(container):
    return any(arg.startswith("--tls-cert=") for arg in container["args"])


def secrets(objects):
    """Files that arguments and the environment name are those of mounted Secrets, which nobody else may read."""
    for workload, template in pods(objects):
        container = template["spec"]["containers"][0]
        for volume in template["spec"]["volumes"]:
            if "secret" in volume and volume["secret"].get("defaultMode") != 0o440:
                yield f"{name(workload)} gives {volume['name']} to everybody in the pod"
        places = [m["mountPath"] for m in container["volumeMounts"] if m.get("readOnly")]
        named = [arg.partition("=")[2] for arg in container["args"] if re.match(r"--(tls-|tokens=)", arg)]
        named += [e["value"] for e in container["env"] if e["name"] == "DEWEATHER_TLS_CA"]
        for path in named:
            if path.rpartition("/")[0] not in places:
                yield f"{name(workload)} reads {path}, which is not mounted"


def ports(objects):
    for thing in of_kind(objects, "Service", "PodMonitor", "NetworkPolicy"):
        for _, template in selected(objects, thing):
            known = [port["name"] for c in template["spec"]["containers"] for port in c["ports"]]
            for port in ports_wanted(thing):
                if port not in known:
                    yield f"{name(thing)} wants port {port}, {template['metadata']['labels']} has {known}"
    for workload, container in containers(objects):
        grpc = [port["containerPort"] for port in container["ports"] if port["name"] == "grpc"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container.get(probe, {})
            if asked.get("exec", {}).get("command") == PROBE and encrypts(container):
                continue  # by DEWEATHER_SERVER's default, 127.0.0.1:50051
            if encrypts(container) or [asked.get("grpc", {}).get("port")] != grpc:
                yield f"{name(workload)}: {probe} does not ask the port grpc"


def everybody(peer):
    """Whether a peer of a NetworkPolicy is more than this namespace, or others that a label names."""
    return not peer or "ipBlock" in peer or peer.get("namespaceSelector") == {}


def network(objects):
    """Each port of a pod is open to some, and it reaches the DNS alone."""
    policies = of_kind(objects, "NetworkPolicy")
    for policy in policies:
        for rule in policy["spec"].get("ingress", []):
            if not rule.get("ports") or not rule.get("from") or any(map(everybody, rule["from"])):
                yield f"{name(policy)} lets everybody in"
        for rule in policy["spec"].get("egress", []):
            if not rule.get("to") or [port["port"] for port in rule.get("ports", [])] != [53, 53]:
                yield f"{name(policy)} lets out more than questions to the DNS"
    for workload, template in pods(objects):
        mine = [p["spec"] for p in policies if selects(labels_wanted(p), template["metadata"]["labels"])]
        if {kind for spec in mine for kind in spec["policyTypes"]} != {"Ingress", "Egress"}:
            yield f"{name(workload)} is open to or for everybody"
        reached = {port["port"] for spec in mine for rule in spec.get("ingress", []) for port in rule.get("ports", [])}
        if reached != {"grpc", "metrics"}:
            yield f"{name(workload)} is reached at {reached}"


def headless(objects):
    """Callers that balance see every pod, others one address."""
    for service in of_kind(objects, "Service"):
        one_address = service["spec"].get("clusterIP") != "None"
        if one_address != (service["metadata"]["name"] == "deweather"):
            yield f"{name(service)} has {'one address' if one_address else 'no address of its own'}"


def shared(objects):
    """The claims of a Deployment are for many nodes at once; jobs.db is on a disk of its own."""
    modes = {o["metadata"]["name"]: o["spec"]["accessModes"] for o in of_kind(objects, "PersistentVolumeClaim")}
    for workload, template in pods(objects):
        for volume in template["spec"]["volumes"] if workload["kind"] == "Deployment" else []:
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim in modes and modes[claim] != ["ReadWriteMany"]:
                yield f"{name(workload)} shares {claim}, which is {modes[claim]}"
        for claim in workload["spec"].get("volumeClaimTemplates", []):
            if claim["spec"]["accessModes"] != ["ReadWriteOnce"]:
                yield f"{name(workload)} has its jobs on a disk that is {claim['spec']['accessModes']}"


def autoscaling(objects):
    """More pods come long before callers, who wait 30 s by default, have given up."""
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        for metric in scaler["spec"]["metrics"]:
            value = metric["pods"]["target"]["averageValue"]
            if not 0 < float(value) <= 5:
                yield f"{name(scaler)} lets tiles wait {value} s"


def claims(objects):
    """Names of the volume claims, those that StatefulSets make too."""
    made = [f"{t['metadata']['name']}-{o['metadata']['name']}-{i}" for o in of_kind(objects, "StatefulSet")
            for t in o["spec"].get("volumeClaimTemplates", []) for i in range(o["spec"]["replicas"])]
    return made + [o["metadata"]["name"] for o in of_kind(objects, "PersistentVolumeClaim")]


def references(objects):
    known = {(o["kind"], o["metadata"]["name"]) for o in objects}
    known |= {("PersistentVolumeClaim", claim) for claim in claims(objects)}
    wanted = []
    for autoscaler in of_kind(objects, "HorizontalPodAutoscaler"):
        target = autoscaler["spec"]["scaleTargetRef"]
        wanted.append((autoscaler, target["kind"], target["name"]))
    for workload, template in pods(objects):
        spec = template["spec"]
        wanted.append((workload, "ServiceAccount", spec["serviceAccountName"]))
        if workload["kind"] == "StatefulSet":
            wanted.append((workload, "Service", workload["spec"]["serviceName"]))
        for volume in spec["volumes"]:
            if "configMap" in volume:
                wanted.append((workload, "ConfigMap", volume["configMap"]["name"]))
            if "persistentVolumeClaim" in volume:
                wanted.append((workload, "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
    for thing, kind, target in wanted:
        if (kind, target) not in known:
            yield f"{name(thing)} names {kind} {target}, which is not there"


def mounts(objects):
    for workload, template in pods(objects):
        volumes = [v["name"] for v in template["spec"]["volumes"]]
        volumes += [t["metadata"]["name"] for t in workload["spec"].get("volumeClaimTemplates", [])]
        mounted = [m for c in template["spec"]["containers"] for m in c["volumeMounts"]]
        if sorted(volumes) != sorted(m["name"] for m in mounted):
            yield f"{name(workload)} has volumes {volumes} and mounts others"
        for mount in mounted:
            if mount["name"] == "models" and workload["kind"] == "Deployment" and not mount.get("readOnly"):
                yield f"{name(workload)} may write the shared models"


def restricted(objects):
    """The profile `restricted` of the Pod Security Standards, and a root file system that is read-only."""
    for workload, template in pods(objects):
        spec = template["spec"]
        pod = spec.get("securityContext", {})
        if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{name(workload)} is in a namespace of its node"
        if pod.get("runAsNonRoot") is not True or not pod.get("runAsUser"):
            yield f"{name(workload)} may run as root"
        if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{name(workload)} has no seccomp profile"
        for volume in spec["volumes"]:
            if not VOLUMES.issuperset(volume):
                yield f"{name(workload)} has a volume of a kind that is not allowed: {volume['name']}"
        if spec.get("initContainers"):
            yield f"{name(workload)} has containers that nothing here looks at"
        for container in spec["containers"]:
            context = container.get("securityContext", {})
            own = {"privileged", "runAsUser", "runAsNonRoot", "seccompProfile", "procMount"} & set(context)
            if own or any("hostPort" in port for port in container.get("ports", [])):
                yield f"{name(workload)}: the container has {own or 'a port of its node'}"
            if context.get("allowPrivilegeEscalation") is not False:
                yield f"{name(workload)} may gain privileges"
            if context.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{name(workload)} keeps capabilities"
            if context.get("readOnlyRootFilesystem") is not True:
                yield f"{name(workload)} may write its root file system"


def no_token(objects):
    for thing in of_kind(objects, "ServiceAccount"):
        if thing.get("automountServiceAccountToken") is not False:
            yield f"{name(thing)} hands out its token"
    for workload, template in pods(objects):
        if template["spec"].get("automountServiceAccountToken") is not False:
            yield f"{name(workload)} carries a token"


def config_of(objects, template):
    """The server.textproto that a pod reads."""
    names = [v["configMap"]["name"] for v in template["spec"]["volumes"] if "configMap" in v]
    return next(o["data"]["server.textproto"] for o in of_kind(objects, "ConfigMap") if o["metadata"]["name"] in names)


def setting(texts, block, field):
    """A number of a configuration in the text format, by the first text that has it."""
    for text in texts:
        text = re.sub(r"#.*", "", text)
        found = re.search(rf"^{block} {{(.*?)^}}|^{block} {{(.*)}}$", text, re.M | re.S)
        value = found and re.search(rf"\b{field}(?: {{ seconds:|:) *(\d+)", found[1] or found[2])
        if value:
            return int(value[1])
    raise KeyError(f"{block}.{field}")


def runs_jobs(config):
    return not re.search(r"^training { enabled: false }$", config, re.M)


def timing(objects, defaults):
    """A pod is given the time that its server may take to go, and no probe ends it meanwhile."""
    for workload, template in pods(objects):
        texts = (config_of(objects, template), defaults)
        longest = sum(setting(texts, *field) for field in DRAIN)
        if template["spec"]["terminationGracePeriodSeconds"] < longest + 5:
            yield f"{name(workload)} is killed before the {longest} s that it may need"
        for container in template["spec"]["containers"]:
            probe = container["livenessProbe"]
            if probe["periodSeconds"] * probe["failureThreshold"] <= longest:
                yield f"{name(workload)} is taken for dead while it drains"
            probe = container["startupProbe"]
            if probe["periodSeconds"] * probe["failureThreshold"] < 120:
                yield f"{name(workload)} has little time to load its models"


def size(quantity):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()
    return int(number) << {"Mi": 20, "Gi": 30}[unit]


def memory(objects, defaults):
    """The limit holds what the budgets allow, and 1 GiB for the server itself."""
    for workload, template in pods(objects):
        config = config_of(objects, template)
        texts = (config, defaults)
        wanted = (1 << 30) + setting(texts, "admission", "max_bytes") + setting(texts, "limits", "max_transport_bytes")
        if runs_jobs(config):
            wanted += setting(texts, "training", "max_memory_bytes") * setting(texts, "training", "max_running")
        for container in template["spec"]["containers"]:
            limit, request = (container["resources"][kind]["memory"] for kind in ("limits", "requests"))
            if size(limit) < wanted or request != limit:
                yield f"{name(workload)} asks for {request} to {limit} of memory, its budgets take {wanted >> 20}Mi"


def one_runs_jobs(objects):
    jobs = [o for o, t in pods(objects) if runs_jobs(config_of(objects, t))]
    if [(o["kind"], o["spec"].get("replicas")) for o in jobs] != [("StatefulSet", 1)]:
        yield f"jobs are run by {[name(o) for o in jobs]}, not by one pod"


def listening(objects):
    """Ports are those that the configuration says, and the data folder is a mounted one."""
    for workload, template in pods(objects):
        config = config_of(objects, template)
        container = template["spec"]["containers"][0]
        said = {port["name"]: port["containerPort"] for port in container["ports"]}
        for field, port in (("listen", "grpc"), ("metrics_listen", "metrics")):
            if f'\n{field}: "0.0.0.0:{said.get(port)}"' not in config:
                yield f"{name(workload)}: {field} is not the port {port}"
        if "\nallow_plaintext_beyond_loopback: true" not in config:
            yield f"{name(workload)} refuses to listen without TLS"
        if not any(m["mountPath"].startswith("/var/lib/deweather") for m in container["volumeMounts"]):
            yield f"{name(workload)} keeps nothing"


def images(objects, version):
    for workload, container in containers(objects):
        gpu = "nvidia.com/gpu" in container["resources"]["limits"]
        wanted = f"deweather:{version}-cuda" if gpu else f"deweather:{version}"
        if container["image"].split("/")[-1] != wanted:
            yield f"{name(workload)} runs {container['image']}, not {wanted}"
        if gpu != ("--device=cuda" in container["args"]):
            yield f"{name(workload)}: --device=cuda and the GPU do not go together"
    for thing in objects:
        if thing["metadata"].get("labels", {}).get("app.kubernetes.io/version", version) != version:
            yield f"{name(thing)} is labelled with another version than {version}"


def budgets(objects):
    """A disruption budget lets one go: else no node is ever emptied."""
    scalers = [o["spec"] for o in of_kind(objects, "HorizontalPodAutoscaler")]
    least = {spec["scaleTargetRef"]["name"]: spec["minReplicas"] for spec in scalers}
    for budget in of_kind(objects, "PodDisruptionBudget"):
        spec = budget["spec"]
        for workload, _ in selected(objects, budget):
            replicas = workload["spec"].get("replicas") or least.get(workload["metadata"]["name"], 1)
            if spec.get("minAvailable", replicas - spec.get("maxUnavailable", 0)) >= replicas:
                yield f"{name(budget)} lets none of {replicas} go"
