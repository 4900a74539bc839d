//! Sources that run on threads of their own.

use std::future::Future;
use std::io;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// A source runs until this is dropped.
#[derive(Debug)]
pub struct Running {
    _stop: oneshot::Sender<()>,
}

impl Running {
    /// Runs a source on a thread of this name, with a runtime of its own, which ends with it.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start<F: Future<Output = ()>>(
        name: &str,
        source: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = source() => {}
                    _ = stopped => {}
                }
            });
        };
        std::thread::Builder::new().name(name.into()).spawn(run)?;
        Ok(Self { _stop: stop })
    }
}
