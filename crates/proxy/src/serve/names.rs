//! The resolver of names that clients ask for, as the data plane wants it.

use dataplane::{Resolve, Resolving, Unresolved};
use model::Hostname;
use source_dns::{Resolver, Stats};
use telemetry::metrics::NameTotals;

/// Resolves as `[dns]` says.
pub(super) struct Names(pub(super) Resolver);

impl Resolve for Names {
    fn resolve<'a>(&'a self, name: &'a Hostname) -> Resolving<'a> {
        Box::pin(async {
            self.0.resolve(name).await.map_err(|why| Unresolved {
                reason: why.reason(),
                text: why.to_string(),
            })
        })
    }
}

/// What the resolver counted, for the metrics.
pub(super) fn totals(stats: Stats) -> NameTotals {
    NameTotals {
        hits: stats.hits,
        misses: stats.misses,
        stale: stats.stale,
        failures: stats.failures,
        evictions: stats.evictions,
        names: stats.entries,
    }
}
