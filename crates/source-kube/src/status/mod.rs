//! Tells in the objects themselves what became of them: a condition in `status` of each of Istio's kinds, and an event for
//! each with errors.
//!
//! Every proxy tells by a [Lease](crate::presence) of its own how far it has come; one of them, which holds
//! [another](crate::election), writes the [conditions](condition). What one knows of an object comes from who
//! [follows](seen) it and from what is [published](judge), so that nothing is asked for that is as it should be.

pub(crate) mod bucket;
mod condition;
mod events;
mod judge;
mod replicas;
pub(crate) mod seen;
mod teller;

pub use seen::Seen;

use crate::acting::{Acting, client, identity, take_part};
use crate::election::Terms;
use crate::election::driver::{Elector, Turn};
use crate::presence::{Peers, Presence};
use config::Published;
use events::Events;
use replicas::{IN_FORCE, Others};
use std::io;
use std::sync::Arc;
use std::time::Instant;
use teller::{State, Teller};
use tokio::sync::{oneshot, watch};

use crate::replica::{ProxyName, ReplicaSettings};

impl Seen {
    /// What a proxy of this name sees, once it is given to [`start`](crate::start) and [`tell_status`].
    pub fn by(proxy: &ProxyName) -> Self {
        Self::new(proxy.condition())
    }
}

/// Starts a thread that tells what became of objects: those that were seen, as what is in force says.
///
/// # Errors
///
/// When the thread cannot be started. Whatever fails later is logged once and tried again.
pub fn tell_status(
    settings: ReplicaSettings,
    seen: Seen,
    in_force: watch::Receiver<Option<Arc<Published>>>,
) -> io::Result<Acting> {
    tell_with(settings, Terms::default(), seen, in_force)
}

pub(crate) fn tell_with(
    settings: ReplicaSettings,
    terms: Terms,
    seen: Seen,
    in_force: watch::Receiver<Option<Arc<Published>>>,
) -> io::Result<Acting> {
    Acting::start("status", async move |stopped| {
        run(&settings, terms, seen.clone(), in_force.clone(), stopped).await;
    })
}

async fn run(
    settings: &ReplicaSettings,
    terms: Terms,
    seen: Seen,
    mut in_force: watch::Receiver<Option<Arc<Published>>>,
    stopped: &mut oneshot::Receiver<()>,
) {
    let client = tokio::select! {
        client = client(&settings.access) => client,
        _ = &mut *stopped => return,
    };
    tokio::select! {
        // Fails only when nothing will be in force any more: then this is stopped, too.
        _ = in_force.wait_for(Option::is_some) => {}
        _ = &mut *stopped => return,
    }
    let proxy = &settings.proxy;
    let place = (proxy.namespace(), proxy.name());
    let (identity, random) = identity();
    let (turn, holder) = Turn::new();
    let elector = Elector::new(
        client.clone(),
        proxy.namespace(),
        format!("{}-status", proxy.name()),
        identity.clone(),
        terms,
        holder,
    );
    let own = Presence::new(client.clone(), IN_FORCE, place, (&identity, &random));
    let peers = Peers::new(client.clone(), IN_FORCE, place);
    let teller = Teller {
        events: Events::new(client.clone(), "tidegate.io/gateway", &identity),
        client,
        seen: seen.clone(),
        in_force: in_force.clone(),
        turn,
        others: Others::new(peers, own.name().to_owned()),
        state: State::new(Instant::now()),
    };
    let (text, told) = watch::channel(String::new());
    let work = async {
        tokio::select! {
            () = settle(&seen, in_force, &text) => {}
            () = teller.run() => {}
        }
    };
    take_part(elector, own, told, work, stopped).await;
}

/// What is judged counts once it is in force.
async fn settle(
    seen: &Seen,
    mut in_force: watch::Receiver<Option<Arc<Published>>>,
    text: &watch::Sender<String>,
) {
    let mut judged = seen.judged();
    loop {
        let number = in_force.borrow_and_update().as_ref().map(|one| one.number);
        judged.mark_unchanged();
        seen.settle(number.unwrap_or_default(), Instant::now());
        let known = replicas::text(&seen.in_force());
        text.send_if_modified(|told| {
            *told != known && {
                *told = known;
                true
            }
        });
        tokio::select! {
            _ = judged.changed() => {}
            changed = in_force.changed() => if changed.is_err() {
                std::future::pending::<()>().await;
            },
        }
    }
}
