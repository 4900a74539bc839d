//! The thread that asks, listens and asks again.

use crate::Endpoint;
use crate::call::Call;
use crate::choice::choose;
use crate::failure::Failure;
use crate::timing::{DRAWS, Timing};
use certificates::SpiffeId;
use config::{Identity, IssuedIdentity, Message, Running};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::io;
use std::time::Duration;
use tokio::sync::mpsc::{Sender, WeakSender};

/// So many failures in a row are not told while there is an identity: a server that is restarted is back soon.
const UNTOLD_FAILURES: u32 = 2;

/// What is followed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Where the Workload API is.
    pub endpoint: Endpoint,
    /// Which of the identities that it issues the proxy's is. Absent: the first, which is the default one.
    pub spiffe_id: Option<SpiffeId>,
}

/// Starts a thread that follows the proxy's identity and sends it as `sender` does, without counting as a sender. It
/// ends with what is returned, or when nobody listens any more.
///
/// # Errors
///
/// When the thread cannot be started. Whatever fails later is told, logged and tried again.
pub fn start(settings: Settings, sender: &Sender<Message>) -> io::Result<Running> {
    start_with(settings, Timing::default(), sender)
}

pub(crate) fn start_with(
    settings: Settings,
    timing: Timing,
    sender: &Sender<Message>,
) -> io::Result<Running> {
    let mut runner = Runner {
        settings,
        timing,
        sender: sender.downgrade(),
        dice: SmallRng::from_os_rng(),
        failures: 0,
        is_issued: false,
        told: None,
    };
    Running::start("spiffe", move || async move { runner.run().await })
}

struct Runner {
    settings: Settings,
    timing: Timing,
    /// Who listens decides how long this runs.
    sender: WeakSender<Message>,
    dice: SmallRng,
    /// In a row.
    failures: u32,
    /// Whether an identity was told.
    is_issued: bool,
    /// What was told last, if it was of a failure.
    told: Option<String>,
}

/// Nobody listens any more.
struct Over;

impl Runner {
    async fn run(&mut self) {
        loop {
            let failure = match self.follow().await {
                Ok(failure) => failure,
                Err(Over) => return,
            };
            self.failures = self.failures.saturating_add(1);
            if self.note(&failure).await.is_err() {
                return;
            }
            tokio::time::sleep(self.pause(&failure)).await;
        }
    }

    /// Takes answers in until there are no more, and returns why.
    async fn follow(&mut self) -> Result<Failure, Over> {
        let patience = self.timing.patience;
        let mut call = match Call::begin(&self.settings.endpoint, patience).await {
            Ok(call) => call,
            Err(failure) => return Ok(failure),
        };
        let first = tokio::time::timeout(patience, call.next()).await;
        let mut next = first.unwrap_or(Err(Failure::Timeout(patience)));
        loop {
            let response = match next {
                Ok(response) => response,
                Err(failure) => return Ok(failure),
            };
            self.failures = 0;
            match choose(response, self.settings.spiffe_id.as_ref()) {
                Ok(issued) => self.issue(issued).await?,
                Err(reason) => self.tell_of(reason.to_string()).await?,
            }
            next = call.next().await;
        }
    }

    async fn issue(&mut self, issued: IssuedIdentity) -> Result<(), Over> {
        let endpoint = &self.settings.endpoint;
        let federated = issued.federated.len();
        tracing::info!(%endpoint, id = %issued.id, federated, "an identity was issued");
        self.is_issued = true;
        self.told = None;
        self.send(Identity::Issued(Box::new(issued))).await
    }

    /// Tells of a failure, unless it may pass by itself and nobody is the worse for it so far.
    async fn note(&mut self, failure: &Failure) -> Result<(), Over> {
        let is_untold = self.is_issued && failure.may_pass() && self.failures <= UNTOLD_FAILURES;
        if is_untold {
            tracing::debug!(endpoint = %self.settings.endpoint, "the Workload API {failure}");
            return Ok(());
        }
        self.tell_of(failure.to_string()).await
    }

    /// Tells why there is no newer identity, once for as long as that is so.
    async fn tell_of(&mut self, reason: String) -> Result<(), Over> {
        if self.told.as_ref() == Some(&reason) {
            return Ok(());
        }
        tracing::warn!(endpoint = %self.settings.endpoint, "the Workload API {reason}");
        self.told = Some(reason.clone());
        self.send(Identity::Unavailable(reason)).await
    }

    async fn send(&self, news: Identity) -> Result<(), Over> {
        let sender = self.sender.upgrade().ok_or(Over)?;
        let sent = sender.send(Message::Identity(news)).await;
        sent.map_err(|_| Over)
    }

    fn pause(&mut self, failure: &Failure) -> Duration {
        let draw = self.dice.random_range(0..DRAWS);
        match failure.is_final() {
            true => self.timing.pause_without_hope(draw),
            false => self.timing.pause_after(self.failures, draw),
        }
    }
}
