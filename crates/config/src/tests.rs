use crate::{
    Change, ChangeKind, Configuration, Content, CredentialSettings, Followers, Mark, Message,
    Published, Settings, Store, start,
};
use model::{AuthorizationAction, Defaults, Diagnostic, PeerTlsMode, ResourceRef, Severity};
use rules::{CompileOptions, Peer, Serves, SidecarOptions, VirtualHosts};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

fn text(file: &str, text: &str) -> Change {
    Change {
        file: file.into(),
        content: Content::Text(text.into()),
    }
}

fn unreadable(file: &str) -> Change {
    Change {
        file: file.into(),
        content: Content::Unreadable("cannot be read: no".into()),
    }
}

fn gone(file: &str) -> Change {
    Change {
        file: file.into(),
        content: Content::Gone,
    }
}

fn service(name: &str, port: u16) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec:\n  ports:\n  - {{name: http, port: {port}}}\n"
    )
}

/// One that names its object and is refused.
fn bad_service(name: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 99999999}}]}}\n"
    )
}

const GATEWAY: &str = "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*']
";

fn virtual_service(name: &str, uri: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\n\
         spec:\n  hosts: [shop.test]\n  gateways: [edge]\n  http:\n  - match: [{{uri: {uri}}}]\n    \
         route: [{{destination: {{host: cart, port: {{number: 80}}}}}}]\n"
    )
}

fn endpoints(address: &str) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: cart-1, labels: {{kubernetes.io/service-name: cart}}}}\naddressType: IPv4\n\
         ports: [{{name: http, port: 8000}}]\nendpoints: [{{addresses: [{address}]}}]\n"
    )
}

fn service_ref(name: &str) -> ResourceRef {
    ResourceRef {
        kind: "Service".into(),
        namespace: "default".into(),
        name: name.into(),
    }
}

fn ports(store: &Store) -> Vec<(String, u16)> {
    let services = store.resources().services.values();
    services
        .map(|service| (service.meta.name().to_owned(), service.ports[0].port))
        .collect()
}

#[track_caller]
fn check_ports(store: &Store, want: &[(&str, u16)]) {
    let found = ports(store);
    let found: Vec<_> = found
        .iter()
        .map(|(name, port)| (name.as_str(), *port))
        .collect();
    assert_eq!(found, want);
}

fn errors(diagnostics: &[Diagnostic]) -> Vec<&Diagnostic> {
    diagnostics
        .iter()
        .filter(|one| one.severity == Severity::Error)
        .collect()
}

fn store() -> Store {
    Store::new(Defaults::default())
}

#[test]
fn objects_come_change_move_and_go_with_their_files() {
    let mut store = store();
    let changes = store.apply(vec![
        text("a", &service("one", 1)),
        text("b", &service("two", 2)),
    ]);
    assert_eq!(changes.len(), 2);
    check_ports(&store, &[("one", 1), ("two", 2)]);
    let changes = store.apply(vec![text("a", &service("one", 3))]);
    assert_eq!(changes[&service_ref("one")], ChangeKind::Changed);
    let changes = store.apply(vec![text("a", &format!("# moved\n{}", service("one", 3)))]);
    assert_eq!(changes[&service_ref("one")], ChangeKind::Moved);
    let changes = store.apply(vec![gone("a")]);
    assert_eq!(changes[&service_ref("one")], ChangeKind::Removed);
    check_ports(&store, &[("two", 2)]);
}

#[test]
fn an_object_that_did_not_change_stays_the_same_one() {
    let mut store = store();
    store.apply(vec![text("a", &(service("one", 1) + &service("two", 2)))]);
    let before = Arc::clone(store.resources().services.values().next().unwrap());
    let changes = store.apply(vec![text("a", &(service("one", 1) + &service("two", 3)))]);
    assert_eq!(changes.keys().collect::<Vec<_>>(), [&service_ref("two")]);
    assert!(Arc::ptr_eq(
        &before,
        store.resources().services.values().next().unwrap()
    ));
}

/// Promise 5.
#[test]
fn a_refused_object_keeps_its_last_good_version_and_hurts_no_other() {
    let mut store = store();
    store.apply(vec![text("a", &(service("one", 1) + &service("two", 2)))]);
    store.apply(vec![text("a", &(bad_service("one") + &service("two", 3)))]);
    check_ports(&store, &[("one", 1), ("two", 3)]);
    let diagnostics = store.diagnostics();
    let error = errors(&diagnostics)[0];
    assert_eq!(error.resource, Some(service_ref("one")));
    assert!(
        error.help.as_ref().unwrap().contains("last good version"),
        "{error:?}"
    );
    store.apply(vec![text("a", &(service("one", 5) + &service("two", 3)))]);
    check_ports(&store, &[("one", 5), ("two", 3)]);
    assert_eq!(store.diagnostics(), []);
}

/// Promise 5.
#[test]
fn an_object_that_was_never_good_is_not_in_force() {
    let mut store = store();
    store.apply(vec![text("a", &(bad_service("one") + &service("two", 2)))]);
    check_ports(&store, &[("two", 2)]);
    assert_eq!(store.diagnostics()[0].help, None);
}

/// Promise 5.
#[test]
fn a_file_that_cannot_be_read_keeps_its_objects() {
    let mut store = store();
    store.apply(vec![text("a", &(service("one", 1) + &service("two", 2)))]);
    for broken in [unreadable("a"), text("a", "}{ :"), text("a", "kind: [")] {
        store.apply(vec![broken]);
        check_ports(&store, &[("one", 1), ("two", 2)]);
        assert_eq!(errors(&store.diagnostics()).len(), 1);
    }
    store.apply(vec![text("a", &service("one", 1))]);
    check_ports(&store, &[("one", 1)]);
}

/// Promise 5.
#[test]
fn a_document_without_a_name_may_be_any_that_is_missing() {
    let mut store = store();
    store.apply(vec![text("a", &(service("one", 1) + &service("two", 2)))]);
    store.apply(vec![text(
        "a",
        &format!("{}---\n}}{{\n", service("one", 9)),
    )]);
    check_ports(&store, &[("one", 9), ("two", 2)]);
}

/// Promise 5: nothing is lost by a file that is half-written.
#[test]
fn a_file_cut_off_anywhere_keeps_the_objects_it_cannot_tell() {
    let whole = service("one", 1) + &service("two", 2);
    let second = service("one", 1).len();
    // Before, the second object has not begun: a file may well end there.
    for end in (second + "---\n".len() + 1)..whole.len() {
        let mut store = store();
        store.apply(vec![text("a", &whole)]);
        store.apply(vec![text("a", &whole[..end])]);
        assert_eq!(
            store.resources().services.len(),
            2,
            "{:?}",
            &whole[second..end]
        );
    }
}

#[test]
fn of_two_definitions_the_first_file_counts_and_the_other_is_told() {
    let mut store = store();
    store.apply(vec![
        text("b", &service("one", 2)),
        text("a", &service("one", 1)),
    ]);
    check_ports(&store, &[("one", 1)]);
    let diagnostics = store.diagnostics();
    let error = errors(&diagnostics)[0];
    assert_eq!(
        (error.code, error.position.as_ref().unwrap().file.as_ref()),
        ("duplicate_object", "b")
    );
    assert!(error.message.contains(" a:"), "{error}");
    store.apply(vec![gone("a")]);
    check_ports(&store, &[("one", 2)]);
    assert_eq!(store.diagnostics(), []);
}

#[test]
fn two_definitions_in_one_file_are_told() {
    let mut store = store();
    store.apply(vec![text("a", &(service("one", 1) + &service("one", 2)))]);
    check_ports(&store, &[("one", 1)]);
    assert_eq!(store.diagnostics()[0].code, "duplicate_object");
}

#[test]
fn an_object_that_moved_out_of_a_broken_file_counts_where_it_is() {
    let mut store = store();
    store.apply(vec![text("a", &service("one", 1))]);
    store.apply(vec![text("a", "}{"), text("b", &service("one", 2))]);
    check_ports(&store, &[("one", 2)]);
    assert!(
        store
            .diagnostics()
            .iter()
            .all(|one| one.code != "duplicate_object")
    );
}

/// A PeerAuthentication and an AuthorizationPolicy.
fn policies(mode: &str, action: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: mtls}}\n\
         spec: {{mtls: {{mode: {mode}}}}}\n\
         ---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: access}}\n\
         spec: {{action: {action}, rules: [{{}}]}}\n"
    )
}

/// The mode and the action in force.
fn in_force(published: &Published) -> (PeerTlsMode, AuthorizationAction) {
    let resources = &published.resources;
    let mtls = resources.peer_authentications.values().next().unwrap();
    let access = resources.authorization_policies.values().next().unwrap();
    (mtls.mtls.unwrap().mode, access.action.value)
}

#[test]
fn policies_are_loaded_and_changed_like_other_objects() {
    let mut configuration = Configuration::new(settings(None));
    let good = text("a", &policies("STRICT", "DENY"));
    let published = compiled(&mut configuration, vec![good]).unwrap();
    assert_eq!(published.receipt.changes.len(), 2);
    let guarded = (PeerTlsMode::Strict, AuthorizationAction::Deny);
    assert_eq!(in_force(&published), guarded);

    let misspelt = text("a", &policies("strict", "deny"));
    let published = compiled(&mut configuration, vec![misspelt]).unwrap();
    assert_eq!(errors(&published.diagnostics).len(), 2);
    assert_eq!(in_force(&published), guarded);

    let other = text("a", &policies("PERMISSIVE", "ALLOW"));
    let published = compiled(&mut configuration, vec![other]).unwrap();
    assert_eq!(
        in_force(&published),
        (PeerTlsMode::Permissive, AuthorizationAction::Allow)
    );
}

/// The compiler of a sidecar finds an error in it, and it guards all the same.
#[test]
fn a_policy_that_cannot_be_obeyed_stays_in_force() {
    let mut configuration = Configuration::new(sidecar());
    for action in [
        "CUSTOM, provider: {name: a}",
        "ALLOW",
        "CUSTOM, provider: {name: a}",
    ] {
        let changes = vec![text("a", &policies("STRICT", action))];
        let published = compiled(&mut configuration, changes).unwrap();
        let is_custom = in_force(&published).1 == AuthorizationAction::Custom;
        assert_eq!(is_custom, action != "ALLOW");
        assert_eq!(errors(&published.diagnostics).len(), usize::from(is_custom));
        let Some(Serves::Inbound(inbound)) = published
            .table
            .listeners
            .values()
            .map(|one| &one.serves)
            .next()
        else {
            panic!("{:?}", published.table)
        };
        let peer = Peer {
            source: [10, 0, 0, 1].into(),
            remote: [10, 0, 0, 1].into(),
            principal: None,
            destination: ([10, 0, 0, 2], 80).into(),
            sni: None,
        };
        let verdict = inbound.authorization.decide_connection(&peer);
        assert_eq!(verdict.is_allowed(), !is_custom);
    }
}

#[test]
fn policies_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    start_over(folder.path(), vec![text("a", &policies("STRICT", "DENY"))]);
    let published = start_over(folder.path(), vec![text("a", &policies("x", "y"))]);
    let guarded = (PeerTlsMode::Strict, AuthorizationAction::Deny);
    assert_eq!(in_force(&published), guarded);
}

fn settings(last_good: Option<&Path>) -> Settings {
    Settings {
        defaults: Defaults::default(),
        compile: CompileOptions::default(),
        last_good: last_good.map(Path::to_path_buf),
        credentials: CredentialSettings::default(),
    }
}

/// Of a sidecar in the default namespace.
fn sidecar() -> Settings {
    let mut settings = settings(None);
    settings.compile.proxy.namespace = "default".into();
    settings.compile.sidecar = Some(SidecarOptions {
        inbound: Some(([127, 0, 0, 1], 15006).into()),
        ..SidecarOptions::default()
    });
    settings
}

fn compiled(configuration: &mut Configuration, changes: Vec<Change>) -> Option<Published> {
    configuration.apply(changes);
    configuration.compile(SystemTime::now())
}

fn shop() -> Vec<Change> {
    vec![
        text("gateway", GATEWAY),
        text("rules", &virtual_service("shop", "{prefix: /cart}")),
        text("services", &(service("cart", 80) + &endpoints("127.0.0.1"))),
    ]
}

/// Promise 7.
#[test]
fn a_change_is_compiled_once_and_has_a_receipt() {
    let mut configuration = Configuration::new(settings(None));
    let published = compiled(&mut configuration, shop()).unwrap();
    assert_eq!(published.table.generation, 1);
    assert_eq!(published.receipt.changes.len(), 4);
    assert_eq!(
        (published.receipt.errors, published.table.listeners.len()),
        (0, 1)
    );
    assert!(compiled(&mut configuration, shop()).is_none());
    let rules = virtual_service("shop", "{prefix: /basket}");
    let published = compiled(&mut configuration, vec![text("rules", &rules)]).unwrap();
    assert_eq!(
        published.receipt.changes[0].to_string(),
        "VirtualService default/shop changed"
    );
    assert_eq!(
        (
            published.receipt.changes.len(),
            published.receipt.generation
        ),
        (1, 2)
    );
}

#[test]
fn endpoints_alone_leave_the_table() {
    let mut configuration = Configuration::new(settings(None));
    let first = compiled(&mut configuration, shop()).unwrap();
    let services = service("cart", 80) + &endpoints("127.0.0.2");
    let second = compiled(&mut configuration, vec![text("services", &services)]).unwrap();
    assert!(Arc::ptr_eq(&first.table, &second.table));
    let addresses: Vec<_> = second
        .endpoints
        .services
        .values()
        .flat_map(|all| all.iter())
        .collect();
    assert_eq!(addresses[0].address.to_string(), "127.0.0.2:8000");
}

#[test]
fn a_sidecar_alone_may_lead_elsewhere() {
    let mut configuration = Configuration::new(sidecar());
    let sidecar = |port: u16| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: own}}\nspec:\n  ingress:\n  \
             - port: {{number: 9080, protocol: TCP, name: tcp}}\n    defaultEndpoint: 127.0.0.1:{port}\n"
        )
    };
    for port in [8000, 8001] {
        let changes = vec![text("sidecar", &sidecar(port))];
        let published = compiled(&mut configuration, changes).unwrap();
        let all = published.endpoints.services.values();
        let addresses: Vec<_> = all
            .flat_map(|all| all.iter())
            .map(|one| one.address.to_string())
            .collect();
        assert_eq!(addresses, [format!("127.0.0.1:{port}")]);
    }
}

/// Whoever speaks to an endpoint does so as its PeerAuthentication says now.
#[test]
fn a_peer_authentication_alone_changes_how_endpoints_are_spoken_to() {
    let mut configuration = Configuration::new(settings(None));
    let pod = "---\napiVersion: v1\nkind: Pod\n\
               metadata: {name: cart-1, labels: {app: cart, security.istio.io/tlsMode: istio}}\n\
               spec: {containers: []}\nstatus: {podIP: 127.0.0.1}\n";
    let services = service("cart", 80) + &endpoints("127.0.0.1") + pod;
    let mut changes = vec![text("services", &services)];
    for (mode, takes_mesh_tls) in [("STRICT", true), ("DISABLE", false), ("STRICT", true)] {
        let peers = format!(
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: all}}\n\
             spec: {{mtls: {{mode: {mode}}}}}\n"
        );
        changes.push(text("peers", &peers));
        let published = compiled(&mut configuration, std::mem::take(&mut changes)).unwrap();
        let mut endpoints = published
            .endpoints
            .services
            .values()
            .flat_map(|all| all.iter());
        assert_eq!(
            endpoints.next().unwrap().takes_mesh_tls,
            takes_mesh_tls,
            "{mode}"
        );
    }
}

/// A Pod that is added does what the warning asks for.
#[test]
fn a_pod_alone_names_the_ports_of_its_workload() {
    let mut settings = sidecar();
    settings.compile.proxy.labels = [("app".to_owned(), "cart".to_owned())].into();
    let mut configuration = Configuration::new(settings);
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: cart}\n\
                   spec: {selector: {app: cart}, ports: [{name: http, port: 80, targetPort: web}]}\n";
    let unknown = |published: &Published| {
        let mut codes = published.diagnostics.iter().map(|told| told.code);
        codes.any(|code| code == "unknown_target_port")
    };
    let published = compiled(&mut configuration, vec![text("service", service)]).unwrap();
    assert!(unknown(&published));
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: cart-1, labels: {app: cart}}\n\
               spec: {containers: [{name: app, ports: [{name: web, containerPort: 8080}]}]}\n\
               status: {podIP: 10.0.0.7}\n";
    let published = compiled(&mut configuration, vec![text("pod", pod)]).unwrap();
    assert!(!unknown(&published));
}

/// As of an API server that is away when the process starts, and comes back with one object less.
#[test]
fn what_was_below_an_unreadable_folder_is_remembered_until_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &str| format!("kubernetes:Service/default/{name}");
    let names = |published: &Published| {
        let services = published.resources.services.keys();
        services.map(|key| key.name.to_string()).collect::<Vec<_>>()
    };
    let mut configuration = Configuration::new(settings(Some(folder.path())));
    let both = ["cart", "shop"].map(|name| text(&named(name), &service(name, 80)));
    compiled(&mut configuration, both.to_vec()).unwrap();
    configuration.remember_all();
    let mut configuration = Configuration::new(settings(Some(folder.path())));
    let away = vec![
        unreadable("kubernetes:Service"),
        unreadable("kubernetes:Serv"),
    ];
    let published = compiled(&mut configuration, away).unwrap();
    assert_eq!(names(&published), ["cart", "shop"]);
    assert_eq!(published.diagnostics.len(), 2);
    let back = vec![
        text(&named("cart"), &service("cart", 80)),
        gone("kubernetes:Service"),
        gone("kubernetes:Serv"),
    ];
    let published = compiled(&mut configuration, back).unwrap();
    assert_eq!(names(&published), ["cart"]);
    assert!(published.diagnostics.is_empty());
    // What is known below it stays as it is.
    let published = compiled(&mut configuration, vec![unreadable("kubernetes:Service")]).unwrap();
    assert_eq!(names(&published), ["cart"]);
    assert_eq!(published.diagnostics.len(), 1);
}

#[test]
fn an_empty_configuration_is_published_too() {
    let mut configuration = Configuration::new(settings(None));
    let published = compiled(&mut configuration, Vec::new()).unwrap();
    assert!(published.table.listeners.is_empty());
}

/// What parses and cannot be compiled.
fn uncompilable(name: &str) -> String {
    virtual_service(name, "{prefix: /cart}").replace(
        "  - match",
        "  - headers: {request: {set: {'bad name': x}}}\n    match",
    )
}

fn routes(published: &Published) -> usize {
    let hosts = published
        .table
        .listeners
        .values()
        .filter_map(|listener| listener.virtual_hosts())
        .flat_map(VirtualHosts::iter);
    hosts.map(|host| host.routes.routes().len()).sum()
}

fn prefixes(published: &Published, path: &str) -> bool {
    published
        .resources
        .virtual_services
        .values()
        .any(|service| format!("{service:?}").contains(path))
}

/// Promise 5.
#[test]
fn a_rule_that_cannot_be_compiled_leaves_the_version_before() {
    let mut configuration = Configuration::new(settings(None));
    compiled(&mut configuration, shop()).unwrap();
    let bad = uncompilable("shop");
    let published = compiled(&mut configuration, vec![text("rules", &bad)]);
    let published = published.unwrap();
    if published.receipt.errors == 0 {
        panic!("expected to be refused: {:?}", published.diagnostics);
    }
    assert_eq!(routes(&published), 1);
    assert!(prefixes(&published, "/cart"));
    assert_eq!(published.receipt.changes, [], "nothing changed");
    let good = virtual_service("shop", "{prefix: /basket}");
    let published = compiled(&mut configuration, vec![text("rules", &good)]).unwrap();
    assert_eq!((published.receipt.errors, routes(&published)), (0, 1));
    assert!(prefixes(&published, "/basket"));
}

/// Half of the rules would let through what the other half keeps out.
#[test]
fn a_new_object_that_cannot_be_compiled_is_not_in_force_in_part() {
    let mut configuration = Configuration::new(settings(None));
    let two_rules =
        uncompilable("shop") + "  - route: [{destination: {host: cart, port: {number: 80}}}]\n";
    let mut changes = shop();
    changes[1] = text("rules", &two_rules);
    let published = compiled(&mut configuration, changes).unwrap();
    assert_eq!(routes(&published), 0);
    assert_eq!(published.receipt.errors, 1, "{:?}", published.diagnostics);
    let good = virtual_service("shop", "{prefix: /basket}");
    let published = compiled(&mut configuration, vec![text("rules", &good)]).unwrap();
    assert_eq!((published.receipt.errors, routes(&published)), (0, 1));
}

fn start_over(folder: &Path, changes: Vec<Change>) -> Published {
    let mut configuration = Configuration::new(settings(Some(folder)));
    let published = compiled(&mut configuration, changes).unwrap();
    configuration.remember_all();
    configuration.forget_others();
    published
}

fn service_ports(published: &Published) -> Vec<u16> {
    published
        .resources
        .services
        .values()
        .map(|service| service.ports[0].port)
        .collect()
}

/// Promise 5: also across a restart, from disk.
#[test]
fn the_last_good_version_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    start_over(
        &kept,
        vec![text("a", &(service("one", 1) + &service("two", 2)))],
    );
    for (broken, want) in [
        (
            text("a", &(bad_service("one") + &service("two", 3))),
            [1, 3],
        ),
        (text("a", "}{"), [1, 3]),
        (unreadable("a"), [1, 3]),
        (
            text("a", &format!("{}---\n}}{{\n", service("one", 4))),
            [4, 3],
        ),
        (unreadable("a"), [4, 3]),
    ] {
        let published = start_over(&kept, vec![broken.clone()]);
        assert_eq!(service_ports(&published), want, "{broken:?}");
        assert!(published.receipt.errors > 0);
    }
    // What is of another file does not come back.
    assert!(
        start_over(&kept, vec![unreadable("b")])
            .resources
            .is_empty()
    );
}

#[test]
fn what_is_remembered_is_its_owners_alone_and_goes_with_the_object() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    start_over(
        &kept,
        vec![text("a", &(service("one", 1) + &service("two", 2)))],
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&kept), mode(&kept.join("Service.default.one.yaml"))),
        (0o700, 0o600)
    );
    start_over(&kept, vec![text("a", &service("two", 2))]);
    let left: Vec<_> = fs::read_dir(&kept)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["Service.default.two.yaml"]);
}

#[test]
fn a_folder_that_is_gone_is_an_error_and_its_objects_stay() {
    let mut configuration = Configuration::new(settings(None));
    let one = text("rules/a.yaml", &service("one", 1));
    compiled(&mut configuration, vec![one, text("rulesets", "")]);
    let lost = compiled(&mut configuration, vec![unreadable("rules")]).unwrap();
    assert_eq!((lost.receipt.errors, service_ports(&lost)), (1, vec![1]));
    let help = lost.diagnostics[0].help.as_deref().unwrap_or_default();
    assert!(help.contains("stay in force"), "{help}");
    let back = vec![gone("rules")];
    let back = compiled(&mut configuration, back).unwrap();
    assert_eq!((back.receipt.errors, service_ports(&back)), (0, vec![1]));
}

#[test]
fn nothing_found_at_all_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    start_over(folder.path(), vec![text("a", &service("one", 1))]);
    start_over(folder.path(), Vec::new());
    assert_eq!(
        service_ports(&start_over(folder.path(), vec![unreadable("a")])),
        [1]
    );
}

#[test]
fn a_folder_that_cannot_be_made_is_done_without() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let published = start_over(
        &file.path().join("below"),
        vec![text("a", &service("one", 1))],
    );
    assert_eq!(service_ports(&published), [1]);
}

/// Of a file with a Service, and of one with a VirtualService: what is refused when it is read, and when it is compiled.
fn two_refusals() -> [(&'static str, String); 2] {
    [
        ("more", bad_service("one")),
        ("rules", uncompilable("shop")),
    ]
}

fn shop_and_one() -> Vec<Change> {
    let more = text("more", &service("one", 1));
    shop().into_iter().chain([more]).collect()
}

/// Whether a start with both of them refused finds good versions.
#[track_caller]
fn remembers_both(folder: &Path, is_there: bool) {
    let both = two_refusals().map(|(file, bad)| text(file, &bad));
    let [gateway, _, services] = shop().try_into().unwrap();
    let changes = [gateway, services].into_iter().chain(both);
    let published = start_over(folder, changes.collect());
    assert_eq!(service_ports(&published).contains(&1), is_there);
    assert_eq!(routes(&published), usize::from(is_there));
}

/// Promise 5: what was good for a moment only, too short to be written, is the last good version all the same.
#[test]
fn what_is_refused_before_the_version_before_is_written_does_not_take_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut configuration = Configuration::new(settings(Some(folder.path())));
    compiled(&mut configuration, shop_and_one()).unwrap();
    for (file, bad) in two_refusals() {
        compiled(&mut configuration, vec![text(file, &bad)]).unwrap();
    }
    configuration.remember_all();
    remembers_both(folder.path(), true);
}

/// Promise 5: so is what was not even compiled before its place was taken.
#[test]
fn what_is_refused_at_once_does_not_take_the_place_of_what_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut configuration = Configuration::new(settings(Some(folder.path())));
    let both = vec![
        text("a", &service("one", 1)),
        text("a", &bad_service("one")),
    ];
    let published = compiled(&mut configuration, both).unwrap();
    assert_eq!(service_ports(&published), [1]);
    configuration.remember_all();
    let published = start_over(folder.path(), vec![text("a", &bad_service("one"))]);
    assert_eq!(service_ports(&published), [1]);
}

/// Promise 5 does not keep what was taken away on purpose, though its file is still there.
#[test]
fn what_was_deleted_and_is_added_again_with_an_error_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut configuration = Configuration::new(settings(Some(folder.path())));
    compiled(&mut configuration, shop_and_one()).unwrap();
    configuration.remember_all();
    compiled(&mut configuration, vec![gone("more"), gone("rules")]).unwrap();
    let both = two_refusals().map(|(file, bad)| text(file, &bad)).into();
    let published = compiled(&mut configuration, both).unwrap();
    assert!(!service_ports(&published).contains(&1));
    assert_eq!(routes(&published), 0);
    configuration.remember_all();
    remembers_both(folder.path(), false);
}

/// Promise 5: an object that merely moved is found by the file where it is now.
#[test]
fn what_moved_to_another_file_is_remembered_of_that_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut configuration = Configuration::new(settings(Some(folder.path())));
    compiled(&mut configuration, vec![text("a", &service("one", 1))]).unwrap();
    configuration.remember_all();
    let moved = vec![gone("a"), text("b", &service("one", 1))];
    compiled(&mut configuration, moved).unwrap();
    configuration.remember_all();
    assert_eq!(
        service_ports(&start_over(folder.path(), vec![unreadable("b")])),
        [1]
    );
}

#[test]
fn a_folder_that_others_could_read_is_closed_to_them() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    start_over(folder.path(), vec![text("a", &service("one", 1))]);
    let mode = fs::metadata(folder.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

/// Waits for a publication with a deadline.
fn next(publications: &mut crate::Publications) -> Arc<Published> {
    let end = Instant::now() + Duration::from_secs(10);
    while !publications.has_changed().unwrap() {
        assert!(Instant::now() < end, "nothing was published");
        std::thread::yield_now();
    }
    publications.borrow_and_update().clone().unwrap()
}

#[test]
fn nothing_is_published_before_all_sources_have_told_everything() {
    let (sender, receiver) = tokio::sync::mpsc::channel(crate::QUEUE);
    let configuration = Configuration::new(settings(None));
    let mut publications = start(configuration, 2, Followers::default(), receiver).unwrap();
    for file in ["a", "b"] {
        sender
            .blocking_send(Message::Changes(vec![text(file, &service(file, 1))]))
            .unwrap();
        assert!(publications.borrow().is_none());
        sender.blocking_send(Message::Synced).unwrap();
    }
    let published = next(&mut publications);
    assert_eq!(
        (published.receipt.changes.len(), published.table.generation),
        (2, 1)
    );
}

/// A proxy that can read nothing and remembers nothing is not ready, however long it waits: it may take the place of one that
/// serves.
#[test]
fn who_sees_nothing_and_remembers_nothing_publishes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let named = "kubernetes:Service/default/one";
    let unseen = || Message::Changes(vec![unreadable("kubernetes:Service")]);
    let (sender, receiver) = tokio::sync::mpsc::channel(crate::QUEUE);
    let configuration = Configuration::new(settings(Some(folder.path())));
    let mut publications = start(configuration, 2, Followers::default(), receiver).unwrap();
    let told = |message| sender.blocking_send(message).unwrap();
    told(unseen());
    // The second is another's, which has nothing either.
    for message in [Message::Blind, Message::Synced, Message::Synced] {
        told(message);
    }
    // What is behind them was taken: the queue has room for no more than these.
    for _ in 0..=crate::QUEUE {
        told(unseen());
    }
    assert!(publications.borrow().is_none());
    told(Message::Changes(vec![
        gone("kubernetes:Service"),
        text(named, &service("one", 1)),
    ]));
    told(Message::Sighted);
    assert_eq!(service_ports(&next(&mut publications)), [1]);
    drop(sender);
    while publications.has_changed().is_ok() {
        std::thread::yield_now();
    }

    let (sender, receiver) = tokio::sync::mpsc::channel(crate::QUEUE);
    let configuration = Configuration::new(settings(Some(folder.path())));
    let mut publications = start(configuration, 1, Followers::default(), receiver).unwrap();
    for message in [unseen(), Message::Blind, Message::Synced] {
        sender.blocking_send(message).unwrap();
    }
    let remembered = next(&mut publications);
    assert_eq!(service_ports(&remembered), [1]);
    assert_eq!(remembered.receipt.errors, 1);
}

#[test]
fn a_burst_ends_in_the_last_version() {
    let (sender, receiver) = tokio::sync::mpsc::channel(crate::QUEUE);
    let mut publications = start(
        Configuration::new(settings(None)),
        1,
        Followers::default(),
        receiver,
    )
    .unwrap();
    sender.blocking_send(Message::Synced).unwrap();
    for port in 1..=200 {
        sender
            .blocking_send(Message::Changes(vec![text("a", &service("a", port))]))
            .unwrap();
    }
    let mut published = next(&mut publications);
    while service_ports(&published) != [200] {
        published = next(&mut publications);
    }
}

/// A source is told when what it told is judged, also when that is no news: a text that is told again compiles nothing.
#[test]
fn a_mark_is_reached_with_the_publication_of_what_was_told_before_it() {
    let (sender, receiver) = tokio::sync::mpsc::channel(crate::QUEUE);
    let configuration = Configuration::new(settings(None));
    let mut publications = start(configuration, 1, Followers::default(), receiver).unwrap();
    let (reached, marks) = std::sync::mpsc::channel();
    let mark = || {
        let reached = reached.clone();
        Message::Mark(Mark::new(move |number| reached.send(number).unwrap()))
    };
    let change = |port| Message::Changes(vec![text("a", &service("a", port))]);
    let told = |message| sender.blocking_send(message).unwrap();
    told(change(1));
    told(mark());
    assert!(marks.try_recv().is_err(), "nothing is published yet");
    told(Message::Synced);
    let patience = Duration::from_secs(10);
    assert_eq!(marks.recv_timeout(patience).unwrap(), 1);
    assert_eq!(next(&mut publications).number, 1);
    for (port, want) in [(1, 1), (2, 2), (2, 2)] {
        told(change(port));
        told(mark());
        assert_eq!(marks.recv_timeout(patience).unwrap(), want, "{port}");
    }
    let published = next(&mut publications);
    assert_eq!((published.number, published.table.generation), (2, 2));
}

/// Promise 7: each change leaves a receipt, also when the next one is published before it was taken.
#[test]
fn what_nobody_took_stands_in_the_next_receipt() {
    let mut configuration = Configuration::new(settings(None));
    let of = |published: &Published| -> Vec<String> {
        let changes = published.receipt.changes.iter();
        changes.map(ToString::to_string).collect()
    };
    let first = compiled(&mut configuration, vec![text("a", &service("one", 1))]).unwrap();
    let mut second = compiled(&mut configuration, vec![text("b", &service("two", 2))]).unwrap();
    second.continue_from(&first);
    let want = ["Service default/two added", "Service default/one added"];
    assert_eq!(of(&second), want);
    assert_eq!(second.receipt.received_at, first.receipt.received_at);
    second.note_taken();
    let mut third = compiled(&mut configuration, vec![gone("b")]).unwrap();
    third.continue_from(&second);
    assert_eq!(of(&third), ["Service default/two removed"]);
}
