//! Passes, one after the other.

use crate::cluster::{Cluster, Places};
use crate::keeper::{Kept, Store, pass};
use crate::server::Shown;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use source_kube::Access;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use telemetry::{Metrics, Readiness};
use tokio::time::{sleep, timeout};

/// From one look at what there is to the next, plus a part of it that is chance. Somebody who applies webhook
/// configurations without whom to trust has them mended this soon.
const PERIOD: Duration = Duration::from_secs(10);

/// A pass that takes longer is begun anew.
const LONGEST_PASS: Duration = Duration::from_secs(60);

/// Keeps the webhook's certificates and whom API servers trust, and shows them.
pub struct Keeping {
    /// How the API server is reached.
    pub access: Access,
    /// Where what replicas share is.
    pub places: Places,
    /// The names and addresses of the server, as [`server_names`] has them.
    pub names: Vec<String>,
    /// The certificate that the server shows.
    pub shown: Shown,
    /// Ready from when on API servers trust what is shown.
    pub readiness: Readiness,
    /// Tells when certificates expire.
    pub metrics: Arc<Metrics>,
}

/// The names of a server as a certificate has them: in lower case, addresses in their one form, each once.
pub fn server_names(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut unique: Vec<String> = Vec::new();
    for name in names {
        let name = match name.parse::<std::net::IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => name.to_ascii_lowercase(),
        };
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    unique
}

impl Keeping {
    /// Runs without end.
    pub async fn run(self) -> Infallible {
        let mut told = Telling::default();
        let cluster = loop {
            match Cluster::new(&self.access, self.places.clone()).await {
                Ok(cluster) => break cluster,
                Err(why) => self.failed(&mut told, vec![why.to_string()]),
            }
            pause().await;
        };
        loop {
            self.once(&cluster, &mut told).await;
            pause().await;
        }
    }

    async fn once<S: Store>(&self, store: &S, told: &mut Telling) {
        let passing = timeout(LONGEST_PASS, pass(store, &self.names, SystemTime::now));
        match passing.await {
            Ok(Ok(kept)) => self.keep(kept, told),
            Ok(Err(why)) => self.failed(told, vec![why]),
            Err(_) => self.failed(
                told,
                vec!["the API server does not answer in time".to_owned()],
            ),
        }
    }

    fn keep(&self, kept: Kept, told: &mut Telling) {
        let leaf = &kept.keys.leaf.credential;
        self.shown.show(Arc::clone(&leaf.certified_key));
        told.until = Some(leaf.not_after);
        let authority = kept.keys.current.trusted.validity.not_after;
        let expiries = [("webhook", leaf.not_after), ("webhook-ca", authority)];
        self.metrics
            .own()
            .certificate_expiries(expiries.into_iter());
        if !kept.untold.is_empty() {
            return self.failed(told, kept.untold);
        }
        if told.failures.take().is_some() {
            tracing::info!("the webhook's certificates are kept again");
        }
        self.readiness.set_ready();
    }

    /// What was shown goes on being shown. Who was not ready yet stays so.
    fn failed(&self, told: &mut Telling, why: Vec<String>) {
        let why = why.join("; ");
        if told.failures.as_ref() != Some(&why) {
            tracing::error!("the webhook's certificates cannot be kept: {why}");
        }
        if !self.readiness.is_ready() {
            self.readiness.set_not_ready(why.clone());
        } else if told.until.is_none_or(|until| until <= SystemTime::now()) {
            self.readiness.set_not_ready("the certificate has expired");
        }
        told.failures = Some(why);
    }
}

/// What was told last, so that it is told once.
#[derive(Default)]
struct Telling {
    failures: Option<String>,
    /// Until when what is shown can be used.
    until: Option<SystemTime>,
}

async fn pause() {
    let chance = SmallRng::from_os_rng().random_range(0.0..0.5);
    sleep(PERIOD + PERIOD.mul_f64(chance)).await;
}

#[cfg(test)]
mod tests;
