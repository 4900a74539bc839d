//! The system's authorities. They are read once a process, so each case has one of its own.

use super::*;
use server::Setup;
use std::process::Command;

/// Set where a case runs by itself: the server's address.
const SERVER: &str = "SYSTEM_ROOTS_SERVER";

fn of_system() -> UpstreamTls {
    UpstreamTls {
        verification: ServerVerification::Verified {
            authorities: None,
            names: ServerNames::Sent,
        },
        ..simple()
    }
}

/// Runs a case of this file in a process whose system has these authorities.
async fn alone(case: &str, server: SocketAddr, roots: &std::path::Path) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = format!("upstream::tls::tests::system::{case}");
    command
        .args(["--exact", &name, "--nocapture"])
        .env(SERVER, server.to_string())
        .env("SSL_CERT_FILE", roots)
        .env_remove("SSL_CERT_DIR");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

fn server_of_parent() -> Option<SocketAddr> {
    std::env::var(SERVER).ok()?.parse().ok()
}

#[tokio::test]
async fn the_system_s_authorities_are_trusted_where_none_are_named() {
    let case = Case::new(of_system(), Credentials::default());
    if let Some(server) = server_of_parent() {
        let mut io = case.connect(server, Some("a.test")).await.unwrap();
        greeted(&mut io).await.unwrap();
        return;
    }
    let authority = Authority::new();
    let shown = authority.server(&["a.test"]);
    let server = Setup::of(&shown).start().await;
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, authority.pem()).unwrap();
    let name = "the_system_s_authorities_are_trusted_where_none_are_named";
    alone(name, server.address, &roots).await;
}

#[tokio::test]
async fn a_system_without_authorities_trusts_nobody_and_says_so() {
    if let Some(server) = server_of_parent() {
        let case = Case::new(of_system(), Credentials::default());
        let refused = case.connect(server, Some("a.test")).await.unwrap_err();
        assert_eq!(refused.reason(), "tls_not_ready");
        assert!(
            refused.to_string().contains("has no authorities"),
            "{refused}"
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, "").unwrap();
    let name = "a_system_without_authorities_trusts_nobody_and_says_so";
    alone(name, ([127, 0, 0, 1], 1).into(), &roots).await;
}
