//! Tunnels that a client of a forward proxy asked for: as all connections, once they are open.

use super::connection::{Ending, TcpConnection};
use super::failure::Failure;
use crate::forward_proxy::{Content, Refused, Tls};
use crate::http::report_of_connection;
use crate::net::{Side, Transport};
use crate::tls::{Alert, hello, is_hello, last_words};
use crate::upstream::UpstreamIo;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode};
use rules::EgressMode;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The answer to whoever gets a tunnel.
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection Established\r\n\r\n";
/// Room for what a side says first.
const FIRST: usize = 1024;

/// The request for a tunnel, as the log has it.
pub(crate) struct Asking {
    /// The host and port that the client asked for, in its spelling.
    pub(crate) authority: HeaderValue,
    /// `HTTP/1.1`
    pub(crate) protocol: &'static str,
    pub(crate) user_agent: Option<HeaderValue>,
    /// The name of what lets it through where the registry does not.
    pub(crate) route_name: &'static str,
    /// What it was answered. 0: nothing yet.
    pub(crate) status: u16,
}

impl TcpConnection {
    /// Serves a tunnel to its end. It is open once its endpoint is reached; before that the client is told what is
    /// wrong. `prefix` came together with the request for it, and what it opens with may take as long as `patience`.
    pub(crate) async fn tunnel(
        mut self,
        mut downstream: Transport,
        prefix: Bytes,
        content: Content,
        patience: Duration,
    ) {
        let (mut upstream, _held) = match self.reach().await {
            Ok(reached) => reached,
            Err(failure) => return self.give_up(&mut downstream, failure).await,
        };
        self.opened();
        if self.establish(&mut downstream).await.is_err() {
            self.ending = Ending::Broken(Side::Downstream);
            return;
        }
        let first = match content {
            Content::Bytes | Content::Http(_) => Ok((prefix, Bytes::new())),
            Content::Tls(tls) => {
                let first = self.client_first(&mut downstream, prefix, patience).await;
                match first {
                    Ok(first) => self.begin_tls(tls, &mut downstream, first, patience).await,
                    Err(ending) => Err(ending),
                }
                .map(|first| (first, Bytes::new()))
            }
            Content::Unspecified(tls) => {
                self.begin(tls, &mut downstream, &mut upstream, prefix, patience)
                    .await
            }
            Content::Watched => self.watch(&mut downstream, &mut upstream, prefix).await,
        };
        match first {
            Ok((sent, answered)) => {
                self.carry(&mut downstream, &mut upstream, sent, answered)
                    .await;
            }
            Err(ending) => self.ending = ending,
        }
    }

    async fn reach(&mut self) -> Result<(UpstreamIo, super::connect::Held), Failure> {
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => self.dial().await,
        }
    }

    /// Tells the client that its tunnel is open.
    pub(crate) async fn establish(&mut self, downstream: &mut Transport) -> io::Result<()> {
        self.answered(StatusCode::OK.as_u16());
        downstream.write_all(ESTABLISHED).await?;
        downstream.flush().await
    }

    fn answered(&mut self, status: u16) {
        if let Some(asking) = &mut self.asking {
            asking.status = status;
        }
    }

    /// Tells the client why there is no tunnel.
    async fn give_up(&mut self, downstream: &mut Transport, failure: Failure) {
        let mut report = report_of_connection(&failure);
        if let (Some(denial), Some(asked)) = (failure.denial(), &self.asked) {
            Refused::Denied(denial).count(EgressMode::Enforce, &self.shared.metrics);
            report.body = denial.told(asked).into();
        }
        self.failure = Some(failure);
        self.answered(report.status);
        let reason = StatusCode::from_u16(report.status).unwrap_or_default();
        let mut answer = BytesMut::new();
        answer.extend_from_slice(
            format!(
                "HTTP/1.1 {} {}\r\nserver: ",
                report.status,
                reason.canonical_reason().unwrap_or_default()
            )
            .as_bytes(),
        );
        answer.extend_from_slice(self.shared.settings.server.as_bytes());
        answer.extend_from_slice(
            format!(
                "\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{}",
                report.body.len(),
                report.body
            )
            .as_bytes(),
        );
        last_words(downstream, &answer).await;
    }

    /// The first bytes of whoever speaks first: those from downstream, and those from upstream.
    async fn begin(
        &mut self,
        tls: Tls,
        downstream: &mut Transport,
        upstream: &mut UpstreamIo,
        prefix: Bytes,
        patience: Duration,
    ) -> Result<(Bytes, Bytes), Ending> {
        let (sent, answered) = self.watch(downstream, upstream, prefix).await?;
        if !self.speaks_tls {
            return Ok((sent, answered));
        }
        let sent = self.begin_tls(tls, downstream, sent, patience).await?;
        Ok((sent, answered))
    }

    /// The same, and notes whether it is TLS.
    async fn watch(
        &mut self,
        downstream: &mut Transport,
        upstream: &mut UpstreamIo,
        prefix: Bytes,
    ) -> Result<(Bytes, Bytes), Ending> {
        let silence = self.silence().open;
        let (sent, answered) = match prefix.is_empty() {
            true => super::connection::within(silence, first_speaker(downstream, upstream))
                .await
                .ok_or(Ending::Idle)?,
            false => (prefix, Bytes::new()),
        };
        self.speaks_tls = is_hello(&sent);
        Ok((sent, answered))
    }

    /// What the client begins with.
    async fn client_first(
        &mut self,
        downstream: &mut Transport,
        prefix: Bytes,
        patience: Duration,
    ) -> Result<Bytes, Ending> {
        if !prefix.is_empty() {
            return Ok(prefix);
        }
        let mut first = BytesMut::with_capacity(FIRST);
        match tokio::time::timeout(patience, downstream.read_buf(&mut first)).await {
            Ok(Ok(1..)) => Ok(first.freeze()),
            Ok(_) => Err(Ending::Broken(Side::Downstream)),
            Err(_) => Err(Ending::SlowHello),
        }
    }

    /// Reads the ClientHello that begins with `first`, and checks the name in it. Returns all that came of it.
    async fn begin_tls(
        &mut self,
        tls: Tls,
        downstream: &mut Transport,
        first: Bytes,
        patience: Duration,
    ) -> Result<Bytes, Ending> {
        let mut rest: &[u8] = &first;
        if !is_hello(&first) {
            self.permits(Err(Refused::NotTls), tls.mode, first.len())?;
            return Ok(first);
        }
        self.speaks_tls = true;
        let mut stream = (&mut rest).chain(&mut *downstream);
        let read = tokio::time::timeout(patience, hello::read(&mut stream)).await;
        let (checked, raw) = match read.map_err(|_| Ending::SlowHello)? {
            Ok(hello) => {
                let hello_of_client = hello.accepted.client_hello();
                let sni = hello_of_client.server_name();
                self.server_name = sni.unwrap_or_default().into();
                (tls.check(sni), hello.raw)
            }
            Err(none) if none.is_end() => return Err(Ending::Broken(Side::Downstream)),
            Err(none) => (Err(Refused::NotTls), none.raw),
        };
        let all = joined(raw, rest);
        if let Err(ending) = self.permits(checked, tls.mode, all.len()) {
            if checked == Err(Refused::SniMismatch) {
                last_words(downstream, &Alert::UnrecognizedName.record()).await;
            }
            return Err(ending);
        }
        Ok(all)
    }

    /// Notes that what the client has begun with, `length` bytes so far, may not be in its tunnel, whatever the mode.
    pub(crate) fn refuse(&mut self, refused: Refused, length: usize) {
        refused.count(EgressMode::Enforce, &self.shared.metrics);
        self.count(length as u64, 0);
        self.ending = Ending::Refused(refused);
    }

    /// Whether a client gets on with what it begins with, `length` bytes of it so far.
    fn permits(
        &mut self,
        checked: Result<(), Refused>,
        mode: EgressMode,
        length: usize,
    ) -> Result<(), Ending> {
        let Err(refused) = checked else {
            return Ok(());
        };
        if mode == EgressMode::Enforce {
            self.refuse(refused, length);
            return Err(Ending::Refused(refused));
        }
        refused.count(mode, &self.shared.metrics);
        self.noted = Some(refused);
        Ok(())
    }
}

/// What the side that speaks first says: bytes from downstream, or from upstream. Nothing where it ends.
pub(super) async fn first_speaker(
    downstream: &mut Transport,
    upstream: &mut UpstreamIo,
) -> (Bytes, Bytes) {
    let mut sent = BytesMut::with_capacity(FIRST);
    let mut answered = BytesMut::with_capacity(FIRST);
    // An end or an error seen here is seen again by whoever reads next.
    tokio::select! {
        biased;
        _ = downstream.read_buf(&mut sent) => {}
        _ = upstream.read_buf(&mut answered) => {}
    }
    (sent.freeze(), answered.freeze())
}

fn joined(first: Bytes, rest: &[u8]) -> Bytes {
    match rest {
        [] => first,
        rest => [&first, rest].concat().into(),
    }
}
