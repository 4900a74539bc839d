//! What a pod with a sidecar has in it.

use crate::support::{injected, refused};
use inject::{InjectOptions, Skipped};
use serde_json::{Value, json};

/// A Pod whose metadata and spec have these lines, with a container `app` where they name none.
fn pod(metadata: &str, spec: &str) -> String {
    let containers = if spec.contains("\ncontainers:") || spec.starts_with("containers:") {
        String::new()
    } else {
        "  containers:\n  - {name: app, image: app}\n".to_owned()
    };
    let indented = |text: &str| {
        text.lines()
            .map(|line| format!("  {line}\n"))
            .collect::<String>()
    };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: pod\n{}spec:\n  dnsPolicy: Default\n{}{containers}",
        indented(metadata),
        indented(spec)
    )
}

#[track_caller]
fn parsed(text: &str, options: &InjectOptions) -> Value {
    serde_saphyr::from_str(&injected(text, options).text).unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    let items = list.as_array().map_or(&[][..], Vec::as_slice);
    items
        .iter()
        .map(|item| item["name"].as_str().unwrap())
        .collect()
}

fn named<'v>(list: &'v Value, name: &str) -> &'v Value {
    let items = list.as_array().unwrap();
    items
        .iter()
        .find(|item| item["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {list}"))
}

fn env<'v>(pod: &'v Value, name: &str) -> &'v Value {
    &named(
        &named(&pod["spec"]["containers"], "istio-proxy")["env"],
        name,
    )["value"]
}

fn json_of(text: &Value) -> Value {
    serde_json::from_str(text.as_str().unwrap()).unwrap()
}

/// Promise 21: the application starts when the sidecar is ready.
#[test]
fn the_application_waits_for_the_sidecar() {
    let pod = parsed(
        &pod("", "initContainers:\n- {name: own, image: own}"),
        &InjectOptions::default(),
    );
    assert_eq!(names(&pod["spec"]["containers"]), ["istio-proxy", "app"]);
    assert_eq!(names(&pod["spec"]["initContainers"]), ["own", "istio-init"]);
    let sidecar = &pod["spec"]["containers"][0];
    assert_eq!(
        sidecar["lifecycle"]["postStart"]["exec"]["command"],
        json!(["mesh-agent", "wait"])
    );
    assert_eq!(
        sidecar["startupProbe"]["httpGet"],
        json!({"path": "/healthz/ready", "port": 15021})
    );
    assert_eq!(sidecar.get("restartPolicy"), None);
}

#[test]
fn it_does_not_where_that_is_not_wanted() {
    let annotation =
        "annotations: {proxy.istio.io/config: 'holdApplicationUntilProxyStarts: false'}";
    let options = InjectOptions {
        hold_application: false,
        ..InjectOptions::default()
    };
    for (metadata, options) in [(annotation, &InjectOptions::default()), ("", &options)] {
        let pod = parsed(&pod(metadata, ""), options);
        assert_eq!(names(&pod["spec"]["containers"]), ["app", "istio-proxy"]);
        assert_eq!(pod["spec"]["containers"][1].get("lifecycle"), None);
    }
}

/// Promise 21: jobs end.
#[test]
fn pods_that_have_an_end_come_to_it() {
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {template: {spec: {containers: [{name: app}]}}}\n";
    let bare = pod("", "restartPolicy: OnFailure");
    for (text, at) in [(job, "/spec/template/spec"), (&bare, "/spec")] {
        let object = parsed(text, &InjectOptions::default());
        let spec = object.pointer(at).unwrap();
        assert_eq!(
            names(&spec["initContainers"]),
            ["istio-init", "istio-proxy"]
        );
        let sidecar = &spec["initContainers"][1];
        assert_eq!(sidecar["restartPolicy"], "Always");
        // It learns that the pod ends before the application does, and SIGTERM only after it.
        assert_eq!(
            sidecar["lifecycle"],
            json!({"preStop": {"exec": {"command":
                ["mesh-agent", "request", "--debug-port", "15020", "POST", "drain"]}}})
        );
        assert_eq!(names(&spec["containers"]), ["app"]);
    }
}

#[test]
fn a_pod_without_an_end_is_told_how_it_gets_one() {
    let told = |port: &str| {
        let native = "sidecar.istio.io/nativeSidecar: 'false'";
        let metadata = format!("annotations: {{{native}, status.sidecar.istio.io/port: '{port}'}}");
        let text = pod(&metadata, "restartPolicy: Never");
        let injected = injected(&text, &InjectOptions::default());
        injected.warnings[0].to_string()
    };
    let help = told("16020");
    assert!(
        help.ends_with("POST http://127.0.0.1:16020/quitquitquit at its end"),
        "{help}"
    );
    let help = told("0");
    assert!(
        help.ends_with("give the pod the annotation sidecar.istio.io/nativeSidecar: \"true\""),
        "{help}"
    );
}

#[test]
fn annotations_decide_before_options_about_native_sidecars() {
    let always = InjectOptions {
        native_sidecar: "true".parse().unwrap(),
        ..InjectOptions::default()
    };
    let own = |spec: &Value| names(&spec["initContainers"]).contains(&"istio-proxy");
    assert!(own(&parsed(&pod("", ""), &always)["spec"]));
    let text = pod("annotations: {sidecar.istio.io/nativeSidecar: 'false'}", "");
    assert!(!own(&parsed(&text, &always)["spec"]));
    let text = pod("annotations: {sidecar.istio.io/nativeSidecar: 'true'}", "");
    assert!(own(&parsed(&text, &InjectOptions::default())["spec"]));
}

#[test]
fn the_sidecar_has_no_privileges() {
    let pod = parsed(&pod("", ""), &InjectOptions::default());
    let context = &pod["spec"]["containers"][0]["securityContext"];
    let want = json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "privileged": false,
        "readOnlyRootFilesystem": true, "runAsGroup": 1337, "runAsNonRoot": true, "runAsUser": 1337,
    });
    assert_eq!(*context, want);
    let init = &pod["spec"]["initContainers"][0]["securityContext"];
    assert_eq!(
        init["capabilities"],
        json!({"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]})
    );
    assert_eq!(
        (&init["runAsUser"], &init["privileged"]),
        (&json!(0), &json!(false))
    );
}

#[test]
fn probes_are_taken_over() {
    let spec = "containers:\n- name: app\n  ports: [{name: web, containerPort: 80}]\n  readinessProbe:\n    httpGet: {port: web, scheme: HTTPS, host: h, path: /r}\n  \
                startupProbe: {grpc: {port: 5, service: s}, timeoutSeconds: 7}";
    let pod = parsed(&pod("", spec), &InjectOptions::default());
    let app = named(&pod["spec"]["containers"], "app");
    let want =
        json!({"httpGet": {"path": "/app-health/app/readyz", "port": 15020, "scheme": "HTTP"}});
    assert_eq!(app["readinessProbe"], want);
    assert_eq!(
        app["startupProbe"]["httpGet"],
        json!({"path": "/app-health/app/startupz", "port": 15020})
    );
    assert_eq!(app["startupProbe"].get("grpc"), None);
    let want = json!({
        "/app-health/app/readyz": {"httpGet": {"port": 80, "scheme": "HTTPS", "host": "h", "path": "/r"}},
        "/app-health/app/startupz": {"grpc": {"port": 5, "service": "s"}, "timeoutSeconds": 7},
    });
    assert_eq!(json_of(env(&pod, "ISTIO_KUBE_APP_PROBERS")), want);
}

#[test]
fn probes_stay_where_that_is_wanted() {
    let spec = "containers:\n- name: app\n  readinessProbe: {tcpSocket: {port: 80}}";
    for metadata in [
        "annotations: {sidecar.istio.io/rewriteAppHTTPProbers: 'false'}",
        "annotations: {status.sidecar.istio.io/port: '0'}",
    ] {
        let pod = parsed(&pod(metadata, spec), &InjectOptions::default());
        assert_eq!(
            named(&pod["spec"]["containers"], "app")["readinessProbe"],
            json!({"tcpSocket": {"port": 80}})
        );
    }
}

#[test]
fn prometheus_asks_the_agent() {
    let text = pod(
        "annotations: {prometheus.io/port: '9090', prometheus-io/path: /m}",
        "",
    );
    let pod_with_metrics = parsed(&text, &InjectOptions::default());
    let annotations = &pod_with_metrics["metadata"]["annotations"];
    assert_eq!(annotations["prometheus.io/port"], "15020");
    assert_eq!(annotations["prometheus.io/path"], "/stats/prometheus");
    assert_eq!(annotations.get("prometheus-io/path"), None);
    let want = json!({"scrape": "", "path": "/m", "port": "9090"});
    assert_eq!(
        json_of(env(&pod_with_metrics, "ISTIO_PROMETHEUS_ANNOTATIONS")),
        want
    );
    for metadata in [
        "annotations: {prometheus.io/scrape: 'false', prometheus.io/port: '9090'}",
        "annotations: {prometheus.istio.io/merge-metrics: 'false', prometheus.io/port: '9090'}",
    ] {
        let pod = parsed(&pod(metadata, ""), &InjectOptions::default());
        assert_eq!(pod["metadata"]["annotations"]["prometheus.io/port"], "9090");
    }
}

#[test]
fn the_label_of_mutual_tls_is_a_promise() {
    let labels =
        |options: &InjectOptions| parsed(&pod("", ""), options)["metadata"]["labels"].clone();
    assert_eq!(
        labels(&InjectOptions::default()).get("security.istio.io/tlsMode"),
        None
    );
    let options = InjectOptions {
        identity: "secret".parse().unwrap(),
        ..InjectOptions::default()
    };
    assert_eq!(labels(&options)["security.istio.io/tlsMode"], "istio");
    // TLS would reach the application.
    for annotation in [
        "sidecar.istio.io/interceptionMode: NONE",
        "traffic.sidecar.istio.io/includeInboundPorts: ''",
    ] {
        let text = pod(&format!("annotations: {{{annotation}}}"), "");
        let labels = parsed(&text, &options)["metadata"]["labels"].clone();
        assert_eq!(labels.get("security.istio.io/tlsMode"), None, "{labels}");
    }
}

/// Silence would be taken for yes, and the application may have that port for itself.
#[test]
fn the_sidecar_is_told_whether_dns_comes_to_it() {
    let captured = InjectOptions {
        dns_capture: true,
        ..InjectOptions::default()
    };
    let said =
        "annotations: {proxy.istio.io/config: 'proxyMetadata: {ISTIO_META_DNS_CAPTURE: \"1\"}'}";
    for (metadata, options, want) in [
        ("", &InjectOptions::default(), "false"),
        ("", &captured, "true"),
        (said, &InjectOptions::default(), "1"),
    ] {
        let pod = parsed(&pod(metadata, ""), options);
        assert_eq!(env(&pod, "ISTIO_META_DNS_CAPTURE"), want);
    }
}

#[test]
fn settings_of_a_proxy_that_the_agent_does_not_read_are_told() {
    let text = pod(
        "annotations: {proxy.istio.io/config: 'proxyMetadata: {ISTIO_META_HTTP10: \"1\", OWN: x}'}",
        "",
    );
    let told: Vec<_> = injected(&text, &InjectOptions::default()).warnings;
    let told: Vec<_> = told.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("`proxyMetadata.ISTIO_META_HTTP10` has no effect"),
        "{told:?}"
    );
}

#[test]
fn an_agent_that_asks_the_api_server_has_a_token_of_its_own() {
    let options = InjectOptions {
        api_server: true,
        resources: Vec::new(),
        ..InjectOptions::default()
    };
    let pod = parsed(&pod("", "automountServiceAccountToken: false"), &options);
    let sources = &named(&pod["spec"]["volumes"], "mesh-agent-token")["projected"]["sources"];
    assert_eq!(
        sources[0],
        json!({"serviceAccountToken": {"path": "token"}})
    );
    assert_eq!(sources[1]["configMap"]["name"], "kube-root-ca.crt");
    let containers = &pod["spec"]["containers"];
    let mounts = &named(containers, "istio-proxy")["volumeMounts"];
    let mount = named(mounts, "mesh-agent-token");
    let want = json!({
        "name": "mesh-agent-token", "readOnly": true,
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
    });
    assert_eq!(*mount, want);
    assert_eq!(named(containers, "app").get("volumeMounts"), None);
    let usual = parsed(&self::pod("", ""), &InjectOptions::default());
    assert!(!names(&usual["spec"]["volumes"]).contains(&"mesh-agent-token"));
}

#[test]
fn each_identity_has_its_volume() {
    for (identity, volume, want, path) in [
        (
            "secret",
            "workload-certs",
            json!({"secret": {"secretName": "istio.cart"}}),
            "/var/run/secrets/workload-spiffe-credentials",
        ),
        (
            "secret=own",
            "workload-certs",
            json!({"secret": {"secretName": "own"}}),
            "/var/run/secrets/workload-spiffe-credentials",
        ),
        (
            "csi=d.io",
            "workload-certs",
            json!({"csi": {"driver": "d.io", "readOnly": true}}),
            "/var/run/secrets/workload-spiffe-credentials",
        ),
        (
            "workload-api=/run/s/a.sock",
            "workload-socket",
            json!({"hostPath": {"path": "/run/s", "type": "Directory"}}),
            "/var/run/secrets/workload-spiffe-uds",
        ),
        (
            "workload-api-csi",
            "workload-socket",
            json!({"csi": {"driver": "csi.spiffe.io", "readOnly": true}}),
            "/var/run/secrets/workload-spiffe-uds",
        ),
    ] {
        let options = InjectOptions {
            identity: identity.parse().unwrap(),
            ..InjectOptions::default()
        };
        let pod = parsed(&pod("", "serviceAccountName: cart"), &options);
        let mut source = named(&pod["spec"]["volumes"], volume).clone();
        source.as_object_mut().unwrap().remove("name");
        assert_eq!(source, want, "{identity}");
        let sidecar = named(&pod["spec"]["containers"], "istio-proxy");
        let mount = named(&sidecar["volumeMounts"], volume);
        assert_eq!(
            (&mount["mountPath"], &mount["readOnly"]),
            (&json!(path), &json!(true))
        );
        let socket = sidecar["env"]
            .as_array()
            .unwrap()
            .iter()
            .find(|env| env["name"] == "SPIFFE_ENDPOINT_SOCKET");
        assert_eq!(
            socket.is_some(),
            identity.starts_with("workload-api"),
            "{identity}"
        );
    }
}

#[test]
fn what_kubernetes_would_expand_is_escaped() {
    let spec =
        "containers:\n- name: app\n  readinessProbe: {httpGet: {port: 80, path: /$(POD_NAME)}}";
    let text = pod(
        "annotations: {proxy.istio.io/config: 'proxyMetadata: {A: $(POD_NAME)}'}",
        spec,
    );
    let pod = parsed(&text, &InjectOptions::default());
    assert!(
        env(&pod, "ISTIO_KUBE_APP_PROBERS")
            .as_str()
            .unwrap()
            .contains("/$$(POD_NAME)")
    );
    assert_eq!(env(&pod, "A"), "$(POD_NAME)");
}

#[test]
fn options_stand_in_for_annotations() {
    let mut options = InjectOptions::default();
    options
        .annotations
        .insert("sidecar.istio.io/proxyCPU".to_owned(), "7m".to_owned());
    options
        .annotations
        .insert("sidecar.istio.io/inject".to_owned(), "false".to_owned());
    let skipped = |text: &str| injected(text, &options).workloads[0].skipped.clone();
    assert_eq!(skipped(&pod("", "")), Some(Skipped::NotWanted));
    let asked = pod("labels: {sidecar.istio.io/inject: 'true'}", "");
    let sidecar = &parsed(&asked, &options)["spec"]["containers"][0];
    assert_eq!(sidecar["resources"], json!({"requests": {"cpu": "7m"}}));
    let own = pod(
        "annotations: {sidecar.istio.io/inject: 'true', sidecar.istio.io/proxyCPU: 8m}",
        "",
    );
    assert_eq!(
        parsed(&own, &options)["spec"]["containers"][0]["resources"]["requests"]["cpu"],
        "8m"
    );
}

#[test]
fn options_that_do_nothing_are_refused() {
    let mut options = InjectOptions::default();
    options
        .annotations
        .insert("sidecar.istio.io/proxyCpu".to_owned(), "1".to_owned());
    options.annotations.insert(
        "sidecar.istio.io/bootstrapOverride".to_owned(),
        "x".to_owned(),
    );
    let told = refused("a: 1\n", &options);
    assert_eq!(told.len(), 2, "{told:?}");
    options.annotations.clear();
    options
        .annotations
        .insert("sidecar.istio.io/logLevel".to_owned(), "loud".to_owned());
    let told = refused(&pod("", ""), &options);
    assert!(
        told[0].contains("the default that the options of the injector have"),
        "{told:?}"
    );
}

#[test]
fn pods_are_left_alone_for_a_reason() {
    let status = "annotations: {sidecar.istio.io/status: '{}'}";
    for (metadata, spec, want) in [
        (status, "", Skipped::AlreadyInjected),
        ("", "hostNetwork: yes", Skipped::HostNetwork),
        (
            "namespace: kube-system",
            "",
            Skipped::SystemNamespace("kube-system".to_owned()),
        ),
        ("", "os: {name: windows}", Skipped::Windows),
        (
            "annotations: {sidecar.istio.io/inject: 'false'}",
            "",
            Skipped::NotWanted,
        ),
        (
            "labels: {sidecar.istio.io/inject: 'false'}\nannotations: {sidecar.istio.io/inject: 'true'}",
            "",
            Skipped::NotWanted,
        ),
    ] {
        let text = pod(metadata, spec);
        let injected = injected(&text, &InjectOptions::default());
        assert_eq!(injected.workloads[0].skipped, Some(want));
        assert_eq!(injected.text, text);
    }
}

/// Kinds of other groups, and what only looks like a workload.
#[test]
fn everything_else_stays_byte_for_byte() {
    for text in [
        "",
        "# only a comment",
        "apiVersion: example.org/v1\nkind: Deployment\nspec: {template: {spec: {containers: [{name: a}]}}}\n",
        "apiVersion: v1\nkind: ServiceList\n",
        "kind: Pod\n",
        "apiVersion: v1\nkind: List\nitems:\n",
        "\u{feff}---\n...\n---\r\na: 1\r---\n- x",
        "a: 1\na: 2\n",
    ] {
        let injected = injected(text, &InjectOptions::default());
        assert_eq!(injected.text, text);
        assert!(injected.workloads.is_empty() && injected.warnings.is_empty());
    }
}

/// Its items do not say what they are, and would be passed by in silence.
#[test]
fn a_list_of_one_kind_is_told_of() {
    let text = "apiVersion: apps/v1\nkind: DeploymentList\nitems: [{spec: {}}]\n";
    let injected = injected(text, &InjectOptions::default());
    assert_eq!(injected.text, text);
    let told = injected.warnings[0].to_string();
    assert!(
        told.contains("a DeploymentList is not looked into"),
        "{told}"
    );
    assert_eq!(injected.warnings.len(), 1);
}

#[test]
fn files_are_bounded() {
    let told = refused(
        &format!("a: {}\n", "x".repeat(1 << 20)),
        &InjectOptions::default(),
    );
    assert!(told[0].contains("at most 1048576"), "{told:?}");
    let told = refused(&"a: 1\n---\n".repeat(100_001), &InjectOptions::default());
    assert!(told[0].contains("100001 documents"), "{told:?}");
}
