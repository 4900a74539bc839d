//! Showing a server that the names of an order lead here.

use crate::failure::Failure;
use crate::{ChallengeKind, Publish};
use instant_acme::{
    AuthorizationHandle, AuthorizationStatus, Challenge, ChallengeHandle, ChallengeType, Order,
    Problem,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Publishes an answer for every name that the server has not seen yet, and tells it to look. The answers stand until
/// the guards are dropped.
pub(crate) async fn answer<P: Publish>(
    order: &mut Order,
    preferred: ChallengeKind,
    publish: &P,
) -> Result<Vec<P::Guard>, Failure> {
    let mut guards = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Valid => {}
            AuthorizationStatus::Pending => {
                let (name, kind, challenge) = choice(&mut authorization, preferred)?;
                guards.push(answer_one(name, kind, &challenge, publish)?);
            }
            _ => return Err(Failure::Abandoned),
        }
    }
    if publish.until_answered().await.is_none() {
        return Err(Failure::NotShared);
    }
    // They are remembered, and not asked for again.
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Pending {
            let (_, _, mut challenge) = choice(&mut authorization, preferred)?;
            challenge.set_ready().await?;
        }
    }
    Ok(guards)
}

/// The name, and the challenge that is answered.
fn choice<'a>(
    authorization: &'a mut AuthorizationHandle<'a>,
    preferred: ChallengeKind,
) -> Result<(String, ChallengeKind, ChallengeHandle<'a>), Failure> {
    let name = authorization.identifier().to_string();
    let kind = choose(preferred, &authorization.challenges);
    let challenge = kind.and_then(|kind| {
        let challenge = authorization.challenge(challenge_type(kind))?;
        Some((kind, challenge))
    });
    match challenge {
        Some((kind, challenge)) => Ok((name, kind, challenge)),
        None => Err(Failure::NoChallenge(name)),
    }
}

fn answer_one<P: Publish>(
    name: String,
    kind: ChallengeKind,
    challenge: &ChallengeHandle<'_>,
    publish: &P,
) -> Result<P::Guard, Failure> {
    let answer = challenge.key_authorization();
    let guard = match kind {
        ChallengeKind::Http01 => publish.http01(&name, &challenge.token, answer.as_str()),
        ChallengeKind::TlsAlpn01 => publish.tls_alpn01(&name, answer.digest().as_ref()),
    };
    guard.ok_or(Failure::NotPublished {
        name,
        challenge: kind,
    })
}

/// What is preferred, else the other, as far as it is offered.
fn choose(preferred: ChallengeKind, offered: &[Challenge]) -> Option<ChallengeKind> {
    let other = match preferred {
        ChallengeKind::Http01 => ChallengeKind::TlsAlpn01,
        ChallengeKind::TlsAlpn01 => ChallengeKind::Http01,
    };
    let is_offered = |kind: &ChallengeKind| {
        let wanted = challenge_type(*kind);
        offered.iter().any(|challenge| challenge.r#type == wanted)
    };
    [preferred, other].into_iter().find(is_offered)
}

fn challenge_type(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

/// A challenge that no certificate can be made for.
#[derive(Debug, thiserror::Error)]
pub enum InvalidChallenge {
    /// It cannot be put into bytes.
    #[error("the challenge certificate cannot be made")]
    Made(#[from] rcgen::Error),
    /// It cannot be signed with.
    #[error("the challenge certificate cannot be used")]
    Used(#[from] rustls::Error),
}

/// A certificate that proves nothing but the knowledge of the digest.
///
/// # Errors
///
/// When `name` is none of DNS.
///
/// Source: RFC 8737, section 3.
pub fn challenge_certificate(name: &str, sha256: &[u8]) -> Result<CertifiedKey, InvalidChallenge> {
    let mut parameters = CertificateParams::new([name.to_owned()])?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(sha256)];
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let chain = vec![certificate.der().clone()];
    Ok(CertifiedKey::new(chain, any_supported_type(&key)?))
}

/// The name that the server could not validate, and why.
pub(crate) async fn rejected(order: &mut Order) -> Option<Failure> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let name = authorization.identifier().to_string();
        let state = authorization.refresh().await.ok()?;
        if let Some((challenge, problem)) = state.challenges.iter().find_map(problem_of) {
            return Some(Failure::NotAuthorized {
                name,
                challenge,
                problem,
            });
        }
    }
    None
}

fn problem_of(challenge: &Challenge) -> Option<(ChallengeKind, Problem)> {
    let kind = match challenge.r#type {
        ChallengeType::TlsAlpn01 => ChallengeKind::TlsAlpn01,
        _ => ChallengeKind::Http01,
    };
    Some((kind, challenge.error.clone()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ChallengeKind::{Http01, TlsAlpn01};
    use x509_parser::prelude::{FromDer, X509Certificate};

    fn offered(kinds: &[&str]) -> Vec<Challenge> {
        let challenge = |kind: &&str| {
            let json = format!(
                r#"{{"type": "{kind}", "url": "https://a.test/1", "token": "t", "status": "pending"}}"#
            );
            serde_json::from_str(&json).unwrap()
        };
        kinds.iter().map(challenge).collect()
    }

    #[test]
    fn the_other_kind_is_used_where_the_preferred_one_is_not_offered() {
        let cases: [(ChallengeKind, &[&str], Option<ChallengeKind>); 6] = [
            (Http01, &["dns-01", "tls-alpn-01", "http-01"], Some(Http01)),
            (TlsAlpn01, &["http-01", "tls-alpn-01"], Some(TlsAlpn01)),
            (Http01, &["tls-alpn-01"], Some(TlsAlpn01)),
            (TlsAlpn01, &["http-01", "new-99"], Some(Http01)),
            (Http01, &["dns-01"], None),
            (Http01, &[], None),
        ];
        for (preferred, kinds, want) in cases {
            assert_eq!(
                choose(preferred, &offered(kinds)),
                want,
                "{preferred} {kinds:?}"
            );
        }
    }

    #[test]
    fn a_challenge_certificate_carries_the_digest_in_a_critical_extension() {
        let made = challenge_certificate("shop.test", &[7; 32]).unwrap();
        let (_, leaf) = X509Certificate::from_der(&made.cert[0]).unwrap();
        let oid = "1.3.6.1.5.5.7.1.31";
        let found = leaf
            .extensions()
            .iter()
            .find(|one| one.oid.to_id_string() == oid);
        let found = found.unwrap();
        assert!(found.critical);
        assert_eq!(found.value, [&[0x04, 0x20], &[7; 32][..]].concat());
    }
}
