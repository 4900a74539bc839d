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

    /// Says once that nobody asks by this configuration.
    fn note(&self, name: &str, is_there: bool) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if is_there {
            missing.remove(name);
        } else if missing.insert(name.to_owned()) {
            tracing::warn!(name, "there is no such webhook configuration");
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
            let read = self.configurations.read(kind, name).await;
            let found = read.map_err(|why| why.to_string())?;
            self.note(name, found.is_some());
            all.extend(found.map(|mut configuration| Told {
                bundles: std::mem::take(&mut configuration.bundles),
                configuration,
            }));
        }
        Ok(all)
    }

    async fn secret(&self) -> Result<Option<(Data, StoredSecret)>, String> {
        let read = self.secrets.read(&self.places.secret).await;
        let found = read.map_err(|why| why.to_string())?;
        Ok(found.map(|mut secret| (std::mem::take(&mut secret.data), secret)))
    }

    async fn write(&self, data: Data, former: Option<StoredSecret>) -> Result<(), Unwritten> {
        let name = &self.places.secret;
        self.secrets
            .write(name, data, former)
            .await
            .map_err(Unwritten::from)
    }

    async fn tell(&self, to: WebhookConfiguration, bundle: &str) -> Result<(), Unwritten> {
        self.configurations
            .trust(to, bundle)
            .await
            .map_err(Unwritten::from)
    }
}

impl From<source_kube::Unwritten> for Unwritten {
    fn from(why: source_kube::Unwritten) -> Self {
        match why {
            source_kube::Unwritten::Conflict => Self::Conflict,
            source_kube::Unwritten::Failed(why) => Self::Failed(why.to_string()),
        }
    }
}
