//! Which of the issued identities the proxy's is.

use crate::workload_api::{Svid, SvidResponse};
use certificates::{InvalidSpiffeId, SpiffeId, TrustDomain};
use config::IssuedIdentity;
use model::SecretBytes;
use std::collections::BTreeMap;

/// More identities are not listed.
const MOST_SHOWN: usize = 5;

/// Why none of the issued identities is the proxy's, as it follows the name of the Workload API.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum NoChoice {
    #[error("sent a message without an identity")]
    Nothing,
    #[error("does not issue {wanted}, but {issued}")]
    Others { wanted: SpiffeId, issued: String },
    #[error("issues an identity whose name {name:?} is no SPIFFE ID: {reason}")]
    Name {
        name: String,
        reason: InvalidSpiffeId,
    },
    #[error("issues {id} without a {lacks}")]
    Lacks { id: SpiffeId, lacks: &'static str },
}

/// The identity that is wanted, or the first one. The message counts as a whole or not at all.
///
/// Source: SPIFFE Workload API, sections 4.5 and 5.3.
pub(crate) fn choose(
    response: SvidResponse,
    wanted: Option<&SpiffeId>,
) -> Result<IssuedIdentity, NoChoice> {
    if response.svids.is_empty() {
        return Err(NoChoice::Nothing);
    }
    let is_wanted = |svid: &Svid| wanted.is_none_or(|wanted| svid.spiffe_id == wanted.as_str());
    let Some(at) = response.svids.iter().position(is_wanted) else {
        return Err(others(&response.svids, wanted));
    };
    let mut svids = response.svids;
    let Svid {
        spiffe_id,
        x509_svid,
        x509_svid_key,
        bundle,
    } = svids.swap_remove(at);
    let id = spiffe_id.parse().map_err(|reason| NoChoice::Name {
        name: spiffe_id.chars().take(128).collect(),
        reason,
    })?;
    let parts = [
        (&x509_svid, "certificate"),
        (&x509_svid_key, "key"),
        (&bundle, "bundle of authorities"),
    ];
    if let Some((_, lacks)) = parts.into_iter().find(|(part, _)| part.is_empty()) {
        return Err(NoChoice::Lacks { id, lacks });
    }
    Ok(IssuedIdentity {
        federated: federated(response.federated_bundles, &id),
        id,
        chain: x509_svid,
        key: SecretBytes::new(x509_svid_key),
        authorities: bundle,
        revocations: response.crl.concat(),
    })
}

fn others(svids: &[Svid], wanted: Option<&SpiffeId>) -> NoChoice {
    let Some(wanted) = wanted.cloned() else {
        return NoChoice::Nothing;
    };
    let names = svids.iter().take(MOST_SHOWN);
    let names: Vec<String> = names.map(|svid| format!("{:?}", svid.spiffe_id)).collect();
    let more = svids.len().saturating_sub(MOST_SHOWN);
    let issued = match more {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    };
    NoChoice::Others { wanted, issued }
}

/// The bundles of domains that have a name. One that is said to be of the own domain would be a second bundle of it.
fn federated(bundles: BTreeMap<String, Vec<u8>>, own: &SpiffeId) -> BTreeMap<TrustDomain, Vec<u8>> {
    let named = bundles.into_iter().filter_map(|(name, bundle)| {
        let domain = name.parse::<TrustDomain>();
        let domain = domain.inspect_err(|error| {
            tracing::warn!(%error, name, "a federated bundle is of no trust domain, and is left out");
        });
        Some((domain.ok()?, bundle))
    });
    named
        .filter(|(domain, _)| domain.as_str() != own.trust_domain())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "spiffe://td.test/ns/a/sa/a";
    const B: &str = "spiffe://td.test/ns/b/sa/b";

    fn svid(id: &str) -> Svid {
        Svid {
            spiffe_id: id.to_owned(),
            x509_svid: format!("chain of {id}").into_bytes(),
            x509_svid_key: format!("key of {id}").into_bytes(),
            bundle: b"bundle".to_vec(),
        }
    }

    fn of(svids: Vec<Svid>) -> SvidResponse {
        SvidResponse {
            svids,
            ..SvidResponse::default()
        }
    }

    #[test]
    fn the_first_identity_is_the_default_and_another_can_be_wanted() {
        let wanted: SpiffeId = B.parse().unwrap();
        for (wanted, want) in [(None, A), (Some(&wanted), B)] {
            let response = of(vec![svid(A), svid(B), svid(B)]);
            let chosen = choose(response, wanted).unwrap();
            assert_eq!(chosen.id.as_str(), want);
            assert_eq!(chosen.chain, format!("chain of {want}").into_bytes());
            let key = format!("key of {want}");
            assert_eq!(chosen.key.as_bytes(), key.as_bytes());
            assert_eq!(chosen.authorities, b"bundle");
        }
    }

    #[test]
    fn what_is_not_whole_is_not_taken_and_says_why() {
        let wanted: SpiffeId = "spiffe://td.test/c".parse().unwrap();
        let many: Vec<Svid> = (0..7).map(|_| svid(A)).collect();
        let without = |change: fn(&mut Svid)| {
            let mut one = svid(A);
            change(&mut one);
            of(vec![one])
        };
        for (response, wanted, words) in [
            (of(vec![]), None, "sent a message without an identity".into()),
            (
                of(vec![svid(A), svid(B)]),
                Some(&wanted),
                format!("does not issue spiffe://td.test/c, but {A:?}, {B:?}"),
            ),
            (
                of(many),
                Some(&wanted),
                format!(
                    "does not issue spiffe://td.test/c, but {} and 2 more",
                    [format!("{A:?}").as_str(); 5].join(", ")
                ),
            ),
            (
                of(vec![svid("spiffe://td.test")]),
                None,
                "issues an identity whose name \"spiffe://td.test\" is no SPIFFE ID: it has no path"
                    .into(),
            ),
            (
                without(|one| one.x509_svid.clear()),
                None,
                format!("issues {A} without a certificate"),
            ),
            (
                without(|one| one.x509_svid_key.clear()),
                None,
                format!("issues {A} without a key"),
            ),
            (
                without(|one| one.bundle.clear()),
                None,
                format!("issues {A} without a bundle of authorities"),
            ),
        ] {
            assert_eq!(choose(response, wanted).unwrap_err().to_string(), words);
        }
    }

    #[test]
    fn lists_are_joined_and_bundles_are_known_by_their_domain() {
        let bundles = [
            ("spiffe://other.test", b"other"),
            ("third.test", b"third"),
            ("spiffe://td.test", b"again"),
            ("no domain", b"wrong"),
        ];
        let response = SvidResponse {
            svids: vec![svid(A)],
            crl: vec![b"0\x01a".to_vec(), b"0\x01b".to_vec()],
            federated_bundles: bundles
                .map(|(name, bundle)| (name.to_owned(), bundle.to_vec()))
                .into(),
        };
        let chosen = choose(response, None).unwrap();
        assert_eq!(chosen.revocations, b"0\x01a0\x01b");
        let federated: Vec<_> = chosen
            .federated
            .iter()
            .map(|(domain, bundle)| (domain.as_str(), &bundle[..]))
            .collect();
        assert_eq!(
            federated,
            [("other.test", &b"other"[..]), ("third.test", b"third")]
        );
    }

    #[test]
    fn nothing_of_a_key_is_shown() {
        let response = of(vec![svid(A)]);
        let shown = format!("{response:?} {:?}", response.svids[0]);
        let key = format!("{:?}", response.svids[0].x509_svid_key);
        assert!(!shown.contains(&key) && !shown.contains("key of"));
        assert!(shown.contains(A));
    }
}
