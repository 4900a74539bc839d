//! The real pebble, the ACME server that Let's Encrypt tests clients with.

use crate::authority::Authority;
use crate::poll::{PATIENCE, poll_for};
use crate::port::Port;
use crate::tls::TlsClient;
use crate::{Request, put_secret};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// pebble on loopback, with a DNS server to which every name is `127.0.0.1`.
#[derive(Debug)]
pub struct Pebble {
    folder: TempDir,
    authority: Authority,
    acme: Port,
    management: Port,
    dns: Port,
    dns_management: Port,
    running: Option<[Child; 2]>,
}

/// What a pebble is told.
#[derive(Clone, Debug)]
pub struct PebbleOptions {
    /// Where it validates HTTP-01.
    pub http: u16,
    /// Where it validates TLS-ALPN-01.
    pub tls: u16,
    /// How long its certificates are valid.
    pub validity: Duration,
    /// The key it knows a customer by: its name, and its Base64. Absent: everybody is welcome.
    pub external_account: Option<(&'static str, &'static str)>,
}

impl PebbleOptions {
    /// With certificates for 90 days, for everybody.
    pub fn new(http: u16, tls: u16) -> Self {
        Self {
            http,
            tls,
            validity: Duration::from_secs(90 * 24 * 60 * 60),
            external_account: None,
        }
    }

    /// With certificates that are valid this long.
    #[must_use]
    pub fn valid_for(mut self, validity: Duration) -> Self {
        self.validity = validity;
        self
    }
}

impl Pebble {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    ///
    /// When it is not installed (`tests/run` does that) or does not come up.
    #[track_caller]
    pub fn start(options: &PebbleOptions) -> Self {
        let mut pebble = Self::stopped(options);
        pebble.run();
        pebble
    }

    /// One that does not run yet.
    ///
    /// # Panics
    ///
    /// When its folder cannot be written.
    pub fn stopped(options: &PebbleOptions) -> Self {
        let pebble = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            authority: Authority::new("pebble's own"),
            acme: Port::reserve(),
            management: Port::reserve(),
            dns: Port::reserve(),
            dns_management: Port::reserve(),
            running: None,
        };
        pebble.authority.issue(&["localhost"]).put(pebble.path());
        put_secret(&pebble.authority_file(), &pebble.authority.pem());
        put_secret(&pebble.path().join("config.json"), &pebble.config(options));
        pebble
    }

    fn config(&self, options: &PebbleOptions) -> String {
        let keys = options.external_account.iter().copied();
        let config = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.acme.number()),
            "managementListenAddress": format!("127.0.0.1:{}", self.management.number()),
            "certificate": self.path().join("tls.crt"),
            "privateKey": self.path().join("tls.key"),
            "httpPort": options.http,
            "tlsPort": options.tls,
            "ocspResponderURL": "",
            "certificateValidityPeriod": options.validity.as_secs(),
            "externalAccountBindingRequired": options.external_account.is_some(),
            "externalAccountMACKeys": serde_json::Map::from_iter(
                keys.map(|(name, key)| (name.to_owned(), key.into())),
            ),
        }});
        config.to_string()
    }

    /// Starts it, with nothing in its memory of what it did before.
    ///
    /// # Panics
    ///
    /// When it is not installed or does not come up.
    #[track_caller]
    pub fn run(&mut self) {
        let dns = self.spawn("pebble-challtestsrv", |command| {
            command
                .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
                .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
                .arg("-dns01")
                .arg(format!("127.0.0.1:{}", self.dns.number()))
                .arg("-management")
                .arg(format!("127.0.0.1:{}", self.dns_management.number()))
        });
        let acme = self.spawn("pebble", |command| {
            command
                .arg("-config")
                .arg(self.path().join("config.json"))
                .arg("-dnsserver")
                .arg(format!("127.0.0.1:{}", self.dns.number()))
                .env("PEBBLE_VA_NOSLEEP", "1")
                // As it does by itself, only so rarely that no request is refused three times.
                .env("PEBBLE_WFE_NONCEREJECT", "1")
                .env("PEBBLE_AUTHZREUSE", "0")
        });
        self.running = Some([dns, acme]);
        for port in [&self.dns, &self.acme, &self.management] {
            let up = poll_for(PATIENCE, || {
                TcpStream::connect((Ipv4Addr::LOCALHOST, port.number())).ok()
            });
            assert!(up.is_some(), "pebble did not come up\n{}", self.log());
        }
    }

    #[track_caller]
    fn spawn(&self, program: &str, with: impl FnOnce(&mut Command) -> &mut Command) -> Child {
        let log = self.path().join(format!("{program}.log"));
        let log = File::options().create(true).append(true).open(log);
        let log = log.expect("the folder can be written");
        let errors = log.try_clone().expect("another handle");
        let mut command = Command::new(program);
        let command = with(&mut command);
        let command = command.stdin(Stdio::null()).stdout(log).stderr(errors);
        match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("{program}: {error}; `tests/run` installs it"),
        }
    }

    /// Ends it.
    pub fn stop(&mut self) {
        for mut process in self.running.take().into_iter().flatten() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where clients begin.
    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.acme.number())
    }

    /// Whose certificate it shows to clients.
    pub fn authority_file(&self) -> PathBuf {
        self.path().join("authority.pem")
    }

    /// What it says it did.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path().join("pebble.log")).unwrap_or_default()
    }

    /// How many orders it took so far.
    pub fn orders(&self) -> usize {
        self.logged("Added order")
    }

    /// How many accounts it made so far.
    pub fn accounts(&self) -> usize {
        self.logged("accounts in memory")
    }

    /// Not requests: it refuses some at random, which are repeated.
    fn logged(&self, what: &str) -> usize {
        let log = self.log();
        log.lines().filter(|line| line.contains(what)).count()
    }

    /// The authority of the certificates it gives, another one with each start.
    ///
    /// # Panics
    ///
    /// When it does not run.
    #[track_caller]
    pub fn root(&self) -> CertificateDer<'static> {
        let client = TlsClient::new(&self.authority, "localhost");
        let request = Request::get("localhost", "/roots/0").header("Connection", "close");
        let response = client
            .open(self.management.number())
            .and_then(|mut connection| connection.send(&request));
        let response = response.expect("pebble's management answers");
        CertificateDer::from_pem_slice(&response.body).expect("PEM")
    }

    /// A client that trusts the certificates it gives now.
    #[track_caller]
    pub fn client(&self, name: &str) -> TlsClient {
        TlsClient::trusting(self.root(), name)
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("--- pebble's log\n{}", self.log());
        }
    }
}
