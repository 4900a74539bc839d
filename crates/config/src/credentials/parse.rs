//! From what lies somewhere, or was told, to what can be served.

use super::entry::Value;
use super::material::{Bytes, Material};
use super::problem::Problem;
use certificates::{Authorities, Credential, InvalidAuthorities, SpiffeId, TrustDomain};
use rules::CredentialRef;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What can be served.
pub(super) struct Parsed {
    pub(super) value: Value,
    /// What is wrong with it all the same.
    pub(super) blemish: Option<Problem>,
}

impl Parsed {
    pub(super) fn of(reference: &CredentialRef, material: &Material<'_>) -> Result<Self, Problem> {
        match material.bytes {
            Bytes::Certificate { chain, key, staple } => {
                let credential = Credential::from_pem(chain, key);
                let credential = credential.and_then(|credential| match staple {
                    Some(staple) => credential.with_staple(staple),
                    None => Ok(credential),
                });
                let credential = credential.map_err(|error| invalid(material, error))?;
                match reference {
                    CredentialRef::Workload => Self::identity(material, credential),
                    _ => Ok(Self::certificate(credential)),
                }
            }
            Bytes::Svid { id, chain, key } => {
                let credential = Credential::from_der(chain, key);
                let credential = credential.map_err(|error| invalid(material, error))?;
                check_is_of(id, &credential).map_err(|reason| invalid(material, reason))?;
                Self::identity(material, credential)
            }
            Bytes::Authorities {
                authorities,
                revocations,
            } => {
                let authorities = Authorities::from_pem(authorities, revocations);
                let authorities =
                    authorities.map_err(|error| invalid_authorities(material, &error))?;
                Ok(Self::authorities(authorities, None))
            }
            Bytes::Bundles {
                authorities,
                revocations,
                federated,
            } => {
                let authorities = Authorities::from_der(authorities, revocations);
                let mut authorities = authorities.map_err(|error| invalid(material, error))?;
                let blemish = federate(&mut authorities, federated, material);
                Ok(Self::authorities(authorities, blemish))
            }
        }
    }

    fn certificate(credential: Credential) -> Self {
        Self {
            value: Value::Certificate(Arc::new(credential)),
            blemish: None,
        }
    }

    /// The proxy's own. Peers refuse one that is nobody's, so that it must not take the place of one that is good;
    /// one that Istio's rules cannot name they take.
    fn identity(material: &Material<'_>, credential: Credential) -> Result<Self, Problem> {
        let id = credential.identity.as_ref();
        let id = id.map_err(|error| invalid(material, error))?;
        let blemish = id.namespace().is_none().then(|| Problem::OtherForm {
            source: material.source.clone(),
            id: id.clone(),
        });
        Ok(Self {
            blemish,
            ..Self::certificate(credential)
        })
    }

    fn authorities(authorities: Authorities, blemish: Option<Problem>) -> Self {
        Self {
            value: Value::Authorities(Arc::new(authorities)),
            blemish,
        }
    }
}

fn check_is_of(id: &SpiffeId, credential: &Credential) -> Result<(), String> {
    match &credential.identity {
        Ok(own) if own != id => Err(format!(
            "the certificate is {own}'s and was issued for {id}"
        )),
        _ => Ok(()),
    }
}

/// Adds the authorities of other domains. Those that are no good are left out, and the first of them is returned.
fn federate(
    authorities: &mut Authorities,
    federated: &BTreeMap<TrustDomain, Vec<u8>>,
    material: &Material<'_>,
) -> Option<Problem> {
    let mut problem = None;
    for (domain, bundle) in federated {
        match Authorities::from_der(bundle, None) {
            Ok(others) => {
                let federated = &mut authorities.federated;
                federated.insert(domain.clone(), Arc::new(others));
            }
            Err(error) => {
                problem.get_or_insert_with(|| Problem::Federated {
                    domain: domain.clone(),
                    source: material.source.clone(),
                    reason: error.to_string(),
                });
            }
        }
    }
    problem
}

fn invalid(material: &Material<'_>, reason: impl ToString) -> Problem {
    Problem::Invalid {
        source: material.source.clone(),
        reason: reason.to_string(),
    }
}

/// Told of the list where that is what is wrong.
fn invalid_authorities(material: &Material<'_>, error: &InvalidAuthorities) -> Problem {
    let is_of_list = matches!(
        error,
        InvalidAuthorities::Revocations(_) | InvalidAuthorities::ForeignRevocations(_)
    );
    match &material.list {
        Some(list) if is_of_list => Problem::Invalid {
            source: list.clone(),
            reason: error.to_string(),
        }
        .of_revocations(),
        _ => invalid(material, error),
    }
}
