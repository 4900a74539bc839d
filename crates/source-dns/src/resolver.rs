//! Names that requests ask for.

use crate::Settings;
use crate::demand::Demand;
use crate::stats::Stats;
use crate::system::System;
use crate::unresolved::Unresolved;
use model::Hostname;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Resolves names when requests ask for them, and remembers the answers. Its clones are the same one.
#[derive(Clone)]
pub struct Resolver(Arc<Demand<System>>);

impl Resolver {
    /// One that knows nothing yet. Starts nothing.
    pub fn new(settings: Settings) -> Self {
        let lookup = System::new(&settings);
        Self(Arc::new(Demand::new(lookup, settings)))
    }

    /// What a name stands for: at least one address, in an order that stays.
    ///
    /// Waits [`Settings::timeout`] at most, and only a moment when something is known that its time is over. As long
    /// as the addresses stay the same, and are not forgotten for other names, the answer is the same `Arc`. To be
    /// called in a tokio runtime; it may be dropped at any time.
    ///
    /// # Errors
    ///
    /// When there are no addresses, or nobody says which.
    pub async fn resolve(&self, name: &Hostname) -> Result<Arc<[IpAddr]>, Unresolved> {
        self.0.resolve(name).await
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        formatter.debug_tuple("Resolver").field(&stats).finish()
    }
}
