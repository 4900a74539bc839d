//! All ways in which the clusters of a table begin TLS: built when published, found when dialled.

use super::ClientTlsSet;
use super::system;
use super::verifier::{Revocations, Trust, revocations};
use crate::tls::federated::Federated;
use ahash::{HashMap, HashMapExt};
use certificates::{Authorities, Credential, Credentials};
use rules::{CredentialRef, ServerVerification, Table, UpstreamSecurity, UpstreamTls};
use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// How TLS is begun, by what the rules say about it.
#[derive(Debug, Default)]
pub(crate) struct ClientTlsStore(HashMap<ButForName, Built>);

/// How TLS is begun with the endpoints of a cluster, or why it cannot be: `credential "x" is not there, or not valid`.
pub(crate) type ReadyTls = Result<Arc<ClientTlsSet>, Arc<str>>;

/// What the rules say but for the name that is sent: of a mesh, where every cluster has a name, this is the same for
/// nearly all.
#[derive(Clone, Debug)]
struct ButForName(Arc<UpstreamTls>);

impl ButForName {
    fn parts(&self) -> (&Option<CredentialRef>, &ServerVerification, bool) {
        let UpstreamTls {
            certificate,
            verification,
            sni: _,
            mesh,
        } = &*self.0;
        (certificate, verification, *mesh)
    }
}

impl PartialEq for ButForName {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for ButForName {}

impl Hash for ButForName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

#[derive(Clone, Debug)]
struct Built {
    /// Absent: some of them are missing.
    materials: Option<Materials>,
    ready: ReadyTls,
}

/// What the references of a cluster stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Materials {
    /// Absent: nothing is shown.
    pub(super) certificate: Option<Arc<Credential>>,
    /// Absent: the system's, or nothing is verified.
    pub(super) authorities: Option<Arc<Authorities>>,
}

/// Lists may be long, and many clusters have the same.
type Lists = HashMap<*const Authorities, Revocations>;

impl ClientTlsStore {
    /// What there is after this. Where neither the rules nor the materials are others it stays as it is, with its
    /// sessions.
    pub(crate) fn next(&self, table: &Table, credentials: &Credentials) -> Self {
        let mut next = HashMap::new();
        let mut lists = Lists::new();
        let clusters = table.clusters.values();
        for tls in clusters.filter_map(|cluster| cluster.tls.settings()) {
            let key = ButForName(tls.clone());
            if let Entry::Vacant(place) = next.entry(key) {
                let one = self.one(place.key(), credentials, &mut lists);
                place.insert(one);
            }
        }
        Self(next)
    }

    /// Whether TLS is begun by both in the same ways.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let same = |(key, built): (&ButForName, &Built)| {
            let other = other.0.get(key).map(|other| &other.ready);
            match (&built.ready, other) {
                (Ok(one), Some(Ok(other))) => Arc::ptr_eq(one, other),
                (Err(one), Some(Err(other))) => one == other,
                _ => false,
            }
        };
        self.0.len() == other.0.len() && self.0.iter().all(same)
    }

    /// How TLS is begun with those of a cluster's endpoints that it is begun with. `None`: with none of them.
    pub(crate) fn of(&self, security: &UpstreamSecurity) -> Option<ReadyTls> {
        let tls = security.settings()?;
        Some(match self.0.get(&ButForName(tls.clone())) {
            Some(built) => built.ready.clone(),
            None => Err("it was not published".into()),
        })
    }

    fn one(&self, key: &ButForName, credentials: &Credentials, lists: &mut Lists) -> Built {
        let tls = &*key.0;
        let materials = match Materials::of(tls, credentials) {
            Ok(materials) => materials,
            Err(why) => {
                return Built {
                    materials: None,
                    ready: Err(why.into()),
                };
            }
        };
        if let Some(before) = self.0.get(key)
            && before.is_of(&materials)
        {
            return before.clone();
        }
        let ready = ready(tls, &materials, lists).map(Arc::new);
        Built {
            materials: Some(materials),
            ready: ready.map_err(Into::into),
        }
    }
}

impl Built {
    /// What failed is tried again: the system's authorities may be there now.
    fn is_of(&self, materials: &Materials) -> bool {
        let same = |own: &Materials| own.are(materials);
        self.ready.is_ok() && self.materials.as_ref().is_some_and(same)
    }
}

impl Materials {
    fn of(tls: &UpstreamTls, credentials: &Credentials) -> Result<Self, String> {
        let certificate = tls.certificate.as_ref();
        let authorities = authorities(tls);
        Ok(Self {
            certificate: certificate
                .map(|name| there(name, credentials.certificates.get(name)))
                .transpose()?,
            authorities: authorities
                .map(|name| there(name, credentials.authorities.get(name)))
                .transpose()?,
        })
    }

    /// Whether these are the very same. Authorities are, too, that were read anew and say the same.
    fn are(&self, other: &Self) -> bool {
        let certificate = match (&self.certificate, &other.certificate) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        certificate && self.authorities == other.authorities
    }
}

fn there<T>(name: &CredentialRef, found: Option<&Arc<T>>) -> Result<Arc<T>, String> {
    found
        .cloned()
        .ok_or_else(|| format!("{name} is not there, or not valid"))
}

fn authorities(tls: &UpstreamTls) -> Option<&CredentialRef> {
    match &tls.verification {
        ServerVerification::Verified { authorities, .. } => authorities.as_ref(),
        ServerVerification::Nothing => None,
    }
}

fn ready(
    tls: &UpstreamTls,
    materials: &Materials,
    lists: &mut Lists,
) -> Result<ClientTlsSet, String> {
    let trust = match (&tls.verification, &materials.authorities) {
        (ServerVerification::Nothing, _) => None,
        (_, Some(authorities)) => Some(trust(authorities, lists)?),
        (_, None) => Some(Trust {
            roots: system::roots()?,
            revocations: Arc::from([]),
            federated: Federated::default(),
        }),
    };
    ClientTlsSet::new(tls, materials, trust).map_err(|error| error.to_string())
}

fn trust(authorities: &Arc<Authorities>, lists: &mut Lists) -> Result<Trust, String> {
    let key = Arc::as_ptr(authorities);
    let revocations = match lists.get(&key) {
        Some(known) => known.clone(),
        None => revocations(authorities).map_err(|error| error.to_string())?,
    };
    lists.insert(key, revocations.clone());
    Ok(Trust {
        roots: authorities.roots.clone(),
        revocations,
        federated: authorities.federated.clone().into_iter().collect(),
    })
}
