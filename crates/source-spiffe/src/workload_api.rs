//! The messages of `SpiffeWorkloadAPI.FetchX509SVID`.
//!
//! Source: SPIFFE Workload API, section 5.1.

use std::collections::BTreeMap;

/// Where they are exchanged.
pub(crate) const FETCH_X509_SVID: &str = "/SpiffeWorkloadAPI/FetchX509SVID";

/// `X509SVIDRequest`, which says nothing.
#[derive(Clone, Copy, Eq, PartialEq, prost::Message)]
pub(crate) struct SvidRequest {}

/// `X509SVIDResponse`. It has no `Debug` of its own for the keys in it.
#[derive(Clone, Eq, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct SvidResponse {
    /// At least one; the first is the default.
    #[prost(message, repeated, tag = "1")]
    pub(crate) svids: Vec<Svid>,
    /// Lists of what was revoked, each DER.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(crate) crl: Vec<Vec<u8>>,
    /// Bundles of other trust domains, DER, by the domains' SPIFFE IDs.
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub(crate) federated_bundles: BTreeMap<String, Vec<u8>>,
}

/// `X509SVID`
#[derive(Clone, Eq, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct Svid {
    #[prost(string, tag = "1")]
    pub(crate) spiffe_id: String,
    /// The certificate, then its intermediates, DER.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) x509_svid: Vec<u8>,
    /// PKCS #8 DER.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) x509_svid_key: Vec<u8>,
    /// The authorities of its trust domain, DER.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) bundle: Vec<u8>,
}

impl std::fmt::Debug for SvidResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids = self.svids.iter().map(|svid| &svid.spiffe_id);
        f.debug_set().entries(ids).finish()
    }
}

impl std::fmt::Debug for Svid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.spiffe_id)
    }
}
