//! Certificates from an ACME server, whose questions the data plane answers.

mod shared;

use dataplane::ChallengeGuard;
use proxy::Serving;
use proxy::bootstrap::Bootstrap;
use rules::{Listener, Serves};
use source_acme::{Publish, Settings, challenge_certificate};
use source_kube::ReplicaSettings;
use std::sync::Arc;

/// Starts ordering what `[acme]` wants, as soon as listeners are open through which the server can look.
pub(crate) fn start(bootstrap: &Bootstrap, serving: &Arc<Serving>) -> anyhow::Result<()> {
    let Some(acme) = &bootstrap.acme else {
        return Ok(());
    };
    let settings = acme.settings();
    let replicas = acme.replicas(bootstrap.kubernetes.as_ref(), &bootstrap.proxy)?;
    if replicas.is_none() {
        source_acme::prepare(&settings);
    }
    tokio::spawn(run(settings, replicas, Arc::clone(serving)));
    Ok(())
}

async fn run(settings: Settings, replicas: Option<ReplicaSettings>, serving: Arc<Serving>) {
    serving.until_live().await;
    let metrics = Arc::clone(&serving.metrics);
    let started = match replicas {
        None => source_acme::start(settings, Answers(serving), metrics),
        Some(replicas) => shared::start(settings, replicas, Answers(serving), metrics),
    };
    match started {
        Ok(_running) => std::future::pending().await,
        Err(error) => tracing::error!(%error, "no certificate can be ordered"),
    }
}

/// Answers through the listeners of the data plane.
struct Answers(Arc<Serving>);

impl Answers {
    fn has_listener(&self, is_it: impl Fn(&Listener) -> bool) -> bool {
        let published = self.0.published();
        published.is_some_and(|published| {
            let mut listeners = published.table.listeners.values();
            listeners.any(|listener| is_it(listener))
        })
    }

    /// Says so where the server will ask in vain.
    fn look_for_http(&self, name: &str) {
        if !self.has_listener(|listener| matches!(listener.serves, Serves::Http(_))) {
            tracing::warn!(
                name,
                "the ACME server will ask on port 80, and no Gateway has a server of protocol HTTP"
            );
        }
    }

    fn look_for_https(&self, name: &str) {
        if !self.has_listener(|listener| matches!(listener.serves, Serves::Tls(_))) {
            tracing::warn!(
                name,
                "the ACME server will ask on port 443, and no Gateway has a server of protocol HTTPS"
            );
        }
    }

    fn set_http01(&self, token: &str, key_authorization: &str) -> Option<ChallengeGuard> {
        let challenges = &self.0.shared.challenges;
        challenges.set_http01(token, key_authorization.into())
    }

    fn set_tls_alpn01(&self, name: &str, sha256: &[u8]) -> Option<ChallengeGuard> {
        let certificate = challenge_certificate(name, sha256);
        let certificate = certificate.inspect_err(|error| tracing::error!(name, %error));
        let challenges = &self.0.shared.challenges;
        challenges.set_tls_alpn01(name, Arc::new(certificate.ok()?))
    }
}

impl Publish for Answers {
    type Guard = ChallengeGuard;

    fn http01(&self, name: &str, token: &str, key_authorization: &str) -> Option<ChallengeGuard> {
        self.look_for_http(name);
        self.set_http01(token, key_authorization)
    }

    fn tls_alpn01(&self, name: &str, sha256: &[u8]) -> Option<ChallengeGuard> {
        self.look_for_https(name);
        self.set_tls_alpn01(name, sha256)
    }
}
