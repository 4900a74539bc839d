//! What one of several replicas does, on a thread of its own, and hands over when it ends.

use crate::connect::connect;
use crate::settings::Access;
use crate::timing::Timing;
use kube::Client;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::io;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// How long is waited at the end for what is given back.
const ENDING: Duration = Duration::from_secs(3);

/// Something that one of several replicas does goes on until this is dropped or stopped.
#[derive(Debug)]
pub struct Acting {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Acting {
    /// Runs this on a thread of its own. It has to end soon after what it is given does.
    pub(crate) fn start<F: Future<Output = ()>>(
        name: &str,
        act: impl FnOnce(oneshot::Receiver<()>) -> F + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let run = move || {
            runtime.block_on(act(stopped));
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
