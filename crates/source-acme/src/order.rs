//! One order, from the names to the certificate.

use crate::authorization::{answer, rejected};
use crate::failure::{Failure, request_error};
use crate::{ChallengeKind, Names, Publish};
use certificates::{Credential, InvalidCredential};
use instant_acme::{
    Account, CertificateIdentifier, Error, Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CertificateSigningRequest, DistinguishedName, KeyPair};
use std::time::{Duration, SystemTime};

/// How long an order may take as a whole.
const LIMIT: Duration = Duration::from_secs(5 * 60);

/// How the server is asked whether it has validated or signed.
const POLLING: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(90));

/// What an order came to, checked.
pub(crate) struct Issued {
    /// The certificate and its intermediates, PEM.
    pub(crate) chain: String,
    /// PEM.
    pub(crate) key: String,
    pub(crate) credential: Credential,
}

/// Orders one certificate for all names, with a fresh key.
///
/// `replaces` is the certificate that it takes the place of, for a server that wants to know.
pub(crate) async fn order<P: Publish>(
    account: &Account,
    names: &Names,
    replaces: Option<CertificateIdentifier<'static>>,
    preferred: ChallengeKind,
    publish: &P,
) -> Result<Issued, Failure> {
    tokio::time::timeout(LIMIT, async {
        let mut order = begin(account, names, replaces).await?;
        // Until the end: a server may look more than once.
        let _answers = answer(&mut order, preferred, publish).await?;
        until_ready(&mut order).await?;
        finish(&mut order, names).await
    })
    .await
    .map_err(|_| Failure::TimedOut(LIMIT.as_secs()))
    .flatten()
}

async fn begin(
    account: &Account,
    names: &Names,
    replaces: Option<CertificateIdentifier<'static>>,
) -> Result<Order, Failure> {
    let identifiers: Vec<Identifier> = names
        .iter()
        .map(|name| Identifier::Dns(name.as_str().to_owned()))
        .collect();
    let new = NewOrder::new(&identifiers);
    let Some(replaces) = replaces else {
        return Ok(account.new_order(&new).await?);
    };
    match account.new_order(&new.replaces(replaces)).await {
        Err(error) if is_about_replacing(&error) => {
            Ok(account.new_order(&NewOrder::new(&identifiers)).await?)
        }
        order => Ok(order?),
    }
}

/// Whether an order could succeed that names no certificate it replaces.
fn is_about_replacing(error: &Error) -> bool {
    match error {
        Error::Api(problem) => {
            let kind = problem.r#type.as_deref().unwrap_or_default();
            kind.ends_with(":alreadyReplaced") || kind.ends_with(":malformed")
        }
        Error::Unsupported(_) => true,
        // It took the order and did not repeat what it replaces.
        Error::Other(_) => request_error(error).is_none(),
        _ => false,
    }
}

async fn until_ready(order: &mut Order) -> Result<(), Failure> {
    if order.state().status == OrderStatus::Ready {
        return Ok(());
    }
    match order.poll_ready(&POLLING).await {
        Ok(OrderStatus::Ready) => Ok(()),
        Ok(_) => Err(rejected(order).await.unwrap_or(Failure::Abandoned)),
        Err(error @ Error::Api(_)) => Err(rejected(order).await.unwrap_or(Failure::Server(error))),
        Err(error) => Err(error.into()),
    }
}

async fn finish(order: &mut Order, names: &Names) -> Result<Issued, Failure> {
    let key = KeyPair::generate()?;
    order
        .finalize_csr(signing_request(names, &key)?.der())
        .await?;
    let chain = order.poll_certificate(&POLLING).await?;
    check(chain, key.serialize_pem(), names, SystemTime::now())
}

fn signing_request(
    names: &Names,
    key: &KeyPair,
) -> Result<CertificateSigningRequest, rcgen::Error> {
    let names: Vec<String> = names.iter().map(|name| name.as_str().to_owned()).collect();
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.serialize_request(key)
}

/// What came must be usable before it takes the place of what is there. One that is not valid yet is stored all the
/// same: the server's clock may be ahead.
fn check(chain: String, key: String, names: &Names, now: SystemTime) -> Result<Issued, Failure> {
    let credential = Credential::from_pem(chain.as_bytes(), key.as_bytes())?;
    if let Err(error @ InvalidCredential::Expired) = credential.check_time(now) {
        return Err(error.into());
    }
    if !names.are_those_of(&credential.names) {
        return Err(Failure::OtherNames(credential.names.join(", ")));
    }
    Ok(Issued {
        chain,
        key,
        credential,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostName;

    fn names(text: &str) -> Names {
        let hosts = text
            .split(' ')
            .map(|name| HostName::try_from(name.to_owned()).unwrap());
        Names::try_from(hosts.collect::<Vec<_>>()).unwrap()
    }

    fn pair(hosts: &str) -> (String, String) {
        let hosts: Vec<String> = hosts.split(' ').map(str::to_owned).collect();
        let made = rcgen::generate_simple_self_signed(hosts).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn what_comes_must_be_for_the_names_that_were_ordered() {
        let now = SystemTime::now();
        let (chain, key) = pair("b.test a.test");
        assert!(check(chain.clone(), key.clone(), &names("a.test b.test"), now).is_ok());
        let other = check(chain, key, &names("a.test"), now);
        assert!(matches!(other, Err(Failure::OtherNames(_))));
    }

    #[test]
    fn what_comes_must_belong_to_the_key_and_not_be_over() {
        let ((chain, key), (_, other_key)) = (pair("a.test"), pair("a.test"));
        let in_3000_years = SystemTime::now() + Duration::from_secs(3000 * 366 * 24 * 60 * 60);
        let expired = check(chain.clone(), key, &names("a.test"), in_3000_years);
        assert!(matches!(
            expired,
            Err(Failure::Unusable(InvalidCredential::Expired))
        ));
        let mismatch = check(chain, other_key, &names("a.test"), SystemTime::now());
        assert!(matches!(
            mismatch,
            Err(Failure::Unusable(InvalidCredential::Mismatch))
        ));
    }
}
