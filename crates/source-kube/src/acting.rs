//! What one of several replicas does, on a thread of its own, and hands over when it ends.

use crate::connect::connect;
use crate::election::driver::Elector;
use crate::presence::Presence;
use crate::settings::Access;
use crate::timing::Timing;
use kube::Client;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};

/// How long is waited at the end for what is given back.
const ENDING: Duration = Duration::from_secs(3);

/// How long to wait after a bug.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// Something that one of several replicas does goes on until this is dropped or stopped.
#[derive(Debug)]
pub struct Acting {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Acting {
    /// Runs this on a thread of its own. It has to end soon after what it is given does, and is begun anew a minute after
    /// a bug ended it.
    pub(crate) fn start(
        name: &'static str,
        act: impl AsyncFn(&mut oneshot::Receiver<()>) + Send + 'static,
    ) -> io::Result<Self> {
        Self::start_with(name, AFTER_PANIC, act)
    }

    fn start_with(
        name: &'static str,
        after_panic: Duration,
        act: impl AsyncFn(&mut oneshot::Receiver<()>) + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, mut stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let run = move || {
            while !ends_well(&runtime, &act, &mut stopped) {
                tracing::error!(name, "a bug ended what one of several replicas does");
                if is_stopped_in(&runtime, after_panic, &mut stopped) {
                    break;
                }
            }
            // Fails only when nobody waits.
            let _ = end.send(());
        };
        std::thread::Builder::new().name(name.into()).spawn(run)?;
        Ok(Self { stop, ended })
    }

    /// Does nothing more, and lets another replica do it at once. Returns when that is so, or after three seconds.
    pub async fn stop(self) {
        // Fails only when it has ended.
        let _ = self.stop.send(());
        let _ = tokio::time::timeout(ENDING, self.ended).await;
    }
}

/// Whether it came to its end without a panic. What it left half done is looked at by nobody.
fn ends_well(
    runtime: &Runtime,
    act: &impl AsyncFn(&mut oneshot::Receiver<()>),
    stopped: &mut oneshot::Receiver<()>,
) -> bool {
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(act(stopped)))).is_ok()
}

/// Whether it is to end, after a while at most.
fn is_stopped_in(
    runtime: &Runtime,
    longest: Duration,
    stopped: &mut oneshot::Receiver<()>,
) -> bool {
    // It must not be asked again after it told.
    stopped.is_terminated()
        || runtime.block_on(async { tokio::time::timeout(longest, stopped).await.is_ok() })
}

/// Takes part with others until it is stopped, does `work` meanwhile, and gives back at the end what it has.
pub(crate) async fn take_part(
    mut elector: Elector,
    mut own: Presence,
    told: watch::Receiver<String>,
    work: impl Future<Output = ()>,
    stopped: &mut oneshot::Receiver<()>,
) {
    let (end, ending) = watch::channel(false);
    {
        let leases = async { tokio::join!(elector.run(ending.clone()), own.run(told, ending)) };
        let mut leases = pin!(leases);
        tokio::select! {
            _ = stopped => {}
            () = work => {}
            _ = &mut leases => {}
        }
        end.send_replace(true);
        // A request that is given up half-way could still be granted, and nobody would know what is to be given back.
        leases.await;
    }
    tokio::join!(elector.release(), own.remove());
}

/// A name that nobody else has, nor had this before it was started again, and the random part of it.
pub(crate) fn identity() -> (String, String) {
    let random = format!("{:016x}", SmallRng::from_os_rng().random::<u64>());
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "proxy".to_owned());
    (format!("{host}_{random}"), random)
}

/// A client, as soon as it is known how to reach the API server.
pub(crate) async fn client(access: &Access) -> Client {
    let mut pauses = Timing::default().pauses();
    let mut told = None;
    loop {
        let error = match connect(access).await {
            Ok(client) => return client,
            Err(error) => error.to_string(),
        };
        if told.as_ref() != Some(&error) {
            tracing::warn!("the API server cannot be asked: {error}");
            told = Some(error);
        }
        let longest = Timing::default().longest_pause;
        tokio::time::sleep(pauses.next().unwrap_or(longest)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_bug_does_not_end_what_is_done() {
        let (begun, begins) = mpsc::channel();
        let first = std::sync::atomic::AtomicBool::new(true);
        let acting = Acting::start_with("test", Duration::ZERO, async move |stopped| {
            begun.send(()).unwrap();
            if first.swap(false, std::sync::atomic::Ordering::Relaxed) {
                panic!("a bug");
            }
            let _ = stopped.await;
        });
        let acting = acting.unwrap();
        begins.recv().unwrap();
        begins.recv().unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(acting.stop());
        assert!(begins.recv().is_err(), "it has ended");
    }

    /// One that comes while it ends must not keep it.
    #[test]
    fn a_bug_at_the_end_is_the_end() {
        let acting = Acting::start("test", async |stopped| {
            let _ = stopped.await;
            panic!("a bug");
        });
        let Acting { stop, ended } = acting.unwrap();
        stop.send(()).unwrap();
        assert!(ended.blocking_recv().is_ok());
    }
}
