//! What the clients beside this file print.

use std::time::Duration;

/// Prints the number of requests and percentiles of their latencies in milliseconds, as JSON.
#[expect(
    clippy::print_stdout,
    reason = "the result is for the program that started this one"
)]
pub(crate) fn print(mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let millis = |share: usize| {
        let at = (latencies.len() * share / 1000).min(latencies.len().saturating_sub(1));
        latencies
            .get(at)
            .map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    };
    let requests = latencies.len();
    let [p50, p99, p999] = [500, 990, 999].map(millis);
    println!(r#"{{"requests": {requests}, "p50": {p50}, "p99": {p99}, "p999": {p999}}}"#);
}
