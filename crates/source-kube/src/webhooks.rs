//! Webhook configurations: whom an API server trusts to be asked.

use crate::asking::{Unanswered, Unwritten, asked, written};
use crate::connect::{Unreachable, connect};
use crate::settings::Access;
use k8s_openapi::ByteString;
use kube::Client;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::ApiResource;
use serde_json::{Value, json};
use std::fmt;

/// Which of the two kinds of webhook configurations.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WebhookKind {
    /// `ValidatingWebhookConfiguration`
    Validating,
    /// `MutatingWebhookConfiguration`
    Mutating,
}

/// The webhook configurations of an API server.
#[derive(Clone)]
pub struct WebhookConfigurations {
    client: Client,
}

/// A webhook configuration as it was read.
pub struct WebhookConfiguration {
    kind: WebhookKind,
    /// Who is trusted to be each of its webhooks, PEM. Empty: whoever the system trusts.
    pub bundles: Vec<Vec<u8>>,
    /// As it is, with fields that nobody here knows.
    object: DynamicObject,
}

impl WebhookKind {
    /// As Kubernetes calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validating => "ValidatingWebhookConfiguration",
            Self::Mutating => "MutatingWebhookConfiguration",
        }
    }

    fn resource(self) -> ApiResource {
        ApiResource {
            group: "admissionregistration.k8s.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "admissionregistration.k8s.io/v1".to_owned(),
            kind: self.as_str().to_owned(),
            plural: format!("{}s", self.as_str().to_lowercase()),
        }
    }
}

impl fmt::Display for WebhookConfiguration {
    /// `MutatingWebhookConfiguration tidegate`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.object.metadata.name.as_deref();
        write!(f, "{} {}", self.kind.as_str(), name.unwrap_or_default())
    }
}

impl WebhookConfigurations {
    /// Those of an API server, which has not been asked for any yet.
    ///
    /// # Errors
    ///
    /// Nothing tells where the API server is, or what does cannot be used.
    pub async fn new(access: &Access) -> Result<Self, Unreachable> {
        let client = connect(access).await?;
        Ok(Self { client })
    }

    fn api(&self, kind: WebhookKind) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &kind.resource())
    }

    /// The configuration of a name as it is now. `None`: there is none.
    ///
    /// # Errors
    ///
    /// The API server does not answer in time, or refuses.
    pub async fn read(
        &self,
        kind: WebhookKind,
        name: &str,
    ) -> Result<Option<WebhookConfiguration>, Unanswered> {
        let found = asked(self.api(kind).get_opt(name)).await?;
        Ok(found.map(|object| WebhookConfiguration {
            kind,
            bundles: webhooks(&object).iter().map(bundle).collect(),
            object,
        }))
    }

    /// Has the API server trust this bundle, PEM, at every webhook of a configuration.
    ///
    /// # Errors
    ///
    /// Another one was written since it was read, the API server does not answer in time, or refuses.
    pub async fn trust(
        &self,
        configuration: WebhookConfiguration,
        bundle: &str,
    ) -> Result<(), Unwritten> {
        let WebhookConfiguration {
            kind, mut object, ..
        } = configuration;
        let name = object.metadata.name.clone().unwrap_or_default();
        let webhooks = object
            .data
            .get_mut("webhooks")
            .and_then(Value::as_array_mut);
        let clients = webhooks.into_iter().flatten();
        let clients =
            clients.filter_map(|webhook| webhook.get_mut("clientConfig")?.as_object_mut());
        for client in clients {
            client.insert("caBundle".to_owned(), json!(ByteString(bundle.into())));
        }
        let parameters = PostParams::default();
        written(self.api(kind).replace(&name, &parameters, &object)).await
    }
}

fn webhooks(configuration: &DynamicObject) -> &[Value] {
    let webhooks = configuration.data["webhooks"].as_array();
    webhooks.map_or(&[], Vec::as_slice)
}

/// What is no bundle is none, and is replaced.
fn bundle(webhook: &Value) -> Vec<u8> {
    let bundle = webhook["clientConfig"]["caBundle"].clone();
    let bundle = serde_json::from_value(bundle);
    bundle.map_or_else(|_| Vec::new(), |ByteString(bytes)| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fake_kubernetes::ApiServer;

    #[tokio::test]
    async fn a_bundle_is_told_to_all_webhooks_and_nothing_else_changed() {
        let server = ApiServer::start().await;
        let file = server.kubeconfig();
        let access = Access {
            kubeconfig: Some(file.path().to_owned()),
            context: None,
        };
        let configurations = WebhookConfigurations::new(&access).await.unwrap();
        let read = async |kind| configurations.read(kind, "ours").await.unwrap();
        assert!(read(WebhookKind::Mutating).await.is_none());
        let plural = "validatingwebhookconfigurations";
        let service = json!({"name": "webhook", "namespace": "istio-system"});
        let webhooks = json!([
            {"name": "a", "clientConfig": {"service": service}, "of later versions": 1},
            {"name": "b", "clientConfig": {"service": service, "caBundle": "b2xk"}},
            {"name": "c"},
        ]);
        server.put(plural, "ours", &json!({"webhooks": webhooks}));
        let before = read(WebhookKind::Validating).await.unwrap();
        assert_eq!(before.bundles, [&b""[..], b"old", b""]);
        let late = read(WebhookKind::Validating).await.unwrap();
        configurations.trust(before, "new").await.unwrap();
        let now = server.object(plural, None, "ours").unwrap();
        let mut want = webhooks.clone();
        want[0]["clientConfig"]["caBundle"] = json!("bmV3");
        want[1]["clientConfig"]["caBundle"] = json!("bmV3");
        assert_eq!(now["webhooks"], want);
        let told = configurations.trust(late, "other").await;
        assert_eq!(told, Err(Unwritten::Conflict));
    }

    #[tokio::test]
    async fn configurations_of_any_form_are_read() {
        let server = ApiServer::start().await;
        let file = server.kubeconfig();
        let access = Access {
            kubeconfig: Some(file.path().to_owned()),
            context: None,
        };
        let configurations = WebhookConfigurations::new(&access).await.unwrap();
        for webhooks in [
            json!(null),
            json!([]),
            json!("x"),
            json!([1]),
            json!([{"clientConfig": []}]),
        ] {
            server.put(
                "mutatingwebhookconfigurations",
                "odd",
                &json!({"webhooks": webhooks}),
            );
            let read = configurations.read(WebhookKind::Mutating, "odd").await;
            let told = configurations.trust(read.unwrap().unwrap(), "new").await;
            assert_eq!(told, Ok(()), "{webhooks}");
        }
    }
}
