#!/usr/bin/env python3
"""Checks what the chart, the manifests, the examples and the Debian packages of packaging/ say.

Every rendering is checked against Kubernetes' own schemas, of the oldest and the newest version that it is for, and for what
no schema knows: that names, selectors and ports agree, that the bootstrap file is one that the gateway reads, and that a pod
may do no more than is promised.

HELM is the program. With GATEWAY, a `gateway`, that checks the bootstrap files as well.
"""

import ipaddress
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import traceback
from pathlib import Path

import kubernetes_validate
import yaml

HERE = Path(__file__).resolve().parent
PACKAGING = HERE.parent.parent
ROOT = PACKAGING.parent
CHART = PACKAGING / "helm/tidegate"
HELM = os.environ.get("HELM", "helm")
GATEWAY = os.environ.get("GATEWAY")
# The chart's kubeVersion, and the newest there are schemas of.
VERSIONS = ["1.25", kubernetes_validate.latest_version()]
# In seconds: what a process may take for what it writes when all has ended, and a margin.
LAST_WRITES = 10
NAMESPACE = "istio-system"
WEBHOOK_NAMESPACE = "tidegate-webhook"
CLUSTER_WIDE = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "Namespace",
    "ValidatingWebhookConfiguration",
}
NEVER_INJECTED = {"kube-system", "kube-public", "kube-node-lease", "local-path-storage", NAMESPACE}
READ = frozenset({"get", "list", "watch"})
OURS = {
    "networking.istio.io": {"Gateway", "VirtualService", "DestinationRule", "ServiceEntry", "WorkloadEntry", "Sidecar"},
    "security.istio.io": {"PeerAuthentication", "AuthorizationPolicy"},
}


class Loader(yaml.SafeLoader):
    """Refuses what PyYAML takes in silence: two values of one key."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            assert keys.count(key) == 1, f"{node.start_mark}: `{key}` is there twice"
        return super().construct_mapping(node, deep)


def documents(text):
    return [document for document in yaml.load_all(text, Loader) if document is not None]


def helm(*arguments):
    return subprocess.run([HELM, *arguments], capture_output=True, text=True)


class Objects:
    """Some of the objects of one installation."""

    def __init__(self, objects):
        self.objects = objects

    def all(self, *kinds):
        return [found for found in self.objects if found["kind"] in kinds]

    def one(self, *kinds):
        found = self.all(*kinds)
        assert len(found) == 1, f"{len(found)} of {kinds}"
        return found[0]

    @property
    def workload(self):
        return self.one("Deployment", "DaemonSet")

    @property
    def template(self):
        return self.workload["spec"]["template"]

    @property
    def pod(self):
        return self.template["spec"]

    @property
    def container(self):
        containers = self.pod["containers"]
        assert len(containers) == 1 and "initContainers" not in self.pod
        return containers[0]

    @property
    def bootstrap(self):
        return tomllib.loads(self.bootstrap_text)

    @property
    def bootstrap_text(self):
        (text,) = self.one("ConfigMap")["data"].values()
        return text


class Rendering(Objects):
    """The objects of one installation: the gateway's, and beside them the webhook's."""

    def __init__(self, everything):
        def is_webhooks(found):
            return found["metadata"].get("labels", {}).get("app.kubernetes.io/component") == "webhook"

        super().__init__([found for found in everything if not is_webhooks(found)])
        self.everything = everything
        self.webhook = Objects([found for found in everything if is_webhooks(found)])

    @property
    def webhook_namespace(self):
        return self.webhook.bootstrap["webhook"]["namespace"]


def kubernetes_takes_it(rendering):
    for found in rendering.everything:
        for version in VERSIONS:
            kubernetes_validate.validate(found, version, strict=True)


def names_are_unique_and_in_place(rendering):
    scope = set(rendering.bootstrap["kubernetes"]["namespaces"]) | {NAMESPACE}
    for found in rendering.objects:
        namespace = found["metadata"].get("namespace")
        assert namespace is None or namespace in scope, f"{found['kind']} {found['metadata']['name']} in {namespace}"
        assert found["kind"] in ("Role", "RoleBinding") or namespace in (None, NAMESPACE)
    for found in rendering.webhook.objects:
        namespace = found["metadata"].get("namespace")
        assert namespace in (None, rendering.webhook_namespace), f"{found['kind']} {found['metadata']['name']} in {namespace}"
    seen = set()
    for found in rendering.everything:
        kind, metadata = found["kind"], found["metadata"]
        namespace = metadata.get("namespace")
        assert (namespace is None) == (kind in CLUSTER_WIDE), f"{kind} {metadata['name']} in {namespace}"
        key = (kind, namespace, metadata["name"])
        assert key not in seen, key
        seen.add(key)


def selectors_select_the_pod(rendering):
    labels = rendering.template["metadata"]["labels"].items()
    pod_selectors = [rendering.workload["spec"]["selector"]["matchLabels"], rendering.one("Service")["spec"]["selector"]]
    pod_selectors += [budget["spec"]["selector"]["matchLabels"] for budget in rendering.all("PodDisruptionBudget")]
    spread = rendering.pod.get("topologySpreadConstraints", [])
    pod_selectors += [constraint["labelSelector"]["matchLabels"] for constraint in spread]
    for selector in pod_selectors:
        assert selector and selector.items() <= labels, selector
    assert rendering.bootstrap["proxy"]["labels"].items() <= labels
    assert rendering.bootstrap["proxy"]["namespace"] == NAMESPACE
    assert rendering.bootstrap["proxy"]["name"] == rendering.workload["metadata"]["name"]
    for scaler in rendering.all("HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == (rendering.workload["kind"], rendering.workload["metadata"]["name"])
        assert "replicas" not in rendering.workload["spec"], "two would say how many there are"
        assert scaler["spec"]["minReplicas"] <= scaler["spec"]["maxReplicas"]


def ports_agree(rendering):
    bootstrap = rendering.bootstrap
    mapped = {int(port): bound for port, bound in bootstrap["listen"]["ports"].items()}
    container = {port["name"]: port["containerPort"] for port in rendering.container["ports"]}
    assert len(set(container.values())) == len(rendering.container["ports"])
    for port in rendering.one("Service")["spec"]["ports"]:
        assert container[port["name"]] == port["targetPort"] == mapped.get(port["port"], port["port"]), port
        assert port["targetPort"] >= 1024, "without a privilege"
    host = ipaddress.ip_address(bootstrap["listen"]["address"])
    assert host.is_unspecified
    at = {}
    for section in ("status", "metrics", "admin"):
        address, _, port = bootstrap[section]["address"].rpartition(":")
        at[section] = ipaddress.ip_address(address.strip("[]")), int(port)
    assert at["status"] == (host, 15021) and at["metrics"] == (host, 15020)
    assert at["admin"][0].is_loopback
    assert at["admin"][1] not in container.values()
    ready = rendering.container["readinessProbe"]["httpGet"]
    assert (ready["path"], ready["port"]) == ("/healthz/ready", 15021)
    assert rendering.container["livenessProbe"]["tcpSocket"]["port"] == 15021
    annotations = rendering.template["metadata"]["annotations"]
    assert annotations["prometheus.io/scrape"] == "true"
    assert annotations["prometheus.io/path"] == "/stats/prometheus"
    assert int(annotations["prometheus.io/port"]) == container["http-metrics"] == at["metrics"][1]


def bootstrap_is_known(rendering):
    """No key that neither bootstrap file of conf/ tells of, where what is left out stands behind a `#`."""
    check_sections(rendering.bootstrap)
    program_takes_it(rendering.bootstrap_text)


def check_sections(bootstrap, files=("gateway.toml", "mesh-agent.toml")):
    known = known_keys(files)
    for section, keys in bootstrap.items():
        assert section in known, f"[{section}]"
        if section == "health-checks":
            keys = {key for check in keys.values() for key in check}
        unknown = set(keys) - known[section]
        assert not unknown, f"[{section}] {unknown}"


def known_keys(files):
    known = {}
    for name in files:
        section = None
        for line in (ROOT / "conf" / name).read_text().splitlines():
            if header := re.match(r"#? ?\[([a-z-]+)(\.\S*)?\]$", line):
                section = header[1]
                known.setdefault(section, set())
            elif key := re.match(r"(?:# )*([a-z0-9-]+) = ", line):
                known[section].add(key[1])
            elif re.match(r"# \[\[forward-proxy\.clients\]\]$", line):
                known["forward-proxy"].add("clients")
    return known


def program_takes_it(text):
    if not GATEWAY:
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gateway.toml"
        (Path(folder) / "resources").mkdir()
        # Nothing is remembered of a check.
        file.write_text(text.replace('"/var/lib/tidegate/last-good"', '""'))
        run = subprocess.run([GATEWAY, "check", "--config", file], capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr


def webhook_takes_it(text):
    if not GATEWAY:
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "webhook.toml"
        file.write_text(text)
        run = subprocess.run([GATEWAY, "webhook", "--check", "--config", file], capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr


def privileges_are_none(rendering):
    check_privileges(rendering)


def check_privileges(rendering):
    pod, container = rendering.pod, rendering.container
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert isinstance(context["runAsUser"], int) and context["runAsUser"] > 0 and context["runAsGroup"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert not [volume for volume in pod["volumes"] if "hostPath" in volume]


def volumes_are_there(rendering):
    pod, container, bootstrap = rendering.pod, rendering.container, rendering.bootstrap
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert len(volumes) == len(pod["volumes"])
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert {mount["name"] for mount in mounts.values()} == volumes.keys()
    assert volumes[mounts["/etc/tidegate"]["name"]]["configMap"]["name"] == rendering.one("ConfigMap")["metadata"]["name"]
    assert "--config=/etc/tidegate/gateway.toml" in container["args"]
    kept = mounts[os.path.dirname(bootstrap["resources"]["last-good"])]
    assert not kept.get("readOnly") and volumes[kept["name"]]["emptyDir"]["medium"] == "Memory", "keys are among it"
    for volume in volumes.values():
        if secret := volume.get("secret"):
            assert secret["optional"] is True and secret["defaultMode"] == 0o440
            assert bootstrap["tls"]["allow-readable-keys"] is True, "the group can read them"


def nothing_is_dropped(rendering):
    seconds = {key: int(value.removesuffix("s")) for key, value in rendering.bootstrap["drain"].items()}
    assert rendering.pod["terminationGracePeriodSeconds"] >= seconds["delay"] + seconds["timeout"] + LAST_WRITES
    spec = rendering.workload["spec"]
    update = spec.get("strategy") or spec.get("updateStrategy")
    taken = any("hostPort" in port for port in rendering.container["ports"])
    assert update["type"] == "RollingUpdate"
    assert (update["rollingUpdate"]["maxUnavailable"] == 0) == (not taken)
    assert (update["rollingUpdate"]["maxSurge"] == 0) == taken


def roles_are_what_is_used(rendering):
    account = {"kind": "ServiceAccount", "name": rendering.pod["serviceAccountName"], "namespace": NAMESPACE}
    for found in rendering.all("ServiceAccount"):
        assert found["metadata"]["name"] == account["name"]
        assert found["automountServiceAccountToken"] is False
    assert rendering.pod["automountServiceAccountToken"] is True
    assert rendering.bootstrap["proxy"]["service-account"] == account["name"]
    roles = {place(role): role for role in rendering.all("ClusterRole", "Role") if not is_of_sidecars(role)}
    bound = set()
    for binding in rendering.all("ClusterRoleBinding", "RoleBinding"):
        if is_of_sidecars(binding):
            continue
        assert binding["subjects"] == [account]
        reference = binding["roleRef"]
        bound.add((reference["kind"], binding["metadata"].get("namespace"), reference["name"]))
    assert bound == roles.keys()
    everywhere = set(rendering.bootstrap["kubernetes"]["namespaces"]) or {None}
    granted = {}
    for (_, namespace, _), role in roles.items():
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    granted.setdefault((group, resource, frozenset(rule["verbs"])), set()).add(namespace)
    if not roles:
        return
    orders = "acme" in rendering.bootstrap
    secrets = READ | {"create", "update"} if orders else READ
    wanted = {("", "secrets", secrets): {NAMESPACE}, ("", "nodes", READ): {None}}
    for group, resource in {("", "services"), ("", "pods"), ("discovery.k8s.io", "endpointslices")} | plurals():
        wanted[group, resource, READ] = everywhere
    if rendering.bootstrap["kubernetes"]["status"]:
        for group, resource in plurals():
            wanted[group, f"{resource}/status", frozenset({"patch"})] = everywhere
        wanted["events.k8s.io", "events", frozenset({"create", "patch"})] = everywhere
    if orders or rendering.bootstrap["kubernetes"]["status"]:
        leases = frozenset({"get", "list", "create", "patch", "delete"})
        wanted["coordination.k8s.io", "leases", leases] = {NAMESPACE}
    assert granted == wanted, granted


def webhook_is_apart(rendering):
    """It is found by its Service alone, reads its own file, and may do no more than the gateway, but for two things."""
    webhook = rendering.webhook
    if not webhook.objects:
        return
    name = webhook.workload["metadata"]["name"]
    labels = webhook.template["metadata"]["labels"]
    service = webhook.one("Service")
    selectors = [webhook.workload["spec"]["selector"]["matchLabels"], service["spec"]["selector"]]
    selectors += [webhook.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]]
    selectors += [constraint["labelSelector"]["matchLabels"] for constraint in webhook.pod["topologySpreadConstraints"]]
    for selector in selectors:
        assert selector and selector.items() <= labels.items(), selector
    assert not rendering.one("Service")["spec"]["selector"].items() <= labels.items(), "the gateway's traffic would go there"
    assert labels["sidecar.istio.io/inject"] == "false"
    check_privileges(webhook)
    bootstrap = webhook.bootstrap
    check_sections(bootstrap, ["webhook.toml"])
    webhook_takes_it(webhook.bootstrap_text)
    assert bootstrap["webhook"]["namespace"] == service["metadata"]["namespace"] != NAMESPACE, "the gateway reads all Secrets there"
    assert bootstrap["webhook"]["service"] == service["metadata"]["name"] == name
    assert bootstrap["webhook"]["secret"] == webhook.one("Secret")["metadata"]["name"]
    assert "data" not in webhook.one("Secret"), "what it holds is not the chart's"
    container = {port["containerPort"] for port in webhook.container["ports"]}
    at = {section: int(bootstrap[section]["address"].rpartition(":")[2]) for section in ("webhook", "status", "metrics")}
    assert at == {"webhook": 15017, "status": 15021, "metrics": 15020} and container == set(at.values())
    assert [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]] == [(443, 15017)]
    assert webhook.container["readinessProbe"]["httpGet"] == {"path": "/healthz/ready", "port": 15021}
    seconds = {key: int(value.removesuffix("s")) for key, value in bootstrap["drain"].items()}
    assert webhook.pod["terminationGracePeriodSeconds"] > seconds["delay"] + seconds["timeout"]
    mounts = {mount["mountPath"]: mount["name"] for mount in webhook.container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in webhook.pod["volumes"]}
    assert mounts.keys() == {"/etc/tidegate"} and set(mounts.values()) == volumes.keys()
    assert volumes[mounts["/etc/tidegate"]]["configMap"]["name"] == webhook.one("ConfigMap")["metadata"]["name"]
    assert "--config=/etc/tidegate/webhook.toml" in webhook.container["args"]


def webhook_writes_its_own_alone(rendering):
    webhook = rendering.webhook
    if not webhook.objects:
        return
    name = webhook.one("ServiceAccount")["metadata"]["name"]
    account = {"kind": "ServiceAccount", "name": name, "namespace": rendering.webhook_namespace}
    assert webhook.pod["serviceAccountName"] == account["name"] != rendering.pod["serviceAccountName"]
    rules = []
    for binding, role in (("RoleBinding", "Role"), ("ClusterRoleBinding", "ClusterRole")):
        binding, role = webhook.one(binding), webhook.one(role)
        assert binding["subjects"] == [account]
        assert binding["roleRef"]["kind"] == role["kind"] and binding["roleRef"]["name"] == role["metadata"]["name"]
        rules += role["rules"]
    configurations = webhook.all("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
    (name,) = {found["metadata"]["name"] for found in configurations}
    assert rules == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [webhook.bootstrap["webhook"]["secret"]], "verbs": ["get", "update"]},
        {
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"],
            "resourceNames": [name],
            "verbs": ["get", "update"],
        },
    ]
    for kind, key in (("Validating", "validating"), ("Mutating", "mutating")):
        there = [found["metadata"]["name"] for found in webhook.all(f"{kind}WebhookConfiguration")]
        assert webhook.bootstrap["webhook"][f"{key}-configurations"] == there


def webhook_is_asked_where_it_answers(rendering):
    webhook = rendering.webhook
    for found in webhook.all("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
        validates = found["kind"].startswith("Validating")
        for hook in found["webhooks"]:
            service = webhook.one("Service")
            assert hook["clientConfig"] == {
                "service": {
                    "name": service["metadata"]["name"],
                    "namespace": service["metadata"]["namespace"],
                    "path": "/validate" if validates else "/inject",
                    "port": service["spec"]["ports"][0]["port"],
                }
            }, "whom to trust is the webhook's to say"
            assert hook["admissionReviewVersions"] == ["v1"] and hook["sideEffects"] == "None"
            assert len(hook["name"].split(".")) >= 3
            asked = {(group, resource) for rule in hook["rules"] for group in rule["apiGroups"] for resource in rule["resources"]}
            assert asked == (plurals() if validates else {("", "pods")})
            operations = {operation for rule in hook["rules"] for operation in rule["operations"]}
            assert operations == ({"CREATE", "UPDATE"} if validates else {"CREATE"}), "deleting is nobody's to keep from"


def matches(selector, labels):
    def holds(expression):
        value = labels.get(expression["key"])
        return {
            "In": lambda: value in expression["values"],
            "NotIn": lambda: value not in expression["values"],
            "Exists": lambda: value is not None,
            "DoesNotExist": lambda: value is None,
        }[expression["operator"]]()

    return all(map(holds, selector.get("matchExpressions", []))) and selector.get("matchLabels", {}).items() <= labels.items()


def asking(rendering, namespace, pod, name="shop"):
    """The webhooks that ask about a pod."""
    labels = {"kubernetes.io/metadata.name": name, **namespace}
    (configuration,) = rendering.webhook.all("MutatingWebhookConfiguration")
    hooks = configuration["webhooks"]
    return [hook["name"] for hook in hooks if matches(hook["namespaceSelector"], labels) and matches(hook["objectSelector"], pod)]


ENABLED, DISABLED = {"istio-injection": "enabled"}, {"istio-injection": "disabled"}
YES, NO = {"sidecar.istio.io/inject": "true"}, {"sidecar.istio.io/inject": "false"}


def pods_are_injected_as_by_istio(rendering, revision, by_default):
    named, other = {"istio.io/rev": revision}, {"istio.io/rev": "other"}
    is_default = revision == "default"
    for namespace, pod, want in [
        (ENABLED, {}, is_default),
        (ENABLED, YES, is_default),
        (ENABLED, NO, False),
        (DISABLED, {}, False),
        (DISABLED, YES, False),
        ({}, {}, is_default and by_default),
        ({}, YES, is_default),
        ({}, NO, False),
        ({}, named, True),
        ({}, named | NO, False),
        ({}, other, False),
        ({}, other | YES, False),
        (named, {}, True),
        (named, YES, True),
        (named, NO, False),
        (other, {}, False),
        (other, YES, False),
        (ENABLED | other, {}, is_default),
    ]:
        hooks = asking(rendering, namespace, pod)
        assert len(hooks) == want, f"{namespace} {pod}: {hooks}"
        for never in NEVER_INJECTED | {rendering.webhook_namespace}:
            assert not asking(rendering, namespace, pod, never), "it could keep itself from starting"


def is_of_sidecars(found):
    return found["metadata"]["name"].endswith("-sidecars")


def sidecars_read_what_they_may_see(rendering):
    roles = [role for role in rendering.all("ClusterRole", "Role") if is_of_sidecars(role)]
    bindings = [binding for binding in rendering.all("ClusterRoleBinding", "RoleBinding") if is_of_sidecars(binding)]
    assert len(roles) == len(bindings)
    for role, binding in zip(roles, bindings):
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        assert all(subject["kind"] == "Group" for subject in binding["subjects"])
        granted = set()
        for rule in role["rules"]:
            assert set(rule["verbs"]) == READ
            granted |= {(group, resource) for group in rule["apiGroups"] for resource in rule["resources"]}
        core = {("", "services"), ("", "pods"), ("", "nodes"), ("discovery.k8s.io", "endpointslices")}
        assert granted == core | plurals() - {("networking.istio.io", "gateways")}, granted


def place(found):
    return found["kind"], found["metadata"].get("namespace"), found["metadata"]["name"]


def crds():
    return [found for file in sorted((CHART / "crds").glob("*.yaml")) for found in documents(file.read_text())]


def plurals():
    return {(crd["spec"]["group"], crd["spec"]["names"]["plural"]) for crd in crds()}


RENDERING = [
    kubernetes_takes_it,
    names_are_unique_and_in_place,
    selectors_select_the_pod,
    ports_agree,
    bootstrap_is_known,
    privileges_are_none,
    volumes_are_there,
    nothing_is_dropped,
    roles_are_what_is_used,
    webhook_is_apart,
    webhook_writes_its_own_alone,
    webhook_is_asked_where_it_answers,
    sidecars_read_what_they_may_see,
]


def renderings():
    """Each way to install it, by name."""
    for file in sorted((HERE / "values").glob("*.yaml")):
        run = helm("template", "test", CHART, "--namespace", NAMESPACE, "--values", file)
        assert run.returncode == 0, run.stderr
        yield file.stem, Rendering(documents(run.stdout))
    objects = documents((PACKAGING / "manifests/gateway.yaml").read_text())
    assert objects[0] == {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    webhook = documents((PACKAGING / "manifests/webhook.yaml").read_text())
    assert webhook[0] == {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": WEBHOOK_NAMESPACE}}
    yield "manifests", Rendering(objects + webhook)


def default_is_istios_ingressgateway(rendering):
    service = rendering.one("Service")
    assert service["metadata"]["name"] == "istio-ingressgateway"
    assert service["metadata"]["labels"]["istio"] == service["spec"]["selector"]["istio"] == "ingressgateway"
    ports = {port["name"]: (port["port"], port["targetPort"]) for port in service["spec"]["ports"]}
    assert ports == {"status-port": (15021, 15021), "http": (80, 8080), "https": (443, 8443)}
    for kind in ("Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "ServiceAccount"):
        rendering.one(kind)


def every_type_of_value_arrives(rendering):
    bootstrap = rendering.bootstrap
    assert bootstrap["limits"] == {"connections": 200000, "idle-timeout": "10m"}
    assert isinstance(bootstrap["limits"]["connections"], int), "2e6 would be none"
    assert bootstrap["acme"]["secrets"] is True and bootstrap["acme"]["credentials"]["shop-cert"][0] == "shop.example"
    assert bootstrap["mesh"]["trust-domain-aliases"] == ["old.example", 'quoted "one"']
    assert bootstrap["forward-proxy"]["clients"][0]["labels"] == {"app": "cart"}
    assert bootstrap["proxy"]["workers"] == 4 and bootstrap["proxy"]["name"] == "edge"
    assert bootstrap["listen"]["forward-proxy"] == "0.0.0.0:15080" and bootstrap["listen"]["ports"]["80"] == 8080


def webhook_has_a_namespace_made(rendering):
    assert rendering.webhook_namespace == WEBHOOK_NAMESPACE
    made = rendering.webhook.one("Namespace")["metadata"]
    assert made["name"] == WEBHOOK_NAMESPACE
    assert made["annotations"] == {"helm.sh/resource-policy": "keep"}, "what others put there would go with it"


def every_value_of_the_webhook_arrives(rendering):
    webhook = rendering.webhook
    assert rendering.webhook_namespace == "admission" and not webhook.all("Namespace")
    (validating,) = webhook.one("ValidatingWebhookConfiguration")["webhooks"]
    assert (validating["failurePolicy"], validating["timeoutSeconds"]) == ("Fail", 3)
    assert validating["namespaceSelector"]["matchExpressions"][0]["values"] == ["istio-system", "shop"]
    for hook in webhook.one("MutatingWebhookConfiguration")["webhooks"]:
        assert (hook["failurePolicy"], hook["timeoutSeconds"]) == ("Ignore", 30)
    injection = webhook.bootstrap["injection"]
    assert injection["image"] == "registry.example/tidegate/mesh-agent:1.2.3"
    assert injection["resources"] == [] and injection["hold-application"] is False and injection["requests"] == {"cpu": "10m"}
    assert injection["annotations"] == {"traffic.sidecar.istio.io/excludeOutboundPorts": "5432"}
    assert webhook.bootstrap["webhook"]["address"] == "[::]:15017"
    assert webhook.workload["spec"]["replicas"] == 3 and webhook.pod["priorityClassName"] == "system-cluster-critical"
    assert webhook.pod["tolerations"] == rendering.pod["tolerations"]
    assert webhook.container["image"] == rendering.container["image"]


def another_bootstrap_takes_other_pods():
    def checksum(*arguments):
        run = helm("template", "test", CHART, *arguments)
        return Rendering(documents(run.stdout)).template["metadata"]["annotations"]["checksum/config"]

    assert checksum() == checksum() != checksum("--set", "config.limits.headers=7")


def wrong_values_are_refused():
    lines = (HERE / "refused.txt").read_text().splitlines()
    for values in [line for line in lines if line and not line.startswith("#")]:
        run = helm("template", "test", CHART, "--set", values)
        assert run.returncode != 0, f"{values} is taken"
        assert "specifications of the schema" in run.stderr, run.stderr


def webhook_without_its_own_namespace_is_refused():
    for namespace in (NAMESPACE, "null"):
        values = f"webhook.enabled=true,webhook.namespace={namespace}"
        run = helm("template", "test", CHART, "--namespace", NAMESPACE, "--set", values)
        assert run.returncode != 0 and "webhook.namespace has to" in run.stderr, run.stderr


def crds_keep_every_spec():
    found = crds()
    kinds = {}
    for crd in found:
        for version in VERSIONS:
            kubernetes_validate.validate(crd, version, strict=True)
        spec = crd["spec"]
        names, versions = spec["names"], spec["versions"]
        kinds.setdefault(spec["group"], set()).add(names["kind"])
        assert crd["metadata"]["name"] == f"{names['plural']}.{spec['group']}"
        assert names["singular"] == names["kind"].lower() and spec["scope"] == "Namespaced"
        wanted = ["v1", "v1beta1"] + ["v1alpha3"] * spec["group"].startswith("networking")
        assert [version["name"] for version in versions] == wanted
        for version in versions:
            assert version["served"] is True and version["storage"] is (version["name"] == "v1")
            assert version["subresources"] == {"status": {}}
            schema = version["schema"]["openAPIV3Schema"]
            for part in ("spec", "status"):
                assert schema["properties"][part] == {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
            assert version["additionalPrinterColumns"] == versions[0]["additionalPrinterColumns"]
    assert kinds == OURS
    short = {name for crd in found for name in crd["spec"]["names"].get("shortNames", [])}
    assert {"gw", "vs", "dr", "se", "we"} <= short
    whole = documents((PACKAGING / "manifests/crds.yaml").read_text())
    assert whole == found


def crds_serve_the_examples():
    served = {
        (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"])
        for crd in crds()
        for version in crd["spec"]["versions"]
    }
    files = [*(ROOT / "conf/resources").glob("*.yaml"), *(ROOT / "tests/seed").glob("*.yaml")]
    assert files
    for file in files:
        for found in yaml.safe_load_all(file.read_text()):
            if found and ".istio.io/" in found["apiVersion"]:
                assert (found["apiVersion"], found["kind"]) in served, f"{file}: {found['apiVersion']} {found['kind']}"


def compose_agrees_with_its_files():
    folder = PACKAGING / "docker"
    compose = documents((folder / "compose.yaml").read_text())[0]
    gateway = compose["services"]["gateway"]
    build = gateway["build"]
    assert (folder / build["context"]).resolve() == ROOT
    dockerfile = ROOT / build["dockerfile"]
    stages = re.findall(r"^FROM .* AS (\S+)$", dockerfile.read_text(), re.M)
    assert build["target"] in stages and "mesh-agent" in stages
    for mount in gateway["volumes"]:
        source = mount.split(":")[0]
        assert source in compose["volumes"] or (folder / source).exists(), mount
    text = (folder / "compose/gateway.toml").read_text()
    bootstrap = tomllib.loads(text)
    check_sections(bootstrap)
    pages = [bootstrap[section]["address"].rpartition(":")[2] for section in ("status", "metrics")]
    bound = {*bootstrap["listen"]["ports"].values(), *map(int, pages)}
    for mapping in gateway["ports"]:
        assert int(mapping.rpartition(":")[2]) in bound, mapping
    if GATEWAY:
        run = subprocess.run([GATEWAY, "check", folder / "compose/resources"], capture_output=True, text=True)
        assert run.returncode == 0 and "0 warnings" in run.stdout, run.stdout


def image_is_unprivileged():
    text = (PACKAGING / "docker/Dockerfile").read_text()
    for stage in ("gateway", "mesh-agent"):
        body = re.search(rf"^FROM scratch AS {stage}\n(.*?)(?=^FROM |\Z)", text, re.M | re.S)
        assert body, stage
        assert re.search(r"^USER 1337:1337$", body[1], re.M), stage
        assert "ca-certificates.crt" in body[1] and f'ENTRYPOINT ["/usr/local/bin/{stage}"]' in body[1]


class Package:
    """A Debian package, as cargo-deb makes it of a program."""

    def __init__(self, program):
        manifest = tomllib.loads((ROOT / program / "Cargo.toml").read_text())
        self.program = program
        self.metadata = manifest["package"]["metadata"]["deb"]
        self.name = self.metadata["name"]
        self.bootstrap_text = (PACKAGING / f"deb/{program}/{program}.toml").read_text()
        self.bootstrap = tomllib.loads(self.bootstrap_text)
        self.service = dict(re.findall(r"^(\w+)=(.*)$", self.beside("service"), re.M))
        self.state = f"/var/lib/{self.service['StateDirectory']}"
        self.folders = re.findall(r"^d (\S+)", self.beside("tmpfiles"), re.M)

    def beside(self, kind):
        return (PACKAGING / f"systemd/{self.name}.{kind}").read_text()


def packages():
    return [Package("gateway"), Package("mesh-agent")]


def packages_have_their_files():
    for package in packages():
        for source, _, _ in package.metadata["assets"]:
            assert source.startswith("target/release/") or list((ROOT / package.program).glob(source)), source
        units = package.metadata["systemd-units"]
        for unit in units if isinstance(units, list) else [units]:
            assert (PACKAGING / f"systemd/{unit['unit-name']}.service").exists(), unit


def packages_are_of_one_piece():
    """Units run programs as the users there are, whose bootstrap files name the folders there are."""
    for package in packages():
        service, bootstrap = package.service, package.bootstrap
        assert re.search(rf"^u {service['User']} .* {package.state}$", package.beside("sysusers"), re.M), service["User"]
        assert service["ExecStart"] == f"/usr/bin/{package.program} run --config /etc/tidegate/{package.program}.toml"
        check_sections(bootstrap)
        for path in (bootstrap["resources"]["last-good"], bootstrap["forward-proxy"]["learned"]):
            assert path.startswith(f"{package.state}/"), path
        named = [f"/etc/tidegate/{folder}" for folder in (*bootstrap["resources"]["files"], bootstrap["tls"]["certificates"])]
        assert named == package.folders
        if package.program == "gateway":
            program_takes_it(package.bootstrap_text)
            drain = sum(seconds(bootstrap["drain"][key]) for key in ("delay", "timeout"))
            assert drain + LAST_WRITES <= seconds(service["TimeoutStopSec"]), drain


def purges_leave_nothing():
    for package in packages():
        script = (PACKAGING / f"deb/{package.program}/postrm").read_text()
        for folder in (package.state, *package.folders):
            assert re.search(rf" rm -rf .*{folder}( |$)", script, re.M), folder


def seconds(text):
    return int(text.removesuffix("s"))


def checks():
    for name, rendering in renderings():
        for check in RENDERING:
            yield f"{name}: {check.__name__}", lambda check=check, rendering=rendering: check(rendering)
        if name in ("defaults", "manifests"):
            yield f"{name}: default_is_istios_ingressgateway", lambda rendering=rendering: default_is_istios_ingressgateway(rendering)
        for values, revision, by_default in (
            ("webhook-defaults", "default", False),
            ("webhook-injection", "default", True),
            ("webhook", "10", True),
            ("manifests", "default", False),
        ):
            if name == values:
                expected = rendering, revision, by_default
                yield f"{name}: pods_are_injected_as_by_istio", lambda expected=expected: pods_are_injected_as_by_istio(*expected)
        if name == "webhook-defaults":
            yield f"{name}: webhook_has_a_namespace_made", lambda rendering=rendering: webhook_has_a_namespace_made(rendering)
        if name == "webhook":
            yield f"{name}: every_value_of_the_webhook_arrives", lambda rendering=rendering: every_value_of_the_webhook_arrives(rendering)
        if name == "everything":
            yield f"{name}: every_type_of_value_arrives", lambda rendering=rendering: every_type_of_value_arrives(rendering)
    for check in (
        another_bootstrap_takes_other_pods,
        wrong_values_are_refused,
        webhook_without_its_own_namespace_is_refused,
        crds_keep_every_spec,
        crds_serve_the_examples,
        compose_agrees_with_its_files,
        image_is_unprivileged,
        packages_have_their_files,
        packages_are_of_one_piece,
        purges_leave_nothing,
    ):
        yield check.__name__, check


def main():
    passed = failed = 0
    for name, check in checks():
        try:
            check()
            passed += 1
        except Exception as problem:  # Whatever it is, the others are checked, too.
            failed += 1
            where = traceback.extract_tb(problem.__traceback__)[-1]
            print(f"FAILED {name}: {Path(where.filename).name}:{where.lineno}: {type(problem).__name__}: {problem}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
