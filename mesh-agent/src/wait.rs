//! `mesh-agent wait`.

use crate::args::WaitArgs;
use anyhow::{Context, bail};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Bytes of an answer that are looked at: its status line.
const STATUS_LINE: u64 = 256;

/// Asks until the sidecar is ready, or the time is over.
pub(crate) fn run(args: &WaitArgs) -> anyhow::Result<ExitCode> {
    let place = Place::of(&args.url)?;
    let deadline = Instant::now() + args.timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let why = match place.ask(left) {
            Ok(()) => return Ok(ExitCode::SUCCESS),
            Err(why) => why,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(why)
                .with_context(|| format!("{} was not ready within {:?}", args.url, args.timeout));
        }
        std::thread::sleep(args.period.min(left));
    }
}

/// Where to ask.
struct Place {
    authority: String,
    path: String,
}

impl Place {
    fn of(url: &str) -> anyhow::Result<Self> {
        let rest = url
            .strip_prefix("http://")
            .with_context(|| format!("`{url}` does not begin with http://"))?;
        let (host, path) = match rest.split_once('/') {
            Some((host, path)) => (host, format!("/{path}")),
            None => (rest, "/".to_owned()),
        };
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = match has_port {
            true => host.to_owned(),
            false => format!("{host}:80"),
        };
        Ok(Self { authority, path })
    }

    fn ask(&self, left: Duration) -> anyhow::Result<()> {
        let limit = left.max(Duration::from_millis(1));
        let mut addresses = self.authority.to_socket_addrs()?;
        let address = addresses.next().context("the name has no address")?;
        let mut socket = TcpStream::connect_timeout(&address, limit)?;
        socket.set_read_timeout(Some(limit))?;
        socket.set_write_timeout(Some(limit))?;
        write!(
            socket,
            "GET {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.path, self.authority
        )?;
        let mut answer = Vec::new();
        socket.take(STATUS_LINE).read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let line = answer.lines().next().unwrap_or_default();
        match line.split(' ').nth(1) {
            Some("200") => Ok(()),
            _ => bail!("it answers {line:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that answers with these status lines, one after the other.
    fn answering(statuses: &'static [&'static str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for status in statuses {
                let (mut client, _) = listener.accept().unwrap();
                let mut head = [0; 512];
                let _ = client.read(&mut head).unwrap();
                write!(client, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        });
        format!("http://{address}/healthz/ready")
    }

    fn args(url: String, timeout: Duration) -> WaitArgs {
        WaitArgs {
            url,
            timeout,
            period: Duration::from_millis(1),
        }
    }

    /// Promise 21.
    #[test]
    fn it_asks_until_the_sidecar_is_ready() {
        let url = answering(&[
            "503 Service Unavailable",
            "503 Service Unavailable",
            "200 OK",
        ]);
        let code = run(&args(url, Duration::from_secs(60))).unwrap();
        assert_eq!(code, ExitCode::SUCCESS);
    }

    #[test]
    fn its_patience_has_an_end() {
        let url = answering(&["503 Service Unavailable"]);
        let error = run(&args(url, Duration::ZERO)).unwrap_err();
        assert!(error.to_string().contains("was not ready"), "{error}");
    }

    #[test]
    fn only_http_in_clear_is_asked() {
        assert!(run(&args("https://a.test/".into(), Duration::ZERO)).is_err());
    }
}
