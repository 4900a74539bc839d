//! Certificates from an ACME server, whose questions the data plane answers.

use dataplane::ChallengeGuard;
use proxy::Serving;
use proxy::bootstrap::Bootstrap;
use rules::{Listener, Serves};
use rustls::sign::CertifiedKey;
use source_acme::{Publish, Settings};
use std::sync::Arc;

/// Starts ordering what `[acme]` wants, as soon as listeners are open through which the server can look.
pub(crate) fn start(bootstrap: &Bootstrap, serving: &Arc<Serving>) -> anyhow::Result<()> {
    let Some(acme) = &bootstrap.acme else {
        return Ok(());
    };
    let settings = acme.settings();
    source_acme::prepare(&settings);
    tokio::spawn(run(settings, Arc::clone(serving)));
    Ok(())
}

async fn run(settings: Settings, serving: Arc<Serving>) {
    serving.until_live().await;
    let metrics = Arc::clone(&serving.metrics);
    match source_acme::start(settings, Answers(serving), metrics) {
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
}

impl Publish for Answers {
    type Guard = ChallengeGuard;

    fn http01(&self, name: &str, token: &str, key_authorization: &str) -> Option<ChallengeGuard> {
        if !self.has_listener(|listener| matches!(listener.serves, Serves::Http(_))) {
            tracing::warn!(
                name,
                "the ACME server will ask on port 80, and no Gateway has a server of protocol HTTP"
            );
        }
        let challenges = &self.0.shared.challenges;
        challenges.set_http01(token, key_authorization.into())
    }

    fn tls_alpn01(&self, name: &str, certificate: Arc<CertifiedKey>) -> Option<ChallengeGuard> {
        if !self.has_listener(|listener| matches!(listener.serves, Serves::Tls(_))) {
            tracing::warn!(
                name,
                "the ACME server will ask on port 443, and no Gateway has a server of protocol HTTPS"
            );
        }
        self.0.shared.challenges.set_tls_alpn01(name, certificate)
    }
}
