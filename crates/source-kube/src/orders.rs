//! What replicas share that order certificates: whose turn it is, the Secrets that they keep, and the challenges that all
//! of them answer.
//!
//! Who orders writes the challenges into a Secret that every replica follows. Each tells by a Lease which version of it
//! it answers, so that who orders can wait for all before the ACME server is told to look.

use crate::acting::{Acting, client, identity, take_part};
use crate::election::Terms;
use crate::election::driver::{Elector, Turn};
use crate::presence::{Peers, Presence, Purpose};
use crate::replica::ReplicaSettings;
use crate::secrets::{SecretData, Secrets, StoredSecret};
use crate::timing::Timing;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use serde::{Deserialize, Serialize};
use std::io;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, OnceCell, oneshot, watch};
use tokio::time::sleep;
use tokio_stream::StreamExt;

/// Which version of the challenges a replica answers, by a Lease of each.
const ANSWERED: Purpose = Purpose {
    infix: "acme",
    label: "tidegate.io/acme",
    annotation: "tidegate.io/acme-challenges",
};

/// The entry of the Secret with the challenges.
const CHALLENGES: &str = "challenges.json";

/// Challenges that are answered at most.
const MOST: usize = 1024;

/// How long is waited for all replicas to answer, and how often it is looked.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A challenge, and what proves that whoever answers it is who ordered.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "type")]
pub enum Challenge {
    /// A text, over HTTP.
    #[serde(rename = "http-01", rename_all = "camelCase")]
    Http01 {
        /// What is asked for.
        token: String,
        /// What is answered.
        key_authorization: String,
    },
    /// A certificate, over TLS.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01 {
        /// What is asked for.
        name: String,
        /// What is in the certificate.
        sha256: Vec<u8>,
    },
}

/// What replicas share, as one of them sees it.
pub struct Orders {
    settings: ReplicaSettings,
    turn: Turn,
    api: OnceCell<(Secrets, Mutex<Peers>)>,
}

/// Starts sharing, with the other replicas of the same name. Whatever is to be answered by this one is given to `answer`, in
/// place of what was before. What is shared may be used on another thread.
///
/// # Errors
///
/// When no thread can be started. Whatever fails later is logged and tried again.
pub fn share_orders(
    settings: ReplicaSettings,
    answer: impl Fn(Vec<Challenge>) + Send + 'static,
) -> io::Result<(Orders, Acting)> {
    share_with(settings, Terms::default(), answer)
}

pub(crate) fn share_with(
    settings: ReplicaSettings,
    terms: Terms,
    answer: impl Fn(Vec<Challenge>) + Send + 'static,
) -> io::Result<(Orders, Acting)> {
    let (turn, holder) = Turn::new();
    let orders = Orders {
        settings: settings.clone(),
        turn,
        api: OnceCell::new(),
    };
    let acting = Acting::start("orders", async move |stopped| {
        run(&settings, terms, holder.clone(), &answer, stopped).await;
    })?;
    Ok((orders, acting))
}

async fn run(
    settings: &ReplicaSettings,
    terms: Terms,
    holder: watch::Sender<Option<Instant>>,
    answer: &impl Fn(Vec<Challenge>),
    stopped: &mut oneshot::Receiver<()>,
) {
    let client = tokio::select! {
        client = client(&settings.access) => client,
        _ = &mut *stopped => return,
    };
    let proxy = &settings.proxy;
    let (identity, random) = identity();
    let elector = Elector::new(
        client.clone(),
        proxy.namespace(),
        format!("{}-acme", proxy.name()),
        identity.clone(),
        terms,
        holder,
    );
    let place = (proxy.namespace(), proxy.name());
    let own = Presence::new(client.clone(), ANSWERED, place, (&identity, &random));
    let (text, told) = watch::channel(String::new());
    let work = follow(client, settings, answer, &text);
    take_part(elector, own, told, work, stopped).await;
}

/// Answers whatever there is to be answered. Never ends.
async fn follow(
    client: Client,
    settings: &ReplicaSettings,
    answer: &impl Fn(Vec<Challenge>),
    text: &watch::Sender<String>,
) {
    let api: Api<Secret> = Api::namespaced(client, settings.proxy.namespace());
    let name = challenges_of(settings);
    let mut pauses = Timing::default().pauses();
    let mut versions = pin!(watcher::watch_object(api, &name));
    while let Some(version) = versions.next().await {
        match version {
            Ok(secret) => {
                pauses = Timing::default().pauses();
                answer(secret.as_ref().map(challenges).unwrap_or_default());
                let version = secret.and_then(|secret| secret.resource_version());
                text.send_replace(version.unwrap_or_default());
            }
            Err(error) => {
                tracing::debug!(%error, "challenges cannot be followed");
                let longest = Timing::default().longest_pause;
                sleep(pauses.next().unwrap_or(longest)).await;
            }
        }
    }
}

fn challenges_of(settings: &ReplicaSettings) -> String {
    format!("{}-acme-challenges", settings.proxy.name())
}

/// What is no list of challenges has none: it is written by who orders, alone.
fn challenges(secret: &Secret) -> Vec<Challenge> {
    let text = secret.data.as_ref().and_then(|data| data.get(CHALLENGES));
    let text = text.map(|text| text.0.as_slice()).unwrap_or_default();
    let mut challenges: Vec<_> = serde_json::from_slice(text).unwrap_or_default();
    challenges.truncate(MOST);
    challenges
}

impl Orders {
    /// Whose turn it is to order.
    pub fn turn(&self) -> Turn {
        self.turn.clone()
    }

    /// The name of the Secret with the accounts.
    pub fn accounts(&self) -> String {
        format!("{}-acme-accounts", self.settings.proxy.name())
    }

    async fn api(&self) -> Result<&(Secrets, Mutex<Peers>), String> {
        let made = self.api.get_or_try_init(|| async {
            let (access, proxy) = (&self.settings.access, &self.settings.proxy);
            let secrets = Secrets::new(access, proxy.namespace()).await;
            let secrets = secrets.map_err(|error| error.to_string())?;
            let client = crate::connect::connect(access).await;
            let client = client.map_err(|error| error.to_string())?;
            let place = (proxy.namespace(), proxy.name());
            Ok::<_, String>((secrets, Mutex::new(Peers::new(client, ANSWERED, place))))
        });
        made.await
    }

    /// What a Secret holds. `None`: there is none.
    ///
    /// # Errors
    ///
    /// The API server does not answer in time, or refuses.
    pub async fn read(&self, name: &str) -> Result<Option<SecretData>, String> {
        Ok(self.stored(name).await?.map(|stored| stored.data))
    }

    async fn stored(&self, name: &str) -> Result<Option<StoredSecret>, String> {
        let (secrets, _) = self.api().await?;
        let stored = secrets.read(name).await;
        stored.map_err(|error| format!("the Secret {name} cannot be read: {error}"))
    }

    /// Has a Secret hold these data, and makes it of this type where there is none. One that has no entry `marker` is
    /// somebody else's, and stays as it is.
    ///
    /// # Errors
    ///
    /// It is somebody else's, was written by somebody else meanwhile, or the API server does not answer in time, or refuses.
    pub async fn write(
        &self,
        name: &str,
        kind: &str,
        marker: &str,
        data: SecretData,
    ) -> Result<(), String> {
        let former = self.stored(name).await?;
        if former
            .as_ref()
            .is_some_and(|former| !former.data.contains_key(marker))
        {
            return Err(format!(
                "the Secret {name} is not from here, as it has no `{marker}`: take it away, or use another name"
            ));
        }
        let (secrets, _) = self.api().await?;
        let written = match former {
            None => secrets.make(name, kind, data).await,
            former => secrets.write(name, data, former).await,
        };
        written.map_err(|error| format!("the Secret {name} cannot be written: {error}"))
    }

    /// Has all replicas answer these challenges, and no others.
    ///
    /// # Errors
    ///
    /// The API server does not answer in time, or refuses.
    pub async fn show(&self, challenges: &[Challenge]) -> Result<(), String> {
        let name = challenges_of(&self.settings);
        let text = serde_json::to_vec(challenges).map_err(|error| error.to_string())?;
        let before = self.read(&name).await?;
        if before.is_some_and(|before| before.get(CHALLENGES) == Some(&text)) {
            return Ok(());
        }
        let data = SecretData::from([(CHALLENGES.to_owned(), text)]);
        self.write(&name, "Opaque", CHALLENGES, data).await
    }

    /// Waits until all replicas answer what was shown last, but not for ever: one that cannot be told must not keep all from
    /// their certificates.
    pub async fn until_answered(&self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let missing = self.missing().await;
            if missing.as_ref().is_ok_and(|missing| *missing == 0) {
                return;
            }
            if Instant::now() >= end {
                let missing = missing.map_or_else(|error| error, |missing| missing.to_string());
                tracing::warn!(missing, "not all replicas answer challenges");
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// How many replicas do not answer what was shown last, this one among them.
    async fn missing(&self) -> Result<usize, String> {
        let name = challenges_of(&self.settings);
        let stored = self.stored(&name).await?;
        let shown = stored.as_ref().map_or("", StoredSecret::version);
        let (_, peers) = self.api().await?;
        let mut peers = peers.lock().await;
        peers.look().await?;
        let now = Instant::now();
        let answers = peers
            .alive(now)
            .filter(|(_, peer)| peer.text == shown)
            .count();
        let all = peers.alive(now).count();
        // This one has a Lease, too, if not yet.
        Ok(all.max(1) - answers)
    }
}
