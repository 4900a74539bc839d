//! The end of a connection: its line in the access log, its place in the metrics.

use super::connection::{Ending, TcpConnection};
use super::failure::Failure;
use crate::forward_proxy::Refused;
use crate::http::report_of_connection;
use crate::labels::Ends;
use crate::net::Side;
use crate::upstream::Upstream;
use crate::{Passage, PassageProtocol};
use model::Origin;
use rules::EndpointAddr;
use std::fmt::Display;
use std::sync::Arc;
use telemetry::metrics::TcpSeries;
use telemetry::{AccessRecord, Address, ResponseFlags};

impl Ending {
    /// Termination details as Envoy has them where it has some, and our reason.
    fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::Orderly => ("", ""),
            Self::Idle => ("tcp_session_idle_timeout", "idle_timeout"),
            Self::Expired => ("max_connection_duration_reached", "max_connection_duration"),
            Self::Refused(refused) => ("", refused.code()),
            Self::SlowHello => ("", "client_timeout"),
            Self::Broken(Side::Downstream) => ("downstream_reset", "client_gone"),
            Self::Broken(Side::Upstream) => ("upstream_reset", "upstream_reset"),
        }
    }
}

impl TcpConnection {
    /// The connection has reached its endpoint.
    pub(crate) fn opened(&mut self) {
        let series = self.series_of(ResponseFlags::empty());
        series.opened();
        self.series = Some(series);
    }

    /// Counts bytes, given how many there were in all.
    pub(crate) fn count(&mut self, received: u64, sent: u64) {
        let Some(series) = &self.series else {
            return;
        };
        if received != self.received {
            series.received(received - self.received);
            self.received = received;
        }
        if sent != self.sent {
            series.sent(sent - self.sent);
            self.sent = sent;
        }
    }

    fn series_of(&self, flags: ResponseFlags) -> Arc<TcpSeries> {
        let snapshot = self.shared.snapshot();
        let (cluster, upstream) = (self.cluster.as_deref(), self.upstream());
        let ends = Ends::new(&self.shared, &snapshot, &self.info, cluster, upstream);
        let ends = ends.denied(matches!(self.failure, Some(Failure::Denied(_))));
        let metrics = &self.shared.metrics;
        metrics.tcp_series(ends.id(), flags, || ends.labels())
    }

    /// One that was never forwarded was opened and closed all the same.
    fn closed(&self, flags: ResponseFlags) {
        if let Some(series) = &self.series {
            return series.closed();
        }
        let series = self.series_of(flags);
        series.opened();
        series.closed();
    }

    fn upstream(&self) -> Option<&Upstream> {
        let members = self.cluster.as_ref()?.endpoints.members();
        Some(&members.get(self.endpoint?)?.value)
    }

    fn log<'a>(&'a self, mut record: AccessRecord<'a>) {
        record.bytes_received = self.received;
        record.bytes_sent = self.sent;
        record.duration = self.started.elapsed();
        record.upstream_host = self.upstream().map(|upstream| address(&upstream.address));
        record.upstream_cluster = self.cluster.as_ref().map_or("", |cluster| &cluster.name);
        record.upstream_local_address = self.local_address.map(Address::Socket);
        record.downstream_local_address = Some(Address::Socket(self.info.local));
        record.downstream_remote_address = Some(Address::Socket(self.info.peer));
        record.requested_server_name = &self.server_name;
        if let Some(asking) = &self.asking {
            record.method = b"CONNECT";
            record.protocol = asking.protocol;
            record.authority = asking.authority.as_bytes();
            record.user_agent = asking
                .user_agent
                .as_ref()
                .map_or(b"", |agent| agent.as_bytes());
            record.route_name = asking.route_name;
            record.response_code = asking.status;
        }
        if !record.reason.is_empty() {
            let origin: Option<&Origin> = self.origin.as_deref();
            record.origin = origin.map(|origin| origin as &(dyn Display + Sync));
        }
        self.shared.access_log.log(&record);
    }
}

impl TcpConnection {
    /// Tells who learns of it, once it has reached its endpoint.
    fn tell_passage(&self) {
        let (Some(passages), Some(asked)) = (&self.shared.passages, &self.asked) else {
            return;
        };
        // The requests in a tunnel are told one by one.
        if self.series.is_none() || self.cluster.is_none() {
            return;
        }
        passages.passed(&Passage {
            host: asked.authority(),
            port: asked.port(),
            protocol: match self.speaks_tls {
                true => PassageProtocol::Tls,
                false => PassageProtocol::Tcp,
            },
            received: self.received,
            sent: self.sent,
            client: self.info.peer.ip(),
            denial: self.noted.and_then(Refused::denial),
        });
    }
}

impl Drop for TcpConnection {
    fn drop(&mut self) {
        self.tell_passage();
        let told = self.asking.as_ref().zip(self.failure.as_ref());
        let told = told.map(|(_, failure)| report_of_connection(failure));
        let report = self.failure.as_ref().map(Failure::report);
        let mut record = AccessRecord::new(self.start_time);
        if let Some(told) = &told {
            record.flags = told.flags;
            record.response_code_details = &told.details;
            record.upstream_transport_failure_reason = &told.transport_failure;
            record.reason = told.reason;
        } else if let Some(report) = &report {
            record.flags = report.flags;
            record.response_code_details = &report.details;
            record.upstream_transport_failure_reason = &report.transport_failure;
            record.reason = report.reason;
        } else {
            (record.connection_termination_details, record.reason) = self.ending.told();
            if self.ending == Ending::Expired {
                record.flags = ResponseFlags::DT;
            }
            if let (Some(noted), "") = (self.noted, record.reason) {
                record.reason = noted.would_be_code();
            }
            if record.reason.is_empty() {
                record.reason = self.told;
            }
        }
        self.closed(record.flags);
        if self.shared.access_log.is_on() {
            self.log(record);
        }
    }
}

fn address(address: &EndpointAddr) -> Address<'_> {
    match address {
        EndpointAddr::Tcp(address) => Address::Socket(*address),
        EndpointAddr::Unix(path) => Address::Text(path),
    }
}
