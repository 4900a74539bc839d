//! A client at a fixed rate: `open-loop [HOST:]PORT RATE SECONDS` prints percentiles of the latency in
//! milliseconds, counted from when a request was due, not from when it could be sent.

mod latencies;

use e2e::{Connection, Request};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::exit;
use std::thread;
use std::time::{Duration, Instant};

/// They share the rate, and are staggered.
const CONNECTIONS: u32 = 64;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().and_then(|text| address(&text));
    let numbers: Vec<u32> = arguments.filter_map(|text| text.parse().ok()).collect();
    let (Some(address), [rate, seconds]) = (address, &numbers[..]) else {
        eprintln!("usage: open-loop [HOST:]PORT RATE SECONDS");
        exit(2);
    };
    let (rate, seconds) = (*rate, *seconds);
    let interval = Duration::from_secs(1) / rate;
    let start = Instant::now() + Duration::from_millis(100);
    let end = start + Duration::from_secs(seconds.into());
    let workers: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let first = start + interval * number;
            thread::spawn(move || drive(address, first, interval * CONNECTIONS, end))
        })
        .collect();
    let latencies = workers
        .into_iter()
        .flat_map(|worker| worker.join().unwrap_or_else(|_| exit(1)));
    latencies::print(latencies.collect());
}

/// A port alone is one of loopback.
fn address(text: &str) -> Option<SocketAddr> {
    let port = text.parse().ok();
    let of_port = port.map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    of_port.or_else(|| text.parse().ok())
}

/// One connection's share. A wrong answer ends the process.
fn drive(address: SocketAddr, first: Instant, interval: Duration, end: Instant) -> Vec<Duration> {
    let request = Request::get("bench.example.com", "/api/item").header("x-tenant", "gold");
    let mut connection = Connection::open_at(address).unwrap_or_else(|error| {
        eprintln!("connecting to {address}: {error}");
        exit(1);
    });
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
