//! A client that never comes twice: `handshakes PORT SECONDS` opens a new TLS connection for each request, with a
//! full handshake, and prints percentiles of the latency from the connection to the whole answer in milliseconds.
//!
//! It looks at no certificate, so that the core it has is enough for the fastest server.

mod latencies;

use e2e::{Request, TlsClient};
use std::process::exit;
use std::thread;
use std::time::{Duration, Instant};

/// Clients at a time.
const CLIENTS: usize = 64;

fn main() {
    let arguments: Vec<u16> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let [port, seconds] = arguments[..] else {
        eprintln!("usage: handshakes PORT SECONDS");
        exit(2);
    };
    let end = Instant::now() + Duration::from_secs(seconds.into());
    let client = TlsClient::trusting_anybody("bench.example.com");
    let workers = (0..CLIENTS).map(|_| {
        let client = client.clone();
        thread::spawn(move || drive(&client, port, end))
    });
    let workers: Vec<_> = workers.collect();
    let latencies = workers
        .into_iter()
        .flat_map(|worker| worker.join().unwrap_or_else(|_| exit(1)));
    latencies::print(latencies.collect());
}

/// One client's visits. A wrong answer ends the process.
fn drive(client: &TlsClient, port: u16, end: Instant) -> Vec<Duration> {
    let request = Request::get("bench.example.com", "/api/item")
        .header("x-tenant", "gold")
        .header("Connection", "close");
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        let answer = client
            .open(port)
            .and_then(|mut connection| connection.send(&request));
        match answer {
            Ok(response) if response.status == 200 && response.body.len() == 1024 => {
                latencies.push(begun.elapsed());
            }
            other => {
                eprintln!("no right answer: {other:?}");
                exit(1);
            }
        }
    }
    latencies
}
