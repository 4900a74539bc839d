mod clusters;
mod identity;
mod keeping;
mod places;
mod revocations;

use super::*;
use crate::{Change, Configuration, Content, Followers, Message, Published, Settings, start};
use certificates::{Credential, SpiffeId};
use model::{Defaults, Diagnostic, SecretBytes, Severity};
use rcgen::{CertificateParams, KeyPair, SanType, date_time_ymd};
use rules::{CompileOptions, CredentialRef, Proxy, SidecarOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

const OWNERS_ALONE: u32 = 0o100_600;
const ANYBODYS: u32 = 0o100_644;

/// Within the time of [`pair`]s.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

fn later(seconds: u64) -> SystemTime {
    now() + Duration::from_secs(seconds)
}

/// A certificate and its key.
#[derive(Clone)]
struct Pair {
    certificate: String,
    key: String,
}

/// Names may be those of hosts or SPIFFE IDs.
fn pair_valid(name: &str, from: i32, until: i32) -> Pair {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![match name.starts_with("spiffe:") {
        true => SanType::URI(name.try_into().unwrap()),
        false => SanType::DnsName(name.try_into().unwrap()),
    }];
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    Pair {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

/// Valid from 2025 to 2030.
fn pair(name: &str) -> Pair {
    pair_valid(name, 2025, 2030)
}

fn file(path: &str, text: &str, mode: u32) -> CertificateFile {
    CertificateFile {
        path: path.into(),
        content: FileContent::Bytes {
            bytes: SecretBytes::new(text.as_bytes().to_vec()),
            mode,
        },
    }
}

fn absent(path: &str) -> CertificateFile {
    CertificateFile {
        path: path.into(),
        content: FileContent::Absent,
    }
}

/// `tls.crt` and `tls.key` of a folder.
fn in_folder(folder: &str, pair: &Pair) -> Vec<CertificateFile> {
    vec![
        file(&format!("{folder}/tls.crt"), &pair.certificate, ANYBODYS),
        file(&format!("{folder}/tls.key"), &pair.key, OWNERS_ALONE),
    ]
}

fn server(port: u16, tls: &str) -> String {
    format!(
        "  - port: {{number: {port}, name: s{port}, protocol: HTTPS}}\n    hosts: ['*']\n    tls: {{{tls}}}\n"
    )
}

fn gateway(servers: &[String]) -> Change {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge}}\nspec:\n  servers:\n{}",
        servers.concat()
    );
    change("gateway.yaml", &text)
}

fn secret(name: &str, entries: &[(&str, &str)]) -> Change {
    let mut text = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: istio-system}}\nstringData:\n"
    );
    for (entry, value) in entries {
        let value = value.replace('\n', "\n    ");
        text += &format!("  {entry}: |\n    {}\n", value.trim_end());
    }
    change(&format!("{name}.yaml"), &text)
}

fn change(file: &str, text: &str) -> Change {
    Change {
        file: file.into(),
        content: Content::Text(text.into()),
    }
}

fn credential_settings() -> CredentialSettings {
    CredentialSettings {
        certificates: Some("certs".into()),
        ordered: Some(OrderedCredentials {
            storage: "acme".into(),
            names: BTreeSet::from(["ordered".to_owned()]),
        }),
        identity: Some(IdentitySource::Folder("identity".into())),
        relative_to: "conf".into(),
        allow_readable_keys: false,
    }
}

fn configuration(credentials: CredentialSettings) -> Configuration {
    configuration_of(credentials, None)
}

/// Of a sidecar, if there is one.
fn configuration_of(
    credentials: CredentialSettings,
    sidecar: Option<SidecarOptions>,
) -> Configuration {
    let proxy = Proxy {
        namespace: "istio-system".into(),
        ..Proxy::default()
    };
    Configuration::new(Settings {
        defaults: Defaults::default(),
        compile: CompileOptions {
            proxy,
            sidecar,
            ..CompileOptions::default()
        },
        last_good: None,
        credentials,
    })
}

/// A configuration, and the disk that its source reads.
struct Watched {
    configuration: Configuration,
    disk: BTreeMap<PathBuf, CertificateFile>,
}

impl Watched {
    fn new(servers: &[String], files: Vec<CertificateFile>) -> (Self, Published) {
        Self::with(credential_settings(), servers, files)
    }

    fn with(
        credentials: CredentialSettings,
        servers: &[String],
        files: Vec<CertificateFile>,
    ) -> (Self, Published) {
        let mut watched = Self {
            configuration: configuration(credentials),
            disk: BTreeMap::new(),
        };
        watched.configuration.apply(vec![gateway(servers)]);
        watched.configuration.prepare(now());
        let published = watched.write(files, now()).unwrap();
        (watched, published)
    }

    /// Puts files on the disk; the source tells of all that are wanted.
    fn write(&mut self, files: Vec<CertificateFile>, now: SystemTime) -> Option<Published> {
        for file in files {
            self.disk.insert(file.path.clone(), file);
        }
        let wanted = self.configuration.wanted_files().iter();
        let told = wanted.map(|path| {
            let there = self.disk.get(path).cloned();
            there.unwrap_or_else(|| absent(&path.to_string_lossy()))
        });
        let told = told.collect();
        self.configuration.apply_files(told);
        self.configuration.compile(now)
    }

    fn apply(&mut self, changes: Vec<Change>, now: SystemTime) -> Option<Published> {
        self.configuration.apply(changes);
        self.configuration.compile(now)
    }
}

fn named(name: &str) -> CredentialRef {
    CredentialRef::Named(name.into())
}

fn credential(published: &Published, reference: &CredentialRef) -> Option<Arc<Credential>> {
    published.credentials.certificates.get(reference).cloned()
}

/// The first name of what is served.
fn served(published: &Published, name: &str) -> Option<String> {
    Some(credential(published, &named(name))?.names[0].clone())
}

/// Who the proxy is.
fn identity(published: &Published) -> Option<&str> {
    published.credentials.identity().map(SpiffeId::as_str)
}

fn told(published: &Published) -> Vec<(&'static str, Severity)> {
    let all = published.diagnostics.iter();
    all.map(|one| (one.code, one.severity)).collect()
}

#[track_caller]
fn only(published: &Published) -> &Diagnostic {
    match &*published.diagnostics {
        [one] => one,
        other => panic!("{other:#?}"),
    }
}

fn changes(published: &Published) -> Vec<String> {
    let changes = published.receipt.changes.iter();
    changes.map(ToString::to_string).collect()
}

fn simple(name: &str) -> String {
    format!("mode: SIMPLE, credentialName: {name}")
}

/// Identities as Istio's are.
const OWN: &str = "spiffe://mesh.test/ns/istio-system/sa/edge";
const OTHER: &str = "spiffe://mesh.test/ns/istio-system/sa/other";

const MUTUAL: &str = "mode: MUTUAL, credentialName: web";
