use super::*;
use crate::keys::Keys;
use fake_kubernetes::{ApiServer, Fault};
use rustls::sign::CertifiedKey;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};

const CONFIGURATIONS: &str = "validatingwebhookconfigurations";

/// A replica, whose passes a test makes.
struct Replica {
    keeping: Keeping,
    cluster: Cluster,
    told: Telling,
}

impl Replica {
    async fn of(server: &ApiServer) -> Self {
        let kubeconfig = server.kubeconfig();
        let keeping = Keeping {
            access: Access {
                kubeconfig: Some(kubeconfig.path().to_owned()),
                context: None,
            },
            places: Places {
                namespace: "istio-system".to_owned(),
                secret: "keys".to_owned(),
                validating: vec!["ours".to_owned()],
                mutating: vec!["missing".to_owned()],
            },
            names: vec!["webhook.istio-system.svc".to_owned()],
            shown: Shown::default(),
            readiness: Readiness::new(),
            metrics: Arc::new(Metrics::new("0")),
        };
        let cluster = Cluster::new(&keeping.access, keeping.places.clone()).await;
        Self {
            cluster: cluster.unwrap(),
            keeping,
            told: Telling::default(),
        }
    }

    /// One pass, and whether it is ready then, or why not.
    async fn pass(&mut self) -> String {
        self.keeping.once(&self.cluster, &mut self.told).await;
        self.keeping.readiness.to_string()
    }

    fn shown(&self) -> Option<Arc<CertifiedKey>> {
        self.keeping.shown.shown()
    }
}

async fn api_server() -> ApiServer {
    let server = ApiServer::start().await;
    let webhooks = json!([{"name": "a", "clientConfig": {"service": {"name": "webhook"}}}]);
    server.put(CONFIGURATIONS, "ours", &json!({"webhooks": webhooks}));
    server
}

fn keys(server: &ApiServer) -> Keys {
    let secret = server
        .object("secrets", Some("istio-system"), "keys")
        .unwrap();
    let data = serde_json::from_value::<std::collections::BTreeMap<String, String>>(
        secret["data"].clone(),
    );
    let decoded = data.unwrap().into_iter().map(|(name, value)| {
        use base64::Engine;
        let value = base64::engine::general_purpose::STANDARD.decode(value);
        (name, value.unwrap())
    });
    Keys::read(&decoded.collect()).unwrap()
}

#[tokio::test]
async fn replicas_show_the_same_and_write_nothing_when_all_is_as_it_should_be() {
    let server = api_server().await;
    let (mut first, mut second) = (Replica::of(&server).await, Replica::of(&server).await);
    assert_eq!(
        first.pass().await,
        "ready",
        "a configuration that is missing keeps nobody waiting"
    );
    assert_eq!(second.pass().await, "ready");
    let cert = |replica: &Replica| replica.shown().unwrap().cert.clone();
    assert_eq!(cert(&first), cert(&second));
    let writes = || server.asked_when(|asked| asked.method != "GET");
    let before = writes();
    assert_eq!(before, 2, "a Secret, and a configuration");
    first.pass().await;
    second.pass().await;
    assert_eq!(writes(), before);
}

#[tokio::test]
async fn who_comes_too_late_takes_what_the_other_wrote() {
    let server = api_server().await;
    let conflicts = AtomicUsize::new(0);
    server.fail_when(move |asked| {
        let is_write = asked.method != "GET";
        (is_write && conflicts.fetch_add(1, Ordering::Relaxed) < 3).then_some(Fault::Status(409))
    });
    assert_eq!(Replica::of(&server).await.pass().await, "ready");
    server.fail_when(|asked| (asked.method != "GET").then_some(Fault::Status(409)));
    server.delete("secrets", Some("istio-system"), "keys");
    let mut other = Replica::of(&server).await;
    let why = "not ready: others write the webhook's certificates all the time";
    assert_eq!(other.pass().await, why);
    server.fail_no_more();
    assert_eq!(other.pass().await, "ready");
}

#[tokio::test]
async fn a_configuration_that_cannot_be_written_is_named_and_the_certificate_shown() {
    let server = api_server().await;
    server.refuse(CONFIGURATIONS, 403);
    let mut replica = Replica::of(&server).await;
    let why = "not ready: ValidatingWebhookConfiguration ours: no: Forbidden";
    assert_eq!(replica.pass().await, why);
    assert!(replica.shown().is_some());
    server.refuse(CONFIGURATIONS, 200);
    server.fail_when(|asked| (asked.method == "PUT").then_some(Fault::Status(403)));
    assert_eq!(replica.pass().await, why, "read, and not written");
    server.fail_no_more();
    assert_eq!(replica.pass().await, "ready");
    server.refuse("secrets", 500);
    assert_eq!(
        replica.pass().await,
        "ready",
        "what is shown can be used for long"
    );
}

#[tokio::test]
async fn data_that_are_no_keys_are_made_anew() {
    let server = api_server().await;
    let mut replica = Replica::of(&server).await;
    replica.pass().await;
    let before = keys(&server);
    let garbage = json!({"metadata": {"namespace": "istio-system"}, "data": {"ca.crt": "eA=="}});
    server.put("secrets", "keys", &garbage);
    assert_eq!(replica.pass().await, "ready");
    let after = keys(&server);
    assert_ne!(after.bundle(), before.bundle());
    assert_eq!(
        replica.shown().unwrap().cert,
        after.leaf.credential.certified_key.cert
    );
}

#[test]
fn names_are_as_certificates_have_them() {
    let names = ["B.svc", "b.svc", "0:0::1", "::1", "127.0.0.1"];
    let names = server_names(names.map(str::to_owned));
    assert_eq!(names, ["b.svc", "::1", "127.0.0.1"]);
}
