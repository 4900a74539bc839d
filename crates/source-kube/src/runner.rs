//! The thread that follows all kinds.

use crate::connect::connect;
use crate::follow::Follower;
use crate::kinds::{KINDS, Kind, SECRETS};
use crate::settings::Settings;
use crate::timing::Timing;
use config::{Message, Running};
use kube::Client;
use std::io;
use tokio::sync::mpsc::{Sender, WeakSender};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Starts a thread that follows the objects of an API server and sends them as `sender` does, without counting as a
/// sender. It says once that it has [told everything](Message::Synced): when each kind was listed, or could not be. It ends
/// with what is returned, or when nobody listens any more.
///
/// # Errors
///
/// When the thread cannot be started. Whatever fails later is told and tried again.
pub fn start(settings: Settings, sender: &Sender<Message>) -> io::Result<Running> {
    start_with(settings, Timing::default(), sender)
}

pub(crate) fn start_with(
    settings: Settings,
    timing: Timing,
    sender: &Sender<Message>,
) -> io::Result<Running> {
    let sender = sender.downgrade();
    Running::start("kubernetes", move || async move {
        run(&settings, timing, &sender).await;
    })
}

async fn run(settings: &Settings, timing: Timing, sender: &WeakSender<Message>) {
    let mut followers = Vec::new();
    let mut synced = Vec::new();
    for (kind, namespace) in followed(settings) {
        let (follower, receiver) = Follower::new(
            kind,
            namespace,
            timing,
            sender.clone(),
            settings.seen.as_ref(),
        );
        followers.push(follower);
        synced.push(receiver);
    }
    let telling = tell_synced(synced, sender.clone());
    let following = async {
        let Some(client) = client(settings, timing, &mut followers).await else {
            return;
        };
        let mut tasks = JoinSet::new();
        for follower in followers {
            tasks.spawn(follower.run(client.clone()));
        }
        while tasks.join_next().await.is_some() {}
    };
    tokio::join!(telling, following);
}

/// The kinds, and the namespaces in which they are followed. Absent: in all.
fn followed(settings: &Settings) -> Vec<(Kind, Option<String>)> {
    let namespaces: Vec<_> = match settings.namespaces.is_empty() {
        true => vec![None],
        false => settings.namespaces.iter().cloned().map(Some).collect(),
    };
    let mut followed = Vec::new();
    for kind in KINDS {
        match kind.is_namespaced {
            true => followed.extend(namespaces.iter().map(|one| (kind, one.clone()))),
            false => followed.push((kind, None)),
        }
    }
    let secrets = settings.secrets_of.clone();
    followed.extend(secrets.map(|namespace| (SECRETS, Some(namespace))));
    followed
}

/// A client, as soon as it is known how to reach the API server. `None`: nobody listens any more.
async fn client(settings: &Settings, timing: Timing, followers: &mut [Follower]) -> Option<Client> {
    let mut pauses = timing.pauses();
    loop {
        let error = match connect(&settings.access).await {
            Ok(client) => return Some(client),
            Err(error) => error,
        };
        for follower in &mut *followers {
            follower.tell(error.to_string()).await.ok()?;
        }
        tokio::time::sleep(pauses.next()?).await;
    }
}

/// Says that everything was told, once it was.
async fn tell_synced(followers: Vec<oneshot::Receiver<()>>, sender: WeakSender<Message>) {
    for follower in followers {
        // One that has ended will not tell anything any more.
        let _ = follower.await;
    }
    if let Some(sender) = sender.upgrade() {
        // Fails only when nobody listens.
        let _ = sender.send(Message::Synced).await;
    }
}
