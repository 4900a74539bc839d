//! `openssl s_client`, which can be told to be old, picky or odd.

use crate::programs::finish_with;
use std::process::Command;

/// What came of a handshake, and of the request after it.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// Such as `TLSv1.3`. Absent: there was no handshake.
    pub protocol: Option<String>,
    /// Such as `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// Everything that was printed, the server's answer included.
    pub output: String,
}

/// Runs `openssl s_client` on a port on loopback. It asks for `/` of `host` and waits until the server closes, so
/// that what the server says after the handshake is heard as well.
///
/// # Panics
///
/// When it cannot be started.
#[track_caller]
pub fn s_client(port: u16, host: &str, arguments: &[&str]) -> Handshake {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let mut command = Command::new("timeout");
    command
        .args(["20", "openssl", "s_client", "-ign_eof", "-connect"])
        .arg(format!("127.0.0.1:{port}"))
        .args(arguments);
    let ran = finish_with(&mut command, request.as_bytes());
    Handshake::read(ran.stdout + &ran.stderr)
}

impl Handshake {
    /// Whether the request was answered with 200.
    pub fn is_served(&self) -> bool {
        self.output.contains("HTTP/1.1 200")
    }

    /// The line is `New, TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384`, or has `(NONE)` for both.
    fn read(output: String) -> Self {
        let line = output
            .lines()
            .find(|line| line.contains(", Cipher is "))
            .unwrap_or_default();
        let mut parts = line.split(", ");
        let resumed = parts.next() == Some("Reused");
        let protocol = parts.next().filter(|name| name.starts_with("TLS"));
        let cipher = parts.next().unwrap_or_default();
        let cipher = cipher.trim_start_matches("Cipher is ");
        Self {
            protocol: protocol.map(str::to_owned),
            cipher: cipher.to_owned(),
            resumed,
            output,
        }
    }
}
