//! What replicas share, at a Kubernetes API server.

use crate::keeper::{Store, Told, Unwritten};
use crate::keys::Data;
use source_kube::{
    Access, Secrets, StoredSecret, Unreachable, WebhookConfiguration, WebhookConfigurations,
    WebhookKind,
};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Where the webhook's certificates are kept, and whom they are told to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Places {
    /// The namespace of the Secret.
    pub namespace: String,
    /// The Secret that the replicas share.
    pub secret: String,
    /// Names of ValidatingWebhookConfigurations, all of whose webhooks are this one.
    pub validating: Vec<String>,
    /// Names of MutatingWebhookConfigurations, all of whose webhooks are this one.
    pub mutating: Vec<String>,
}

/// An API server.
pub(crate) struct Cluster {
    places: Places,
    secrets: Secrets,
    configurations: WebhookConfigurations,
    /// Configurations that were not there when they were asked for last.
    missing: Mutex<BTreeSet<String>>,
}

impl Cluster {
    pub(crate) async fn new(access: &Access, places: Places) -> Result<Self, Unreachable> {
        Ok(Self {
            secrets: Secrets::new(access, &places.namespace).await?,
            configurations: WebhookConfigurations::new(access).await?,
            missing: Mutex::default(),
            places,
        })
    }

    fn secret_name(&self) -> String {
        format!("Secret {}/{}", self.places.namespace, self.places.secret)
    }

    /// Says once that nobody asks by this configuration.
    fn note(&self, configuration: &str, is_there: bool) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if is_there {
            missing.remove(configuration);
        } else if missing.insert(configuration.to_owned()) {
            tracing::warn!("there is no {configuration}: nobody asks by it");
        }
    }
}

impl Store for Cluster {
    type Secret = StoredSecret;
    type Configuration = WebhookConfiguration;

    async fn configurations(&self) -> Result<Vec<Told<WebhookConfiguration>>, String> {
        let validating = self.places.validating.iter();
        let validating = validating.map(|name| (WebhookKind::Validating, name));
        let mutating = self.places.mutating.iter();
        let mutating = mutating.map(|name| (WebhookKind::Mutating, name));
        let mut all = Vec::new();
        for (kind, name) in validating.chain(mutating) {
            let what = format!("{} {name}", kind.as_str());
            let read = self.configurations.read(kind, name).await;
            let found = read.map_err(|why| format!("{what}: {why}"))?;
            self.note(&what, found.is_some());
            all.extend(found.map(|mut configuration| Told {
                bundles: std::mem::take(&mut configuration.bundles),
                configuration,
            }));
        }
        Ok(all)
    }

    async fn secret(&self) -> Result<Option<(Data, StoredSecret)>, String> {
        let read = self.secrets.read(&self.places.secret).await;
        let found = read.map_err(|why| format!("{}: {why}", self.secret_name()))?;
        Ok(found.map(|mut secret| (std::mem::take(&mut secret.data), secret)))
    }

    async fn write(&self, data: Data, former: Option<StoredSecret>) -> Result<(), Unwritten> {
        let name = &self.places.secret;
        let written = self.secrets.write(name, data, former).await;
        written.map_err(|why| unwritten(&self.secret_name(), why))
    }

    async fn tell(&self, to: WebhookConfiguration, bundle: &str) -> Result<(), Unwritten> {
        let what = to.to_string();
        let written = self.configurations.trust(to, bundle).await;
        written.map_err(|why| unwritten(&what, why))
    }
}

fn unwritten(what: &str, why: source_kube::Unwritten) -> Unwritten {
    match why {
        source_kube::Unwritten::Conflict => Unwritten::Conflict,
        source_kube::Unwritten::Failed(why) => Unwritten::Failed(format!("{what}: {why}")),
    }
}
