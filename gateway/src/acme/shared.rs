//! Orders of several replicas: what they keep is in Secrets, one of them orders, and all answer.

use super::Answers;
use async_trait::async_trait;
use source_acme::{Files, Kept, Publish, Running, Settings, Shared, Turn, Vault, VaultError};
use source_kube::{Challenge, Orders, ReplicaSettings, share_orders};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use telemetry::Metrics;

/// The types of Secrets, and the entries by which those from here are known.
const TLS: (&str, &str) = ("kubernetes.io/tls", "directory");
const ACCOUNTS: (&str, &str) = ("Opaque", "account.json");

/// Starts ordering when it is this replica's turn, and answering whoever's turn it is.
pub(super) fn start(
    settings: Settings,
    replicas: ReplicaSettings,
    answers: Answers,
    metrics: Arc<Metrics>,
) -> io::Result<Running> {
    let serving = Arc::clone(&answers.0);
    let own = Answers(Arc::clone(&serving));
    let given = Mutex::new(Vec::new());
    let (orders, acting) = share_orders(replicas, move |challenges| {
        let guards = challenges.iter().filter_map(|challenge| match challenge {
            Challenge::Http01 {
                token,
                key_authorization,
            } => own.set_http01(token, key_authorization),
            Challenge::TlsAlpn01 { name, sha256 } => own.set_tls_alpn01(name, sha256),
        });
        // The new ones are there before the old ones go.
        let guards: Vec<_> = guards.collect();
        *given.lock().unwrap_or_else(PoisonError::into_inner) = guards;
    })?;
    serving.keep_until_the_end(acting);
    let orders = Arc::new(orders);
    let shared = Shared {
        vault: Arc::new(Secrets(Arc::clone(&orders))),
        turn: Box::new(OrdersTurn(orders.turn())),
    };
    let publish = Everywhere {
        answers,
        orders,
        wanted: Arc::default(),
    };
    source_acme::start_shared(settings, shared, publish, metrics)
}

/// Secrets of the proxy's own namespace.
struct Secrets(Arc<Orders>);

impl Secrets {
    fn name(&self, kept: Kept<'_>) -> String {
        match kept {
            Kept::Accounts => self.0.accounts(),
            Kept::Certificate(name) => name.to_owned(),
        }
    }
}

#[async_trait]
impl Vault for Secrets {
    fn place(&self, kept: Kept<'_>) -> String {
        format!("the Secret {}", self.name(kept))
    }

    async fn read(&self, kept: Kept<'_>) -> Result<Option<Files>, VaultError> {
        self.0.read(&self.name(kept)).await.map_err(VaultError)
    }

    async fn write(&self, kept: Kept<'_>, files: Files) -> Result<(), VaultError> {
        let (kind, marker) = match kept {
            Kept::Accounts => ACCOUNTS,
            Kept::Certificate(_) => TLS,
        };
        let written = self.0.write(&self.name(kept), kind, marker, files).await;
        written.map_err(VaultError)
    }

    /// The challenges are a Secret in the same namespace.
    async fn probe(&self) -> Result<(), VaultError> {
        self.0.show(&[]).await.map_err(VaultError)
    }
}

struct OrdersTurn(source_kube::Turn);

#[async_trait]
impl Turn for OrdersTurn {
    async fn begins(&mut self) {
        self.0.begins().await;
    }

    async fn ends(&mut self) {
        self.0.ends().await;
    }
}

/// Answers through all replicas.
struct Everywhere {
    answers: Answers,
    orders: Arc<Orders>,
    wanted: Arc<Mutex<Wanted>>,
}

/// What is to be answered.
#[derive(Default)]
struct Wanted {
    /// How many there were.
    count: u64,
    challenges: Vec<(u64, Challenge)>,
}

/// Takes a challenge away when dropped.
struct Guard {
    number: u64,
    wanted: Arc<Mutex<Wanted>>,
}

fn locked(wanted: &Mutex<Wanted>) -> MutexGuard<'_, Wanted> {
    // A list is whole whatever happened.
    wanted.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut wanted = locked(&self.wanted);
        wanted
            .challenges
            .retain(|(number, _)| *number != self.number);
    }
}

impl Everywhere {
    fn want(&self, challenge: Challenge) -> Guard {
        let mut wanted = locked(&self.wanted);
        wanted.count += 1;
        let number = wanted.count;
        wanted.challenges.push((number, challenge));
        Guard {
            number,
            wanted: Arc::clone(&self.wanted),
        }
    }

    async fn show(&self) -> Option<()> {
        let challenges = locked(&self.wanted).challenges.clone();
        let challenges: Vec<_> = challenges.into_iter().map(|(_, one)| one).collect();
        let shown = self.orders.show(&challenges).await;
        let shown =
            shown.inspect_err(|error| tracing::warn!("challenges cannot be shared: {error}"));
        shown.ok()
    }
}

impl Publish for Everywhere {
    type Guard = Guard;

    fn http01(&self, name: &str, token: &str, key_authorization: &str) -> Option<Guard> {
        self.answers.look_for_http(name);
        Some(self.want(Challenge::Http01 {
            token: token.to_owned(),
            key_authorization: key_authorization.to_owned(),
        }))
    }

    fn tls_alpn01(&self, name: &str, sha256: &[u8]) -> Option<Guard> {
        self.answers.look_for_https(name);
        Some(self.want(Challenge::TlsAlpn01 {
            name: name.to_owned(),
            sha256: sha256.to_vec(),
        }))
    }

    async fn until_answered(&self) -> Option<()> {
        self.show().await?;
        self.orders.until_answered().await;
        Some(())
    }

    async fn withdraw(&self) {
        self.show().await;
    }
}
