//! The text format of Prometheus.
//!
//! Istio's metrics are written directly, in Istio's order of labels, and piece by piece: with 25
//! labels, a thousand series are some 60 MB of text, which must not all be in memory at once.

use super::cache::Series;
use super::series::{BOUNDS, Totals};
use super::{RequestSeries, TcpSeries};
use bytes::Bytes;
use prometheus::{Encoder, Registry, TextEncoder};
use std::io::Write as _;
use std::sync::Arc;

/// The content type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A chunk is handed out when it is longer than this.
const CHUNK: usize = 64 << 10;

/// One of Istio's metrics: its name, its comment, its type, and how a series is written.
struct Family<S: 'static> {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    write: fn(&str, &S, &mut Vec<u8>),
}

/// A counter of connections.
const fn counter(
    name: &'static str,
    help: &'static str,
    write: fn(&str, &TcpSeries, &mut Vec<u8>),
) -> Family<TcpSeries> {
    Family {
        name,
        help,
        kind: "counter",
        write,
    }
}

static CONNECTIONS: [Family<TcpSeries>; 4] = [
    counter(
        "istio_tcp_connections_opened_total",
        "TCP connections that began.",
        |name, series, out| write_counter(name, series.labels(), series.totals().opened, out),
    ),
    counter(
        "istio_tcp_connections_closed_total",
        "TCP connections that ended.",
        |name, series, out| write_counter(name, series.labels(), series.totals().closed, out),
    ),
    counter(
        "istio_tcp_received_bytes_total",
        "Bytes received from the clients of TCP connections.",
        |name, series, out| write_counter(name, series.labels(), series.totals().received, out),
    ),
    counter(
        "istio_tcp_sent_bytes_total",
        "Bytes sent to the clients of TCP connections.",
        |name, series, out| write_counter(name, series.labels(), series.totals().sent, out),
    ),
];

static REQUESTS: [Family<RequestSeries>; 4] = [
    Family {
        name: "istio_requests_total",
        help: "Requests that are finished.",
        kind: "counter",
        write: |name, series, out| write_counter(name, series.labels(), series.count(), out),
    },
    Family {
        name: "istio_request_duration_milliseconds",
        help: "Time from the first byte of the request to the last of the response.",
        kind: "histogram",
        write: |name, series, out| {
            let totals = series.microseconds();
            write_histogram(
                name,
                series.labels(),
                &totals,
                &milliseconds(totals.sum),
                out,
            );
        },
    },
    Family {
        name: "istio_request_bytes",
        help: "Size of requests, head and body.",
        kind: "histogram",
        write: |name, series, out| {
            let totals = series.request_bytes();
            write_histogram(name, series.labels(), &totals, &totals.sum.to_string(), out);
        },
    },
    Family {
        name: "istio_response_bytes",
        help: "Size of responses, head and body.",
        kind: "histogram",
        write: |name, series, out| {
            let totals = series.response_bytes();
            write_histogram(name, series.labels(), &totals, &totals.sum.to_string(), out);
        },
    },
];

/// First what is in the registry, then the metrics of requests, then those of connections.
pub(super) fn chunks(
    registry: &Registry,
    requests: Vec<Arc<RequestSeries>>,
    connections: Vec<Arc<TcpSeries>>,
) -> impl Iterator<Item = Bytes> + Send + use<> {
    std::iter::once(encode(registry))
        .chain(chunks_of(&REQUESTS, requests))
        .chain(chunks_of(&CONNECTIONS, connections))
}

fn chunks_of<S: Send + Sync>(
    families: &'static [Family<S>],
    series: Vec<Arc<S>>,
) -> impl Iterator<Item = Bytes> + Send {
    let pieces = families.iter().flat_map(move |family| {
        let series = series.clone();
        let head = if series.is_empty() {
            None
        } else {
            Some(Piece::Head(family))
        };
        head.into_iter().chain(
            series
                .into_iter()
                .map(move |series| Piece::Series(family, series)),
        )
    });
    Chunks {
        pieces: pieces.fuse(),
    }
}

fn encode(registry: &Registry) -> Bytes {
    let mut out = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&registry.gather(), &mut out) {
        tracing::error!(%error, "metrics cannot be written");
    }
    out.into()
}

enum Piece<S: 'static> {
    Head(&'static Family<S>),
    Series(&'static Family<S>, Arc<S>),
}

impl<S> Piece<S> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Series(family, series) => (family.write)(family.name, series, out),
            Self::Head(Family {
                name, help, kind, ..
            }) => {
                write(
                    format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"),
                    out,
                );
            }
        }
    }
}

/// Gathers pieces to chunks worth sending.
struct Chunks<I> {
    pieces: I,
}

impl<S: 'static, I: Iterator<Item = Piece<S>>> Iterator for Chunks<I> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        while out.len() < CHUNK {
            let Some(piece) = self.pieces.next() else {
                break;
            };
            piece.write(&mut out);
        }
        if out.is_empty() {
            None
        } else {
            Some(out.into())
        }
    }
}

fn write_counter(name: &str, labels: &str, count: u64, out: &mut Vec<u8>) {
    write(format_args!("{name}{{{labels}}} {count}\n"), out);
}

fn write_histogram(name: &str, labels: &str, totals: &Totals, sum: &str, out: &mut Vec<u8>) {
    let mut count = 0;
    for (bound, bucket) in BOUNDS.iter().chain(&["+Inf"]).zip(totals.buckets) {
        count += bucket;
        write(
            format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {count}\n"),
            out,
        );
    }
    write(format_args!("{name}_sum{{{labels}}} {sum}\n"), out);
    write(format_args!("{name}_count{{{labels}}} {count}\n"), out);
}

/// Writing to a vector cannot fail.
fn write(text: std::fmt::Arguments<'_>, out: &mut Vec<u8>) {
    let _ = out.write_fmt(text);
}

/// Microseconds as milliseconds, without the zeros at the end.
fn milliseconds(microseconds: u64) -> String {
    match microseconds % 1000 {
        0 => (microseconds / 1000).to_string(),
        rest => format!("{}.{rest:03}", microseconds / 1000)
            .trim_end_matches('0')
            .to_owned(),
    }
}
