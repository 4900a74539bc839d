//! Istio's default JSON format.

use super::escape::{write_json_string, write_number};
use super::text::{millis, write_socket_address};
use super::{AccessRecord, Address, clock};

/// Appends the record's object, with a newline.
pub(super) fn write(record: &AccessRecord<'_>, out: &mut Vec<u8>) {
    let mut object = Object(out);
    object.start_time(record);
    object.text("route_name", record.route_name.as_bytes());
    object.text("method", record.method);
    object.text("path", record.path);
    object.text("protocol", record.protocol.as_bytes());
    object.number("response_code", record.response_code.into());
    object.flags(record);
    object.text(
        "response_code_details",
        record.response_code_details.as_bytes(),
    );
    object.text(
        "connection_termination_details",
        record.connection_termination_details.as_bytes(),
    );
    object.number("bytes_received", record.bytes_received);
    object.number("bytes_sent", record.bytes_sent);
    object.number("duration", millis(record.duration));
    object.service_time(record);
    object.text("x_forwarded_for", record.x_forwarded_for);
    object.text("user_agent", record.user_agent);
    object.text("request_id", record.request_id);
    object.text("authority", record.authority);
    object.address("upstream_host", record.upstream_host);
    object.text("upstream_cluster", record.upstream_cluster.as_bytes());
    object.address("upstream_local_address", record.upstream_local_address);
    object.address("downstream_local_address", record.downstream_local_address);
    object.address(
        "downstream_remote_address",
        record.downstream_remote_address,
    );
    object.text(
        "requested_server_name",
        record.requested_server_name.as_bytes(),
    );
    object.text(
        "upstream_transport_failure_reason",
        record.upstream_transport_failure_reason.as_bytes(),
    );
    object.text("reason", record.reason.as_bytes());
    object.origin(record);
    object.0.extend_from_slice(b"}\n");
}

/// An object being written.
struct Object<'o>(&'o mut Vec<u8>);

impl Object<'_> {
    fn start_time(&mut self, record: &AccessRecord<'_>) {
        self.0.extend_from_slice(b"{\"start_time\":\"");
        clock::write(record.start_time, self.0);
        self.0.push(b'"');
    }

    /// Every key but the first.
    fn key(&mut self, key: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn null(&mut self) {
        self.0.extend_from_slice(b"null");
    }

    fn text(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        if value.is_empty() {
            self.null()
        } else {
            write_json_string(value, self.0)
        }
    }

    fn number(&mut self, key: &str, number: u64) {
        self.key(key);
        write_number(number, self.0);
    }

    fn flags(&mut self, record: &AccessRecord<'_>) {
        self.key("response_flags");
        self.0.push(b'"');
        record.flags.write(self.0);
        self.0.push(b'"');
    }

    /// A string, since Envoy takes it from a response header.
    fn service_time(&mut self, record: &AccessRecord<'_>) {
        self.key("upstream_service_time");
        let Some(time) = record.upstream_service_time else {
            return self.null();
        };
        self.0.push(b'"');
        write_number(millis(time), self.0);
        self.0.push(b'"');
    }

    fn address(&mut self, key: &str, address: Option<Address<'_>>) {
        self.key(key);
        match address {
            None => self.null(),
            Some(Address::Text(text)) => write_json_string(text.as_bytes(), self.0),
            Some(Address::Socket(address)) => {
                self.0.push(b'"');
                write_socket_address(address, self.0);
                self.0.push(b'"');
            }
        }
    }

    fn origin(&mut self, record: &AccessRecord<'_>) {
        self.key("origin");
        match record.origin {
            None => self.null(),
            Some(origin) => write_json_string(origin.to_string().as_bytes(), self.0),
        }
    }
}
