//! Objects of an API server are told what became of them.

use e2e::{Gateway, PATIENCE, Setup};
use fake_kubernetes::ApiServer;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::runtime::Runtime;

const CONDITION: &str = "istio-ingressgateway.istio-system.tidegate.io/Accepted";

/// An API server that serves while the test does other things.
pub(crate) struct Cluster {
    runtime: Runtime,
    pub(crate) server: ApiServer,
    pub(crate) kubeconfig: NamedTempFile,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let server = runtime.block_on(ApiServer::start());
        Self {
            kubeconfig: server.kubeconfig(),
            server,
            runtime,
        }
    }

    fn gateway(&self) -> Gateway {
        let kubeconfig = self.kubeconfig.path().display();
        let section = format!("\n[kubernetes]\nkubeconfig = \"{kubeconfig}\"\nstatus = true\n");
        Setup::new().section(&section).start()
    }

    #[track_caller]
    fn until(&self, what: &str, holds: impl FnMut(&ApiServer) -> bool) {
        let awaited = async { tokio::time::timeout(PATIENCE, self.server.until(holds)).await };
        let objects = self.server.objects("virtualservices");
        let awaited = self.runtime.block_on(awaited);
        assert!(awaited.is_ok(), "{what}: {objects:?}");
    }
}

fn condition(server: &ApiServer, name: &str) -> Value {
    let object = server
        .object("virtualservices", None, name)
        .unwrap_or_default();
    let conditions = object["status"]["conditions"].as_array().cloned();
    let mut conditions = conditions.unwrap_or_default().into_iter();
    let own = conditions.find(|one| one["type"] == CONDITION);
    own.unwrap_or_default()
}

fn virtual_service(routes: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "spec": {"hosts": ["shop.test"], "http": routes},
    })
}

#[test]
fn objects_are_told_what_became_of_them_and_by_how_many() {
    let cluster = Cluster::start();
    let mut gateways = [cluster.gateway(), cluster.gateway()];
    let leases = |server: &ApiServer| server.objects("leases");
    cluster.until("each has a Lease, and one of them another", |server| {
        leases(server).len() == 3
    });
    let good = virtual_service(json!([{"route": [{"destination": {"host": "shop"}}]}]));
    cluster.server.put("virtualservices", "good", &good);
    cluster
        .server
        .put("virtualservices", "bad", &virtual_service(json!("none")));
    cluster.until("the good one is in force", |server| {
        let message = condition(server, "good")["message"].clone();
        message
            .as_str()
            .unwrap_or_default()
            .starts_with("taken up by 2 of 2 proxies")
    });
    cluster.until("the bad one is not", |server| {
        condition(server, "bad")["reason"] == "NotInForce"
    });
    cluster.until("there is an event", |server| {
        server.objects("events").len() == 1
    });
    for gateway in &mut gateways {
        gateway.signal(Signal::TERM);
        assert!(gateway.ended_within(PATIENCE).is_some());
    }
    let left = leases(&cluster.server);
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0]["spec"].get("holderIdentity"), None, "{left:?}");
}
