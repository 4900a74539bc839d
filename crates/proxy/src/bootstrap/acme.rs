//! `[acme]`: where certificates are ordered.

use super::{Kubernetes, Proxy};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use source_acme::{
    ChallengeKind, CredentialName, DirectoryUrl, ExternalAccount, Names, Settings, Wanted,
};
use source_kube::{InvalidProxyName, ProxyName, ReplicaSettings};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where certificates are ordered, and which. Having it means agreeing to the server's terms of service.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Acme {
    /// Where the server tells its other URLs.
    directory: DirectoryUrl,
    /// Whose certificate the server has. Absent: one that the system trusts.
    ca_certificate: Option<PathBuf>,
    /// Whom the server may write to: `mailto:ops@example.com`.
    #[serde(default)]
    contact: Vec<String>,
    /// The folder where the account and the certificates are kept.
    pub storage: Option<PathBuf>,
    /// Whether they are kept in Secrets instead, which all replicas have in common: one of them orders, and all answer
    /// challenges.
    #[serde(default)]
    secrets: bool,
    /// How the server is shown that a name leads here, where it leaves a choice. Default `http-01`.
    #[serde(default)]
    challenge: ChallengeKind,
    /// A customer account at the server.
    external_account: Option<ExternalAccount>,
    /// A Gateway's `credentialName` to the names of its certificate.
    #[serde(default)]
    pub credentials: BTreeMap<CredentialName, Names>,
}

/// Why certificates cannot be kept in Secrets.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSecrets {
    /// Nothing says where.
    #[error("Secrets are where the section [kubernetes] says, which is not there")]
    NoKubernetes,
    /// Nothing can be named after the proxy.
    #[error(transparent)]
    Name(#[from] InvalidProxyName),
}

/// One section that says where certificates are kept, and says it once.
pub(super) fn kept_once<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Acme>, D::Error> {
    let acme = Acme::deserialize(from)?;
    match (&acme.storage, acme.secrets) {
        (None, false) => Err(D::Error::custom(
            "missing field `storage`, or `secrets = true`",
        )),
        (Some(_), true) => Err(D::Error::custom("either `storage` or `secrets`, not both")),
        _ => Ok(Some(acme)),
    }
}

impl Acme {
    pub(super) fn relative_to(&mut self, folder: &Path) {
        let external = self.external_account.as_mut();
        let key = external.map(|external| &mut external.hmac_key_file);
        let authorities = self.ca_certificate.as_mut();
        for path in self.storage.iter_mut().chain(authorities).chain(key) {
            *path = folder.join(&*path);
        }
    }

    /// The replicas that order together. Absent: this one has a folder of its own.
    ///
    /// # Errors
    ///
    /// When there is no API server whose Secrets they could share, or nothing can be named after the proxy.
    pub fn replicas(
        &self,
        kubernetes: Option<&Kubernetes>,
        proxy: &Proxy,
    ) -> Result<Option<ReplicaSettings>, InvalidSecrets> {
        if !self.secrets {
            return Ok(None);
        }
        let kubernetes = kubernetes.ok_or(InvalidSecrets::NoKubernetes)?;
        Ok(Some(ReplicaSettings {
            access: kubernetes.access(),
            proxy: ProxyName::new(&proxy.name, &proxy.namespace)?,
        }))
    }

    /// The same for who orders.
    pub fn settings(&self) -> Settings {
        let wanted = self.credentials.iter().map(|(credential, names)| Wanted {
            credential: credential.clone(),
            names: names.clone(),
        });
        Settings {
            directory: self.directory.clone(),
            ca_certificate: self.ca_certificate.clone(),
            contact: self.contact.clone(),
            storage: self.storage.clone().unwrap_or_default(),
            challenge: self.challenge,
            external_account: self.external_account.clone(),
            wanted: wanted.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(text: &str, want: &str) {
        let text = format!("directory = 'https://a.test/'\nstorage = 's'\n{text}");
        let refused = toml::from_str::<Acme>(&text).unwrap_err().to_string();
        assert!(refused.contains(want), "{refused}");
    }

    #[test]
    fn names_that_cannot_be_ordered_are_mistakes() {
        check_refused("credentials = { a = ['*.b.test'] }", "DNS-01");
        check_refused(
            "credentials = { a = ['b.test', '192.0.2.1'] }",
            "is an address",
        );
        check_refused("credentials = { a = [] }", "no name is given");
        check_refused(
            "credentials = { '../a' = ['b.test'] }",
            "cannot be a credential's name",
        );
        check_refused("challenge = 'dns-01'", "unknown variant `dns-01`");
        check_refused("external-account = { key-id = '1' }", "hmac-key-file");
        let refused = toml::from_str::<Acme>("directory = 'http://a.test/'\nstorage = 's'");
        assert!(refused.unwrap_err().to_string().contains("https://"));
    }

    #[test]
    fn certificates_are_kept_in_one_place() {
        use crate::bootstrap::Bootstrap;
        let parse = |text: &str| {
            let text = format!("[acme]\ndirectory = 'https://a.test/'\n{text}");
            toml::from_str::<Bootstrap>(&text)
        };
        for text in ["", "secrets = false", "storage = 's'\nsecrets = true"] {
            assert!(parse(text).is_err(), "{text}");
        }
        let replicas = |text: &str| {
            let bootstrap = parse(text).unwrap();
            let acme = bootstrap.acme.unwrap();
            acme.replicas(bootstrap.kubernetes.as_ref(), &bootstrap.proxy)
        };
        assert_eq!(replicas("storage = 's'\n[kubernetes]").unwrap(), None);
        assert!(replicas("secrets = true").is_err());
        assert!(replicas("secrets = true\n[kubernetes]\n[proxy]\nname = 'A B'").is_err());
        let shared = replicas("secrets = true\n[kubernetes]").unwrap().unwrap();
        assert_eq!(shared.proxy.name(), "istio-ingressgateway");
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let text = "directory = 'https://a.test/dir'\n\
                    ca-certificate = 'ca.pem'\n\
                    storage = '../certs/acme'\n\
                    challenge = 'tls-alpn-01'\n\
                    external-account = { key-id = '1', hmac-key-file = '/etc/hmac' }\n\
                    credentials = { cert = ['B.test', 'a.test'] }";
        let mut acme: Acme = toml::from_str(text).unwrap();
        acme.relative_to(Path::new("c"));
        let settings = acme.settings();
        assert_eq!(settings.ca_certificate, Some("c/ca.pem".into()));
        assert_eq!(settings.storage, Path::new("c/../certs/acme"));
        let external = settings.external_account.unwrap();
        assert_eq!(external.hmac_key_file, Path::new("/etc/hmac"));
        assert_eq!(settings.challenge, ChallengeKind::TlsAlpn01);
        assert_eq!(settings.wanted[0].names.to_string(), "a.test, b.test");
    }
}
