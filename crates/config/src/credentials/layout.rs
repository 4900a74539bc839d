//! What the parts of a credential are called where they lie together.

/// The names in Secrets and in folders for credential names, in Istio's order.
pub(super) const CREDENTIALS: Layout = Layout {
    pairs: [
        ("cert", "key", None),
        ("tls.crt", "tls.key", Some("tls.ocsp-staple")),
    ],
    authorities: [("cacert", "crl"), ("ca.crt", "ca.crl")],
};

/// The names in the folder of the identity: as Istio's agent writes them, and as Kubernetes' Secrets and
/// cert-manager's volumes have them.
pub(super) const IDENTITY: Layout = Layout {
    pairs: [
        ("cert-chain.pem", "key.pem", None),
        ("tls.crt", "tls.key", None),
    ],
    authorities: [("root-cert.pem", "ca-crl.pem"), ("ca.crt", "ca.crl")],
};

/// Of authorities and of their revocations.
pub(super) type Names = (&'static str, &'static str);

/// What files or entries are called. Of each list the first that is whole counts.
pub(super) struct Layout {
    /// Names of a certificate, its key and an OCSP staple.
    pub(super) pairs: [(&'static str, &'static str, Option<&'static str>); 2],
    /// Names of authorities and of their revocations.
    pub(super) authorities: [Names; 2],
}

impl Layout {
    pub(super) fn names_of_pairs(&self) -> Vec<&'static str> {
        let names = self.pairs.iter();
        let names = names.flat_map(|(chain, key, staple)| [Some(*chain), Some(*key), *staple]);
        names.flatten().collect()
    }

    pub(super) fn names_of_authorities(&self) -> Vec<&'static str> {
        let names = self.authorities.iter();
        names.flat_map(|(all, list)| [*all, *list]).collect()
    }
}
