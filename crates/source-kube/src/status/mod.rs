//! Tells in the objects themselves what became of them: a condition in `status` of each of Istio's kinds, and an event for
//! each with errors.
//!
//! Every proxy tells by a [Lease](replicas) of its own how far it has come; one of them, which holds
//! [another](crate::election), writes the [conditions](condition). What one knows of an object comes from who
//! [follows](seen) it and from what is [published](judge), so that nothing is asked for that is as it should be.

pub(crate) mod bucket;
mod condition;
mod events;
mod judge;
mod replicas;
pub(crate) mod seen;
mod settings;
mod teller;

pub use seen::Seen;
pub use settings::{InvalidProxyName, ProxyName, StatusSettings};

use crate::connect::connect;
use crate::election::Terms;
use crate::election::driver::Elector;
use crate::settings::Access;
use crate::timing::Timing;
use config::Published;
use events::Events;
use kube::Client;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use replicas::Own;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use teller::{State, Teller};
use tokio::sync::{oneshot, watch};

/// How long is waited at the end for what is given back.
const ENDING: Duration = Duration::from_secs(3);

/// Statuses are written until this is dropped or stopped.
#[derive(Debug)]
pub struct Telling {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Telling {
    /// Writes nothing more, lets another replica write at once, and counts no longer as a proxy that serves. Returns when
    /// that is done, or after three seconds.
    pub async fn stop(self) {
        // Fails only when it has ended.
        let _ = self.stop.send(());
        let _ = tokio::time::timeout(ENDING, self.ended).await;
    }
}

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
    settings: StatusSettings,
    seen: Seen,
    in_force: watch::Receiver<Option<Arc<Published>>>,
) -> io::Result<Telling> {
    tell_with(settings, Terms::default(), seen, in_force)
}

pub(crate) fn tell_with(
    settings: StatusSettings,
    terms: Terms,
    seen: Seen,
    in_force: watch::Receiver<Option<Arc<Published>>>,
) -> io::Result<Telling> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (stop, stopped) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("status".into())
        .spawn(move || {
            runtime.block_on(run(&settings, terms, seen, in_force, stopped));
            // Fails only when nobody waits.
            let _ = end.send(());
        })?;
    Ok(Telling { stop, ended })
}

async fn run(
    settings: &StatusSettings,
    terms: Terms,
    seen: Seen,
    mut in_force: watch::Receiver<Option<Arc<Published>>>,
    mut stopped: oneshot::Receiver<()>,
) {
    let client = tokio::select! {
        client = client(&settings.access) => client,
        _ = &mut stopped => return,
    };
    tokio::select! {
        // Fails only when nothing will be in force any more: then this is stopped, too.
        _ = in_force.wait_for(Option::is_some) => {}
        _ = &mut stopped => return,
    }
    let proxy = &settings.proxy;
    let random = format!("{:016x}", SmallRng::from_os_rng().random::<u64>());
    let identity = identity(&random);
    let name = format!("{}-status", proxy.name());
    let (mut elector, turn) = Elector::new(
        client.clone(),
        proxy.namespace(),
        name,
        identity.clone(),
        terms,
    );
    let mut own = Own::new(
        client.clone(),
        proxy.namespace(),
        proxy.name(),
        &identity,
        &random,
    );
    let teller = Teller {
        events: Events::new(client.clone(), "tidegate.io/gateway", &identity),
        client,
        seen: seen.clone(),
        in_force: in_force.clone(),
        turn,
        others: own.others(),
        state: State::new(Instant::now()),
    };
    tokio::select! {
        _ = stopped => {}
        () = settle(&seen, in_force) => {}
        () = elector.run() => {}
        () = own.run(&seen) => {}
        () = teller.run() => {}
    }
    tokio::join!(elector.release(), own.remove());
}

/// Nobody else is called so, nor was this before it was started again.
fn identity(random: &str) -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "proxy".to_owned());
    format!("{host}_{random}")
}

async fn client(access: &Access) -> Client {
    let mut pauses = Timing::default().pauses();
    let mut told = None;
    loop {
        let error = match connect(access).await {
            Ok(client) => return client,
            Err(error) => error.to_string(),
        };
        if told.as_ref() != Some(&error) {
            tracing::warn!("no status can be written: {error}");
            told = Some(error);
        }
        let longest = Timing::default().longest_pause;
        tokio::time::sleep(pauses.next().unwrap_or(longest)).await;
    }
}

/// What is judged counts once it is in force.
async fn settle(seen: &Seen, mut in_force: watch::Receiver<Option<Arc<Published>>>) {
    let mut judged = seen.judged();
    loop {
        let number = in_force.borrow_and_update().as_ref().map(|one| one.number);
        judged.mark_unchanged();
        seen.settle(number.unwrap_or_default(), Instant::now());
        tokio::select! {
            _ = judged.changed() => {}
            changed = in_force.changed() => if changed.is_err() {
                std::future::pending::<()>().await;
            },
        }
    }
}
