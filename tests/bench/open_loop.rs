//! A client at a fixed rate: `open-loop PORT RATE SECONDS` prints percentiles of the latency in
//! milliseconds, counted from when a request was due, not from when it could be sent.

mod latencies;

use e2e::{Connection, Request};
use std::process::exit;
use std::thread;
use std::time::{Duration, Instant};

/// They share the rate, and are staggered.
const CONNECTIONS: u32 = 64;

fn main() {
    let arguments: Vec<u32> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let [port, rate, seconds] = arguments[..] else {
        eprintln!("usage: open-loop PORT RATE SECONDS");
        exit(2);
    };
    let port = u16::try_from(port).unwrap_or_else(|_| exit(2));
    let interval = Duration::from_secs(1) / rate;
    let start = Instant::now() + Duration::from_millis(100);
    let end = start + Duration::from_secs(seconds.into());
    let workers: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let first = start + interval * number;
            thread::spawn(move || drive(port, first, interval * CONNECTIONS, end))
        })
        .collect();
    let latencies = workers
        .into_iter()
        .flat_map(|worker| worker.join().unwrap_or_else(|_| exit(1)));
    latencies::print(latencies.collect());
}

/// One connection's share. A wrong answer ends the process.
fn drive(port: u16, first: Instant, interval: Duration, end: Instant) -> Vec<Duration> {
    let request = Request::get("bench.example.com", "/api/item").header("x-tenant", "gold");
    let mut connection = Connection::open(port);
    let mut latencies = Vec::new();
    let mut due = first;
    while due < end {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        match connection.send(&request) {
            Ok(response) if response.status == 200 => latencies.push(due.elapsed()),
            other => {
                eprintln!("no right answer: {other:?}");
                exit(1);
            }
        }
        due += interval;
    }
    latencies
}
