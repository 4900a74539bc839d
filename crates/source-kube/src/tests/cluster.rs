//! A cluster for tests that do nothing but what is ordinary: the tests' own API server, or a real one.
//!
//! The real one is that of `KUBECONFIG`, in its current context, if `TEST_CLUSTER=yes` says besides that it is for tests: who
//! runs tests in a shell that knows a cluster need not mean to write to it. A test makes namespaces with names that nobody
//! else has, writes to these alone, and deletes them in the end, also when it fails. The custom resources have to be there:
//! `packaging/manifests/crds.yaml`, or Istio's.

use crate::connect::connect;
use crate::kinds::{KINDS, Kind, SECRETS};
use crate::{Access, Settings};
use fake_kubernetes::ApiServer;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use serde_json::{Value, json};
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use tempfile::NamedTempFile;

/// A cluster with two namespaces of a test's own.
pub(super) struct Cluster {
    access: Access,
    client: Client,
    /// The first is that of the proxy.
    pub(super) namespaces: [String; 2],
    _fake: Option<(ApiServer, NamedTempFile)>,
}

impl Cluster {
    /// The real one, where the environment has one, else the tests' own.
    pub(super) async fn start() -> Self {
        let kubeconfig = std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty());
        let is_for_tests = std::env::var("TEST_CLUSTER").is_ok_and(|said| said == "yes");
        match kubeconfig {
            Some(kubeconfig) if is_for_tests => Self::at(kubeconfig.into(), None).await,
            _ => {
                let server = ApiServer::start().await;
                let kubeconfig = server.kubeconfig();
                let path = kubeconfig.path().to_owned();
                Self::at(path, Some((server, kubeconfig))).await
            }
        }
    }

    async fn at(kubeconfig: PathBuf, fake: Option<(ApiServer, NamedTempFile)>) -> Self {
        let access = Access {
            kubeconfig: Some(kubeconfig),
            context: None,
        };
        let client = connect(&access).await.unwrap();
        let chance = RandomState::new().hash_one("namespace");
        let namespaces = ["own", "other"].map(|name| format!("tidegate-test-{name}-{chance:016x}"));
        let cluster = Self {
            access,
            client,
            namespaces,
            _fake: fake,
        };
        for name in &cluster.namespaces {
            let namespace = json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": {"tidegate-test": "true"}},
            });
            let namespace: DynamicObject = serde_json::from_value(namespace).unwrap();
            let made = namespaces_of(&cluster.client);
            made.create(&PostParams::default(), &namespace)
                .await
                .unwrap();
        }
        cluster
    }

    /// Those of a proxy in the first namespace, that is to see no others than both.
    pub(super) fn settings(&self) -> Settings {
        Settings {
            access: self.access.clone(),
            namespaces: self.namespaces.to_vec(),
            own_namespace: self.namespaces[0].clone(),
            sidecar: None,
            seen: None,
        }
    }

    /// What an object is told as.
    pub(super) fn file(&self, kind: &str, namespace: usize, name: &str) -> String {
        format!("kubernetes:{kind}/{}/{name}", self.namespaces[namespace])
    }

    /// Adds an object to a namespace of the test's own, or changes it.
    pub(super) async fn put(&self, kind: &str, namespace: usize, name: &str, object: &Value) {
        let (api, resource) = self.api(kind, namespace);
        let mut object = object.clone();
        object["apiVersion"] = json!(resource.api_version);
        object["kind"] = json!(resource.kind);
        object["metadata"]["name"] = json!(name);
        let parameters = PatchParams::apply("tidegate-test").force();
        let put = api.patch(name, &parameters, &Patch::Apply(&object)).await;
        put.unwrap();
    }

    /// Takes an object away.
    pub(super) async fn delete(&self, kind: &str, namespace: usize, name: &str) {
        let (api, _) = self.api(kind, namespace);
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }

    fn api(&self, kind: &str, namespace: usize) -> (Api<DynamicObject>, ApiResource) {
        let mut kinds = KINDS.into_iter().chain([SECRETS]);
        let kind: Kind = kinds.find(|one| one.name == kind).unwrap();
        let resource = kind.resource(kind.versions[0]);
        let namespace = &self.namespaces[namespace];
        let api = Api::namespaced_with(self.client.clone(), namespace, &resource);
        (api, resource)
    }
}

impl Drop for Cluster {
    /// On a thread of its own, since a test may be in the middle of anything.
    fn drop(&mut self) {
        if self._fake.is_some() {
            return;
        }
        let (access, namespaces) = (self.access.clone(), self.namespaces.clone());
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let client = connect(&access).await.unwrap();
                for name in namespaces {
                    let deleted = namespaces_of(&client)
                        .delete(&name, &DeleteParams::default())
                        .await;
                    deleted.unwrap_or_else(|error| panic!("namespace {name} stays: {error}"));
                }
            });
        });
        if cleaning.join().is_err() && !std::thread::panicking() {
            panic!("namespaces of the test stay");
        }
    }
}

fn namespaces_of(client: &Client) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: String::new(),
        version: "v1".to_owned(),
        api_version: "v1".to_owned(),
        kind: "Namespace".to_owned(),
        plural: "namespaces".to_owned(),
    };
    Api::all_with(client.clone(), &resource)
}

/// The way of the real one, tried where there is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_of_a_test_are_gone_after_it() {
    let server = ApiServer::start().await;
    let kubeconfig = server.kubeconfig();
    let cluster = Cluster::at(kubeconfig.path().to_owned(), None).await;
    let namespaces = cluster.namespaces.clone();
    assert_ne!(namespaces[0], namespaces[1]);
    let service = json!({"spec": {"ports": [{"port": 80}]}});
    cluster.put("Service", 1, "cart", &service).await;
    assert!(
        server
            .object("services", Some(&namespaces[1]), "cart")
            .is_some()
    );
    cluster.delete("Service", 1, "cart").await;
    assert_eq!(server.objects("namespaces").len(), 2);
    drop(cluster);
    assert!(server.objects("namespaces").is_empty());
}
