//! `mesh-agent wait`.

use crate::args::WaitArgs;
use crate::client::Page;
use anyhow::{Context, bail};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Asks until the sidecar is ready, or the time is over.
pub(crate) fn run(args: &WaitArgs) -> anyhow::Result<ExitCode> {
    let page = Page::of(&args.url)?;
    let deadline = Instant::now() + args.timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let why = match ask(&page, left) {
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

fn ask(page: &Page, left: Duration) -> anyhow::Result<()> {
    let answer = page.ask("GET", left)?;
    if answer.status == 200 {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&answer.body);
    bail!("it answers {:?}: {}", answer.line, why.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
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
