//! All that clusters want in TLS, built once for each difference.

use super::config::{ClientTls, Materials};
use ahash::{HashMap, HashMapExt};
use certificates::Credentials;
use rules::{Table, UpstreamTls};
use std::sync::Arc;

/// What the clusters of a table want in TLS. What did not change is the same as before, with the sessions that it
/// remembers.
#[derive(Debug, Default)]
pub(crate) struct ClientTlsStore {
    known: HashMap<Arc<UpstreamTls>, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    /// Absent: something is not there.
    materials: Option<Materials>,
    tls: Result<Arc<ClientTls>, Arc<str>>,
}

impl ClientTlsStore {
    /// What a table wants, with what is there of certificates and authorities.
    pub(crate) fn next(&self, table: &Table, credentials: &Credentials) -> Self {
        let mut known = HashMap::new();
        for tls in table
            .clusters
            .values()
            .filter_map(|cluster| cluster.tls.as_ref())
        {
            if !known.contains_key(tls) {
                known.insert(tls.clone(), self.known(tls, credentials));
            }
        }
        Self { known }
    }

    /// What stands for `tls`.
    ///
    /// # Errors
    ///
    /// Why nothing does: whatever is sent there fails.
    pub(crate) fn of(&self, tls: &UpstreamTls) -> Result<Arc<ClientTls>, Arc<str>> {
        let known = self.known.get(tls);
        known.map_or_else(
            || Err("TLS was not prepared".into()),
            |known| known.tls.clone(),
        )
    }

    fn known(&self, tls: &UpstreamTls, credentials: &Credentials) -> Known {
        let materials = match Materials::of(tls, credentials) {
            Ok(materials) => materials,
            Err(missing) => {
                return Known {
                    materials: None,
                    tls: Err(missing),
                };
            }
        };
        let is_same = |known: &&Known| {
            known
                .materials
                .as_ref()
                .is_some_and(|one| one.are(&materials))
        };
        if let Some(before) = self.known.get(tls).filter(is_same)
            && before.tls.is_ok()
        {
            return before.clone();
        }
        Known {
            tls: ClientTls::build(tls, &materials).map(Arc::new),
            materials: Some(materials),
        }
    }
}
