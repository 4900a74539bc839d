//! An origin that is well or not, as a test says.

use crate::origin::{After, Origin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// An origin that answers with its name, and a status that can be changed.
#[derive(Debug)]
pub struct Switch {
    origin: Origin,
    status: Arc<AtomicU16>,
}

impl Switch {
    /// One that answers 200.
    pub fn new(name: &'static str) -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let origin = Origin::serving({
            let status = Arc::clone(&status);
            move |exchange| {
                let status = status.load(Ordering::SeqCst);
                exchange.reply(status, &[], name.as_bytes())?;
                Ok(After::Keep)
            }
        });
        Self { origin, status }
    }

    /// One that answers with this status.
    pub fn answering(name: &'static str, status: u16) -> Self {
        let switch = Self::new(name);
        switch.set(status);
        switch
    }

    /// From now on it answers with this status.
    pub fn set(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.origin.port()
    }

    /// How many requests came in.
    pub fn hits(&self) -> usize {
        self.origin.hits()
    }

    /// Its address, as logs and pages have it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }
}
