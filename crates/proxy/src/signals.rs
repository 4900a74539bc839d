//! What the operating system asks for.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A wish of the operator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wish {
    /// SIGHUP: read everything again, open the log files anew.
    Reload,
    /// SIGTERM or SIGINT: end.
    Stop,
}

/// The signals of this process.
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on signals are wishes, and do not end the process by themselves.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next wish.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
        }
    }

    /// Waits for the wish to end.
    pub async fn stop(&mut self) {
        while self.next().await != Wish::Stop {}
    }
}
