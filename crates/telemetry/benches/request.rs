//! What telling of one request costs the thread that served it: its metrics, and its access log line.
#![allow(missing_docs, reason = "made by macros")]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use telemetry::metrics::{
    Destination, Reporter, RequestLabels, RequestOutcome, RequestSample, SecurityPolicy, Workload,
};
use telemetry::{AccessLog, AccessRecord, Address, Format, Metrics, ResponseFlags};

/// Destinations that requests go to, in turn.
const DESTINATIONS: u64 = 64;

struct Subject {
    metrics: Metrics,
    source: Workload,
    destination: Destination,
}

impl Subject {
    fn new() -> Self {
        let (source, destination) = (Workload::default(), Destination::default());
        Self {
            metrics: Metrics::new("0.0.0"),
            source,
            destination,
        }
    }

    fn record(&self, destination: u64) {
        let outcome = RequestOutcome::http(200, ResponseFlags::empty());
        let duration = Duration::from_micros(700);
        let sample = RequestSample {
            duration,
            request_bytes: 400,
            response_bytes: 1300,
        };
        self.metrics
            .record_request(destination, outcome, sample, || RequestLabels {
                reporter: Reporter::Source,
                source: &self.source,
                destination: &self.destination,
                security: SecurityPolicy::Unknown,
            });
    }
}

fn socket(text: &str) -> Option<Address<'static>> {
    text.parse::<SocketAddr>().ok().map(Address::from)
}

fn record() -> AccessRecord<'static> {
    AccessRecord {
        method: b"GET",
        path: b"/status/200?verbose=true",
        protocol: "HTTP/1.1",
        response_code: 200,
        response_code_details: "via_upstream",
        bytes_sent: 1024,
        duration: Duration::from_micros(700),
        upstream_service_time: Some(Duration::from_millis(1)),
        x_forwarded_for: b"203.0.113.7",
        user_agent: b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        request_id: b"84961386-6d84-929d-98bd-c5aee93b5c88",
        authority: b"httpbin.example.com",
        upstream_host: socket("10.44.1.27:8000"),
        upstream_cluster: "outbound|8000||httpbin.default.svc.cluster.local",
        upstream_local_address: socket("10.44.1.23:41854"),
        downstream_local_address: socket("10.44.1.23:8080"),
        downstream_remote_address: socket("203.0.113.7:37652"),
        route_name: "default",
        ..AccessRecord::new(SystemTime::now())
    }
}

fn log_to_nowhere(subject: &Subject, format: Format) -> AccessLog {
    let dropped = subject.metrics.own().access_log_dropped();
    AccessLog::open(Path::new("/dev/null"), format, dropped).expect("a null device")
}

fn one_thread(criterion: &mut Criterion) {
    let subject = Subject::new();
    let mut turn = 0;
    let mut next = || {
        turn = (turn + 1) % DESTINATIONS;
        turn
    };
    criterion.bench_function("metrics", |bencher| {
        bencher.iter(|| subject.record(black_box(next())))
    });
    let record = record();
    for format in [Format::Text, Format::Json] {
        let mut line = Vec::new();
        criterion.bench_function(&format!("format {format:?}"), |bencher| {
            bencher.iter(|| {
                line.clear();
                format.write(black_box(&record), &mut line);
            });
        });
    }
    for format in [Format::Text, Format::Json] {
        let log = log_to_nowhere(&subject, format);
        criterion.bench_function(&format!("metrics and log {format:?}"), |bencher| {
            bencher.iter(|| {
                subject.record(black_box(next()));
                log.log(black_box(&record));
            });
        });
    }
}

/// The same while another thread does nothing else.
fn two_threads(criterion: &mut Criterion) {
    let subject = Subject::new();
    let log = log_to_nowhere(&subject, Format::Text);
    let stop = AtomicBool::new(false);
    let record = record();
    let both = || {
        subject.record(black_box(1));
        log.log(black_box(&record));
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                both();
            }
        });
        criterion.bench_function("metrics and log Text, two threads", |bencher| {
            bencher.iter(both)
        });
        stop.store(true, Ordering::Relaxed);
    });
}

criterion_group!(benches, one_thread, two_threads);
criterion_main!(benches);
