//! Which mode holds for a port, and by whose word.

use super::*;
use model::{Defaults, Severity};

fn options() -> CompileOptions {
    CompileOptions {
        proxy: Proxy {
            namespace: "shop".into(),
            labels: [("app".to_owned(), "reviews".to_owned())].into(),
            ..Proxy::default()
        },
        ..CompileOptions::default()
    }
}

fn resources(objects: &[String]) -> Resources {
    let text = objects.concat();
    let parsed = model::parse(&"test.yaml".into(), &text, &Defaults::default());
    let mut objects = parsed.objects.into_iter();
    let all = objects.by_ref().map(|object| {
        let is_error = |one: &&Diagnostic| one.severity == Severity::Error;
        assert_eq!(object.diagnostics.iter().find(is_error), None);
        object.outcome.resource().cloned().unwrap()
    });
    all.collect()
}

fn object(namespace: &str, name: &str, spec: &str) -> String {
    aged(namespace, name, "2020-01-01T00:00:00Z", spec)
}

fn aged(namespace: &str, name: &str, created: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
         metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: '{created}'}}\nspec: {{{spec}}}\n"
    )
}

fn mesh(spec: &str) -> String {
    object("istio-system", "mesh", spec)
}

fn namespace(spec: &str) -> String {
    object("shop", "namespace", spec)
}

fn workload(spec: &str) -> String {
    object(
        "shop",
        "workload",
        &format!("selector: {{matchLabels: {{app: reviews}}}}, {spec}"),
    )
}

/// `STRICT of shop/workload spec.mtls`
fn written(setting: &MtlsSetting) -> String {
    let mode = setting.mode.as_str();
    match &setting.origin {
        Some(origin) => {
            let of = &origin.resource;
            format!("{mode} of {}/{} {}", of.namespace, of.name, origin.path)
        }
        None => mode.to_owned(),
    }
}

#[track_caller]
fn check(objects: &[String], default: &str, ports: &[(u16, &str)]) {
    let (options, resources) = (options(), resources(objects));
    let resolved = PeerMtlsCompiler::default().compile(&options, &resources);
    assert_eq!(written(&resolved.default), default, "{objects:?}");
    // Clients see of it whether it ends TLS at all.
    let modes = PeerModes::new(
        &resources.peer_authentications,
        &options.mesh.root_namespace,
    );
    let Proxy {
        namespace, labels, ..
    } = &options.proxy;
    for port in 80..90 {
        let accepts = modes.accepts_mtls(namespace, labels, port);
        let wants = resolved.of(port) != MtlsMode::Disable;
        assert_eq!(accepts, wants, "{port} of {objects:?}");
    }
    for (port, want) in ports {
        assert_eq!(
            written(resolved.setting(*port)),
            *want,
            "{port} of {objects:?}"
        );
    }
}

const STRICT: &str = "mtls: {mode: STRICT}";
const DISABLE: &str = "mtls: {mode: DISABLE}";
const UNSET: &str = "mtls: {mode: UNSET}";

#[test]
fn without_objects_everything_is_permissive() {
    check(&[], "PERMISSIVE", &[(80, "PERMISSIVE")]);
    assert_eq!(PeerMtls::default().of(80), MtlsMode::Permissive);
}

#[test]
fn the_narrowest_level_that_says_something_counts() {
    let (of_mesh, of_namespace, of_workload) = (
        "STRICT of istio-system/mesh spec.mtls",
        "DISABLE of shop/namespace spec.mtls",
        "STRICT of shop/workload spec.mtls",
    );
    check(&[mesh(STRICT)], of_mesh, &[(80, of_mesh)]);
    check(&[mesh(STRICT), namespace(DISABLE)], of_namespace, &[]);
    check(&[mesh(STRICT), namespace(UNSET)], of_mesh, &[]);
    check(&[mesh(STRICT), namespace("")], of_mesh, &[]);
    check(&[mesh(STRICT), namespace("mtls: {}")], of_mesh, &[]);
    check(
        &[mesh(UNSET), namespace(UNSET), workload(UNSET)],
        "PERMISSIVE",
        &[],
    );
    check(&[namespace(DISABLE), workload(STRICT)], of_workload, &[]);
    check(&[namespace(DISABLE), workload(UNSET)], of_namespace, &[]);
    check(&[mesh(STRICT), workload("")], of_mesh, &[]);
}

#[test]
fn a_port_comes_before_its_workload() {
    let ports = "mtls: {mode: STRICT}, portLevelMtls: {80: {mode: DISABLE}, 81: {mode: UNSET}, 82: {}, 83: {mode: PERMISSIVE}}";
    let of_workload = "STRICT of shop/workload spec.mtls";
    check(
        &[mesh(DISABLE), workload(ports)],
        of_workload,
        &[
            (80, "DISABLE of shop/workload spec.portLevelMtls.80"),
            (81, of_workload),
            (82, of_workload),
            (83, "PERMISSIVE of shop/workload spec.portLevelMtls.83"),
            (84, of_workload),
        ],
    );
    check(
        &[
            namespace(DISABLE),
            workload("portLevelMtls: {80: {mode: STRICT}, 81: {mode: UNSET}}"),
        ],
        "DISABLE of shop/namespace spec.mtls",
        &[
            (80, "STRICT of shop/workload spec.portLevelMtls.80"),
            (81, "DISABLE of shop/namespace spec.mtls"),
        ],
    );
}

#[test]
fn other_workloads_and_namespaces_do_not_count() {
    let other = object(
        "shop",
        "a",
        "selector: {matchLabels: {app: other}}, mtls: {mode: STRICT}",
    );
    check(&[other, object("other", "a", STRICT)], "PERMISSIVE", &[]);
}

#[test]
fn in_the_root_namespace_the_mesh_is_the_namespace() {
    let mut options = options();
    options.proxy.namespace = "istio-system".into();
    let mut compiler = PeerMtlsCompiler::default();
    let resolved = compiler.compile(&options, &resources(&[mesh(STRICT)]));
    assert_eq!(
        written(&resolved.default),
        "STRICT of istio-system/mesh spec.mtls"
    );
    assert_eq!(compiler.diagnostics().count(), 0);
}

#[track_caller]
fn check_told(objects: &[String], default: &str, want: &[&str]) {
    let mut compiler = PeerMtlsCompiler::default();
    let resolved = compiler.compile(&options(), &resources(objects));
    assert_eq!(written(&resolved.default), default);
    let told: Vec<_> = compiler
        .diagnostics()
        .map(|one| format!("{} {one}", one.code))
        .collect();
    assert_eq!(told, want);
}

#[test]
fn of_several_the_oldest_counts() {
    let (old, new) = ("2019-01-01T00:00:00Z", "2021-01-01T00:00:00Z");
    check_told(
        &[
            aged("shop", "a", new, STRICT),
            aged("shop", "b", old, DISABLE),
            aged("shop", "c", new, UNSET),
        ],
        "DISABLE of shop/b spec.mtls",
        &[
            "outranked PeerAuthentication shop/a: PeerAuthentication shop/b is for the same workloads and comes before this object",
            "outranked PeerAuthentication shop/c: PeerAuthentication shop/b is for the same workloads and comes before this object",
        ],
    );
    let selecting = |name, created, mode: &str| {
        aged(
            "shop",
            name,
            created,
            &format!("selector: {{matchLabels: {{app: reviews}}}}, {mode}"),
        )
    };
    check_told(
        &[
            selecting("a", new, "portLevelMtls: {80: {mode: STRICT}}"),
            selecting("b", old, DISABLE),
        ],
        "DISABLE of shop/b spec.mtls",
        &[
            "outranked PeerAuthentication shop/a: PeerAuthentication shop/b is for the same workloads and comes before this object",
        ],
    );
    check_told(
        &[
            object("istio-system", "b", STRICT),
            object("istio-system", "a", DISABLE),
        ],
        "DISABLE of istio-system/a spec.mtls",
        &[
            "outranked PeerAuthentication istio-system/b: PeerAuthentication istio-system/a is for the same workloads and comes before this object",
        ],
    );
}

#[test]
fn a_selector_in_the_root_namespace_has_no_effect() {
    let root = object(
        "istio-system",
        "a",
        "selector: {matchLabels: {app: reviews}}, mtls: {mode: STRICT}",
    );
    check_told(
        &[root],
        "PERMISSIVE",
        &[
            "no_effect PeerAuthentication istio-system/a: spec.selector: an object of the root namespace that has a selector has no effect, as in Istio",
        ],
    );
}

#[test]
fn the_same_objects_are_resolved_once() {
    let mut compiler = PeerMtlsCompiler::default();
    let mut all = resources(&[mesh(STRICT), object("other", "a", STRICT)]);
    let first = compiler.compile(&options(), &all);
    assert!(Arc::ptr_eq(&first, &compiler.compile(&options(), &all)));
    for object in resources(&[object("other", "a", DISABLE)]).iter() {
        all.insert(object);
    }
    assert!(Arc::ptr_eq(&first, &compiler.compile(&options(), &all)));
    for object in resources(&[namespace(DISABLE)]).iter() {
        all.insert(object);
    }
    let second = compiler.compile(&options(), &all);
    assert_eq!(
        (first.of(80), second.of(80)),
        (MtlsMode::Strict, MtlsMode::Disable)
    );
    let mut elsewhere = options();
    elsewhere.proxy.namespace = "web".into();
    assert_eq!(compiler.compile(&elsewhere, &all).of(80), MtlsMode::Strict);
}

#[test]
fn places_are_in_the_file() {
    let resolved = PeerMtlsCompiler::default().compile(&options(), &resources(&[mesh(STRICT)]));
    let origin = resolved.default.origin.as_ref().unwrap();
    assert_eq!(
        origin.to_string(),
        "PeerAuthentication istio-system/mesh spec.mtls (test.yaml:5:8)"
    );
}
