//! When a server suggests to renew a certificate.
//!
//! Source: RFC 9773.

use crate::schedule::Window;
use instant_acme::{Account, CertificateIdentifier, Error};
use rustls_pki_types::{CertificateDer, Der};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

/// What a server says about a certificate.
pub(crate) enum Suggestion {
    /// Renew in this window, and ask again after a while.
    Renew(Window, Duration),
    /// It suggests nothing.
    Nothing,
}

/// Asks the server.
pub(crate) async fn ask(
    account: &Account,
    certificate: &CertificateIdentifier<'_>,
) -> Result<Suggestion, Error> {
    match account.renewal_info(certificate).await {
        Ok((info, ask_again)) => {
            let window = info.suggested_window;
            let window = Window {
                start: time(window.start.unix_timestamp()),
                end: time(window.end.unix_timestamp()),
            };
            Ok(Suggestion::Renew(window, ask_again))
        }
        Err(Error::Unsupported(_)) => Ok(Suggestion::Nothing),
        Err(error) => Err(error),
    }
}

/// How servers call a certificate: by its issuer's key and its number. Absent: it does not say its issuer's.
pub(crate) fn identifier(leaf: &CertificateDer<'_>) -> Option<CertificateIdentifier<'static>> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    let issuer =
        leaf.extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(issuer) => issuer.key_identifier.as_ref(),
                _ => None,
            })?;
    let serial = Der::from_slice(leaf.tbs_certificate.raw_serial());
    Some(CertificateIdentifier::new(Der::from_slice(issuer.0), serial).into_owned())
}

fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use instant_acme::{BodyWrapper, BytesResponse, HttpClient, Key};
    use rcgen::{
        BasicConstraints, CertificateParams, IsCa, Issuer, KeyIdMethod, KeyPair, SerialNumber,
    };
    use std::pin::Pin;

    /// A server with a directory and one answer.
    struct Server {
        directory: &'static str,
        info: &'static str,
    }

    impl HttpClient for Server {
        fn request(
            &self,
            request: Request<BodyWrapper<Bytes>>,
        ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
            let body = match request.uri().path() {
                "/directory" => self.directory,
                "/info/aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE" => self.info,
                other => panic!("{other}"),
            };
            let response = Response::builder().header("retry-after", "21600");
            let response = response.body(Full::new(Bytes::from_static(body.as_bytes())));
            Box::pin(async move { Ok(BytesResponse::from(response.unwrap())) })
        }
    }

    async fn ask_server(directory: &'static str, info: &'static str) -> Result<Suggestion, Error> {
        let (_, key) = Key::generate_pkcs8().unwrap();
        let account = Account::builder_with_http(Box::new(Server { directory, info }))
            .from_parts("1".into(), key, "https://acme.test/directory".into())
            .await
            .unwrap();
        let issuer = hex("69885b6b87464041e1b37b847ba0ae2cde01c8d4");
        let serial = hex("0087654321");
        let identifier = CertificateIdentifier::new(Der::from(issuer), Der::from(serial));
        ask(&account, &identifier).await
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn a_servers_window_is_read_with_when_to_ask_again() {
        let directory = r#"{"newNonce": "", "newAccount": "", "newOrder": "",
            "renewalInfo": "https://acme.test/info"}"#;
        let info = r#"{"suggestedWindow":
            {"start": "2025-01-02T04:00:00Z", "end": "2025-01-03T05:00:00+01:00"}}"#;
        let Suggestion::Renew(window, again) = ask_server(directory, info).await.unwrap() else {
            panic!("a window");
        };
        assert_eq!(window.start, time(1_735_790_400));
        assert_eq!(window.end, time(1_735_876_800));
        assert!(again > Duration::from_secs(21_500), "{again:?}");
        assert!(ask_server(directory, "{}").await.is_err());
    }

    #[tokio::test]
    async fn a_server_without_renewal_information_suggests_nothing() {
        let directory = r#"{"newNonce": "", "newAccount": "", "newOrder": ""}"#;
        let suggestion = ask_server(directory, "").await.unwrap();
        assert!(matches!(suggestion, Suggestion::Nothing));
    }

    #[test]
    fn a_certificate_is_called_by_its_issuers_key_and_its_number() {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_identifier_method =
            KeyIdMethod::PreSpecified(hex("69885b6b87464041e1b37b847ba0ae2cde01c8d4"));
        let authority = Issuer::new(authority, KeyPair::generate().unwrap());
        let mut leaf = CertificateParams::new(["shop.test".to_owned()]).unwrap();
        leaf.serial_number = Some(SerialNumber::from_slice(&hex("87654321")));
        leaf.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let signed = leaf.signed_by(&key, &authority).unwrap();
        let found = identifier(signed.der()).unwrap();
        assert_eq!(found.to_string(), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
        let own = CertificateParams::default().self_signed(&key).unwrap();
        assert!(identifier(own.der()).is_none());
    }
}
