//! Istio's default text format.

use super::escape::{Field, write_number};
use super::{AccessRecord, Address, clock};
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

/// Appends the record's line, with its newline.
pub(super) fn write(record: &AccessRecord<'_>, out: &mut Vec<u8>) {
    let mut line = Line(out);
    line.0.push(b'[');
    clock::write(record.start_time, line.0);
    line.0.extend_from_slice(b"] ");
    line.request(record);
    line.number(record.response_code.into());
    record.flags.write(line.0);
    line.0.push(b' ');
    line.bare(record.response_code_details);
    line.bare(record.connection_termination_details);
    line.quoted(record.upstream_transport_failure_reason.as_bytes());
    line.number(record.bytes_received);
    line.number(record.bytes_sent);
    line.number(millis(record.duration));
    line.service_time(record.upstream_service_time);
    line.quoted(record.x_forwarded_for);
    line.quoted(record.user_agent);
    line.quoted(record.request_id);
    line.quoted(record.authority);
    line.0.push(b'"');
    write_address(record.upstream_host, line.0);
    line.0.extend_from_slice(b"\" ");
    line.bare(record.upstream_cluster);
    line.address(record.upstream_local_address);
    line.address(record.downstream_local_address);
    line.address(record.downstream_remote_address);
    line.bare(record.requested_server_name);
    line.bare(record.route_name);
    line.bare(record.reason);
    line.origin(record);
}

/// A line being written. Each field but the last is followed by a space.
struct Line<'o>(&'o mut Vec<u8>);

impl Line<'_> {
    fn request(&mut self, record: &AccessRecord<'_>) {
        self.0.push(b'"');
        Field::Bare.write(record.method, self.0);
        self.0.push(b' ');
        Field::Bare.write(record.path, self.0);
        self.0.push(b' ');
        Field::Bare.write(record.protocol.as_bytes(), self.0);
        self.0.extend_from_slice(b"\" ");
    }

    fn bare(&mut self, value: &str) {
        Field::Bare.write(value.as_bytes(), self.0);
        self.0.push(b' ');
    }

    fn quoted(&mut self, value: &[u8]) {
        self.0.push(b'"');
        Field::Quoted.write(value, self.0);
        self.0.extend_from_slice(b"\" ");
    }

    fn number(&mut self, number: u64) {
        write_number(number, self.0);
        self.0.push(b' ');
    }

    fn service_time(&mut self, time: Option<Duration>) {
        match time {
            Some(time) => self.number(millis(time)),
            None => self.0.extend_from_slice(b"- "),
        }
    }

    fn address(&mut self, address: Option<Address<'_>>) {
        write_address(address, self.0);
        self.0.push(b' ');
    }

    fn origin(&mut self, record: &AccessRecord<'_>) {
        self.0.push(b'"');
        match record.origin {
            None => self.0.push(b'-'),
            Some(origin) => Field::Quoted.write(origin.to_string().as_bytes(), self.0),
        }
        self.0.extend_from_slice(b"\"\n");
    }
}

/// Whole milliseconds, as Envoy counts them.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Appends `10.44.1.27:80`, `[::1]:80`, or `-`.
pub(super) fn write_address(address: Option<Address<'_>>, out: &mut Vec<u8>) {
    match address {
        None => out.push(b'-'),
        Some(Address::Text(text)) => Field::Bare.write(text.as_bytes(), out),
        Some(Address::Socket(address)) => write_socket_address(address, out),
    }
}

/// Four of these stand in each line: an IPv4 address does not go through `fmt`.
pub(super) fn write_socket_address(address: SocketAddr, out: &mut Vec<u8>) {
    let SocketAddr::V4(v4) = address else {
        // Writing to a vector cannot fail.
        let _ = write!(out, "{address}");
        return;
    };
    for (position, octet) in v4.ip().octets().into_iter().enumerate() {
        if position > 0 {
            out.push(b'.');
        }
        write_number(octet.into(), out);
    }
    out.push(b':');
    write_number(v4.port().into(), out);
}
