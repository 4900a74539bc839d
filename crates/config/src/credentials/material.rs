//! What was found for a reference, before it is read.

use certificates::{SpiffeId, TrustDomain};
use std::collections::BTreeMap;

/// What was found, not looked into yet.
#[derive(Clone, Copy, Hash)]
pub(super) enum Bytes<'a> {
    Certificate {
        chain: &'a [u8],
        key: &'a [u8],
        staple: Option<&'a [u8]>,
    },
    Authorities {
        authorities: &'a [u8],
        revocations: Option<&'a [u8]>,
    },
    /// Of an identity that was told, DER.
    Svid {
        id: &'a SpiffeId,
        chain: &'a [u8],
        key: &'a [u8],
    },
    /// Whom it trusts, DER.
    Bundles {
        authorities: &'a [u8],
        revocations: Option<&'a [u8]>,
        federated: &'a BTreeMap<TrustDomain, Vec<u8>>,
    },
}

/// What was found, and where.
pub(super) struct Material<'a> {
    pub(super) source: String,
    /// Where the revocations are, if there are any.
    pub(super) list: Option<String>,
    pub(super) bytes: Bytes<'a>,
}

impl Bytes<'_> {
    pub(super) fn has_list(&self) -> bool {
        matches!(
            self,
            Self::Authorities {
                revocations: Some(_),
                ..
            }
        )
    }
}
