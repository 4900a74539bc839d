//! What is compiled again, and what is the same as before.

use super::*;
use model::ResourceRef;
use std::net::IpAddr;

/// Two services with slices, one of Pods, two ServiceEntries of names.
fn everything() -> String {
    let of = |name: &str| SERVICE.replace("web", name);
    let slice = |name: &str| {
        let end = SLICE.find("---").unwrap();
        SLICE[..end].replace("web", name) + "---\n"
    };
    let entry = |name: &str, host: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: {name} }}\nspec:\n  \
             hosts: [{host}]\n  ports: [{{ number: 80, name: http, protocol: HTTP }}]\n  resolution: DNS\n---\n"
        )
    };
    [
        of("one"),
        slice("one"),
        of("two"),
        slice("two").replace("name: a }", "name: b }"),
        SERVICE.to_owned(),
        pod("a", "status: { podIP: 10.0.0.1 }"),
        entry("first", "first.test"),
        entry("second", "second.test"),
        ENTRY.replace("app: web", "app: other"),
    ]
    .concat()
}

struct Compiling {
    compiler: Compiler,
    resources: Resources,
    answers: Arc<NameAnswers>,
    last: Endpoints,
}

impl Compiling {
    fn new() -> Self {
        let mut compiling = Self {
            compiler: Compiler::new(CompileOptions::default()),
            resources: resources(&everything()),
            answers: answers(&[("first.test", &["192.0.2.1"])]),
            last: Endpoints::default(),
        };
        compiling.compile();
        compiling
    }

    /// Hosts whose endpoints are others now, and how many services were compiled to find out.
    fn compile(&mut self) -> (Vec<String>, usize) {
        let (next, _) = self.compiler.endpoints(&self.resources, &self.answers);
        let same = |key: &ServicePort, list: &Arc<[Endpoint]>| {
            let before = self.last.services.get(key);
            before.is_some_and(|before| Arc::ptr_eq(before, list))
        };
        let others = next.services.iter().filter(|(key, list)| !same(key, list));
        let others: BTreeSet<String> = others
            .map(|(key, _)| key.host.split('.').next().unwrap().to_owned())
            .collect();
        self.last = next;
        let compiled = self.compiler.endpoints_compiled();
        (others.into_iter().collect(), compiled)
    }

    fn put(&mut self, text: &str) {
        for resource in resources(text).iter() {
            self.resources.insert(resource);
        }
    }
}

#[test]
fn what_did_not_change_is_not_compiled_again() {
    let mut compiling = Compiling::new();
    assert_eq!(compiling.compile(), (vec![], 0));
}

#[test]
fn a_slice_concerns_its_service() {
    let mut compiling = Compiling::new();
    let slice = SLICE[..SLICE.find("---").unwrap()].replace("web", "one");
    compiling.put(&slice.replace("10.1.0.3", "10.1.0.33"));
    assert_eq!(compiling.compile(), (vec!["one".into()], 1));
    let reference = ResourceRef {
        kind: "EndpointSlice".into(),
        namespace: "default".into(),
        name: "one-1".into(),
    };
    compiling.resources.remove(&reference);
    assert_eq!(compiling.compile(), (vec!["one".into()], 1));
    assert!(compiling.last.services[&key("one.default.svc.cluster.local", 80)].is_empty());
}

#[test]
fn a_pod_concerns_who_selects_it_and_whose_slices_name_it() {
    let mut compiling = Compiling::new();
    compiling.put(&pod("a", "status: { podIP: 10.0.0.2 }"));
    // The slice of `one` names it for its labels, which are the same.
    assert_eq!(compiling.compile(), (vec!["web".into()], 2));
    compiling.put(&pod("c", "status: { podIP: 10.0.0.3 }").replace("app: web", "app: nobody"));
    assert_eq!(compiling.compile(), (vec![], 0));
}

/// Nobody has said which Pod it is.
#[test]
fn a_pod_concerns_whose_slices_have_its_address() {
    let mut compiling = Compiling::new();
    let at = |address: &str| {
        let status = format!("status: {{ podIP: {address} }}");
        pod("d", &status).replace("app: web", "app: nobody")
    };
    compiling.put(&at("10.1.0.3"));
    assert_eq!(compiling.compile(), (vec!["one".into(), "two".into()], 2));
    let one = key("one.default.svc.cluster.local", 80);
    let behind = |compiling: &Compiling| compiling.last.services[&one][1].workload.clone();
    assert_eq!(&*behind(&compiling).unwrap().name, "d");
    compiling.put(&at("10.1.0.4"));
    assert_eq!(compiling.compile(), (vec!["one".into(), "two".into()], 2));
    assert_eq!(behind(&compiling), None);
}

#[test]
fn whom_addresses_belong_to_is_the_same_as_long_as_nothing_of_it_changes() {
    let mut compiling = Compiling::new();
    let all = compiling.last.workloads.clone();
    let a = all[&IpAddr::from([10, 0, 0, 1])].clone();
    assert_eq!(all.len(), 2);
    // Another object that says the same of what counts.
    compiling.put(&pod("a", "status: { podIP: 10.0.0.1, phase: Running }"));
    compiling.compile();
    assert!(Arc::ptr_eq(&all, &compiling.last.workloads));
    compiling.put(&pod("b", "status: { podIP: 10.0.0.2 }"));
    compiling.compile();
    let more = compiling.last.workloads.clone();
    assert_eq!(more.len(), 3);
    assert!(Arc::ptr_eq(&a, &more[&IpAddr::from([10, 0, 0, 1])]));
    let account = "spec: { serviceAccountName: other }\nstatus: { podIP: 10.0.0.1 }";
    compiling.put(&pod("a", account));
    compiling.compile();
    let now = &compiling.last.workloads[&IpAddr::from([10, 0, 0, 1])];
    assert_eq!(now.service_account.as_deref(), Some("other"));
}

#[test]
fn a_peer_authentication_concerns_its_namespace_or_all_from_the_root() {
    let mut compiling = Compiling::new();
    let object = |namespace: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
             metadata: {{ name: off, namespace: {namespace} }}\nspec: {{ mtls: {{ mode: DISABLE }} }}\n"
        )
    };
    compiling.put(&object("elsewhere"));
    assert_eq!(compiling.compile(), (vec![], 0));
    // Nobody in it is in the mesh.
    compiling.put(&object("default"));
    assert_eq!(compiling.compile(), (vec![], 5));
    compiling.put(&object("istio-system"));
    assert_eq!(compiling.compile(), (vec![], 5));
    compiling.put(OWNED_IN_MESH);
    assert_eq!(compiling.compile().0, ["web"]);
    let takes = |compiling: &Compiling| {
        let web = &compiling.last.services[&key(WEB, 80)];
        let found = web
            .iter()
            .find(|one| one.address.to_string() == "10.7.0.1:8080");
        found.unwrap().takes_mesh_tls
    };
    assert!(!takes(&compiling));
    for namespace in ["default", "istio-system"] {
        let reference = ResourceRef {
            kind: "PeerAuthentication".into(),
            namespace: namespace.into(),
            name: "off".into(),
        };
        compiling.resources.remove(&reference);
    }
    assert_eq!(compiling.compile().0, ["web"]);
    assert!(takes(&compiling));
}

const OWNED_IN_MESH: &str = "
apiVersion: v1
kind: Pod
metadata: { name: meshed, labels: { app: web, security.istio.io/tlsMode: istio } }
status: { podIP: 10.7.0.1 }
";

#[test]
fn a_workload_entry_concerns_who_selected_it_or_selects_it_now() {
    let mut compiling = Compiling::new();
    compiling.put(ENTRY);
    assert_eq!(compiling.compile(), (vec!["web".into()], 1));
    compiling.put(&ENTRY.replace("app: web", "app: other"));
    assert_eq!(compiling.compile(), (vec!["web".into()], 1));
}

#[test]
fn an_answer_concerns_who_has_the_name() {
    let mut compiling = Compiling::new();
    compiling.answers = answers(&[
        ("first.test", &["192.0.2.1"]),
        ("second.test", &["192.0.2.2"]),
    ]);
    assert_eq!(compiling.compile(), (vec!["second".into()], 1));
    compiling.answers = answers(&[("second.test", &["192.0.2.2"])]);
    assert_eq!(compiling.compile(), (vec!["first".into()], 1));
}

/// Once nobody in the registry has the name, it is one to be resolved.
#[test]
fn an_external_name_follows_who_has_it() {
    let mut compiling = Compiling::new();
    compiling.put("
apiVersion: v1
kind: Service
metadata: { name: alias }
spec: { type: ExternalName, externalName: one.default.svc.cluster.local, ports: [{ name: http, port: 80 }] }
");
    let (others, _) = compiling.compile();
    assert_eq!(others, ["alias"]);
    let alias = key("alias.default.svc.cluster.local", 80);
    assert_eq!(compiling.last.services[&alias].len(), 2);
    let one = ResourceRef {
        kind: "Service".into(),
        namespace: "default".into(),
        name: "one".into(),
    };
    compiling.resources.remove(&one);
    compiling.compile();
    assert!(compiling.last.services[&alias].is_empty());
    let mut names = compiling.compiler.names().iter();
    assert!(names.any(|name| name.as_str() == "one.default.svc.cluster.local"));
}

#[test]
fn a_node_concerns_everybody_when_it_is_elsewhere() {
    let mut compiling = Compiling::new();
    let node =
        |label: &str| format!("apiVersion: v1\nkind: Node\nmetadata: {{ name: n, {label} }}\n");
    compiling.put(&node("labels: { a: b }"));
    assert_eq!(compiling.compile(), (vec![], 5));
    compiling.put(&node("labels: { a: b }, annotations: { heartbeat: '1' }"));
    assert_eq!(compiling.compile(), (vec![], 0));
}
