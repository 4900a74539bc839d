//! Connections to a workload's port for bytes, whose clients may come in the mesh's TLS or not.

use super::connection::{Ending, TcpConnection};
use super::failure::Failure;
use super::tunnel::first_speaker;
use crate::net::{Side, Transport};
use crate::tls::{self, Handshakes, hello, is_hello};
use bytes::{Bytes, BytesMut};
use rules::{TlsServer, Verdict};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// The mesh's TLS that a client may begin with.
pub(crate) struct MeshTls {
    /// Where it ends.
    pub(crate) server: Arc<TlsServer>,
    /// Those that go on already.
    pub(crate) handshakes: Arc<Handshakes>,
    /// How long a handshake may take.
    pub(crate) patience: Duration,
    /// How long a client in the mesh may take to begin one, when the application has spoken already.
    pub(crate) begins_within: Duration,
}

/// The client, and what was read of it already.
type First = (Transport, Bytes);

impl TcpConnection {
    /// Lets the client begin with the mesh's TLS, or with its bytes, or wait for the application's.
    pub(crate) fn may_begin_mesh_tls(&mut self, tls: MeshTls) {
        self.mesh_tls = Some(Box::new(tls));
    }

    /// Forwards to the end. The application is reached first, since it may be the one that speaks first.
    pub(super) async fn forward_either(
        &mut self,
        tls: MeshTls,
        mut downstream: Transport,
    ) -> Result<(), Failure> {
        // Who is not let in as anybody may be let in with a certificate, and hears nothing before.
        let as_anybody = self.verdict()?;
        if !as_anybody.is_allowed() {
            return self.forward_mutual(tls, downstream, as_anybody).await;
        }
        let (mut upstream, _held) = self.dial().await?;
        let (mut sent, answered) = first_speaker(&mut downstream, &mut upstream).await;
        if sent.is_empty() && self.client_is_in_mesh() {
            // The application is nearer than the client, whose hello may still be on its way.
            sent = begun_within(tls.begins_within, &mut downstream).await;
        }
        let first = match is_hello(&sent) {
            true => self.begin_mesh_tls(tls, downstream, sent).await,
            false => Some((downstream, sent)),
        };
        let Some((mut downstream, sent)) = first else {
            return Ok(());
        };
        match self.info.tls {
            Some(_) => self.authorize()?,
            None => self.obey(as_anybody)?,
        }
        self.opened();
        self.carry(&mut downstream, &mut upstream, sent, answered)
            .await;
        Ok(())
    }

    /// Whether its client speaks the mesh's TLS, as far as it is known: such a client is the first to speak.
    fn client_is_in_mesh(&self) -> bool {
        let snapshot = self.shared.snapshot();
        snapshot.workloads.is_in_mesh(self.info.peer.ip())
    }

    /// Forwards a client that comes in the mesh's TLS; `as_anybody` says why no other is.
    async fn forward_mutual(
        &mut self,
        tls: MeshTls,
        mut downstream: Transport,
        as_anybody: Verdict,
    ) -> Result<(), Failure> {
        let sent = begun_within(tls.patience, &mut downstream).await;
        // Who goes, or says nothing, is not let in either.
        if !is_hello(&sent) {
            return self.obey(as_anybody);
        }
        let begun = self.begin_mesh_tls(tls, downstream, sent).await;
        let Some((mut downstream, sent)) = begun else {
            return Ok(());
        };
        if self.info.tls.is_none() {
            return self.obey(as_anybody);
        }
        self.authorize()?;
        let (mut upstream, _held) = self.dial().await?;
        self.opened();
        self.carry(&mut downstream, &mut upstream, sent, Bytes::new())
            .await;
        Ok(())
    }

    /// TLS of an application's own goes through. `None`: there is nothing more.
    async fn begin_mesh_tls(
        &mut self,
        tls: MeshTls,
        downstream: Transport,
        sent: Bytes,
    ) -> Option<First> {
        let Transport::Left(mut socket) = downstream else {
            return Some((downstream, sent));
        };
        let read = {
            let mut ahead: &[u8] = &sent;
            let mut stream = (&mut ahead).chain(&mut socket);
            tokio::time::timeout(tls.patience, hello::read(&mut stream)).await
        };
        let hello = match read {
            Err(_) => {
                self.ending = Ending::SlowHello;
                return None;
            }
            Ok(Err(none)) => return Some((Transport::Left(socket), none.raw)),
            Ok(Ok(hello)) => hello,
        };
        self.server_name = hello
            .accepted
            .client_hello()
            .server_name()
            .unwrap_or_default()
            .into();
        if !tls::speaks_mesh(&hello.accepted.client_hello()) {
            return Some((Transport::Left(socket), hello.raw));
        }
        let shared = self.shared.clone();
        let turn = tls.handshakes.turn(tls.patience);
        let ended = tls::end(hello, socket, &tls.server, &self.info, &shared, turn).await;
        let Some((stream, facts)) = ended else {
            self.ending = Ending::Broken(Side::Downstream);
            return None;
        };
        self.info.tls = Some(facts);
        Some((Transport::Right(stream), Bytes::new()))
    }
}

/// What a client begins with. Empty: nothing in time, or its end, which whoever reads next sees again.
async fn begun_within(patience: Duration, downstream: &mut Transport) -> Bytes {
    let mut sent = BytesMut::new();
    let read = tokio::time::timeout(patience, downstream.read_buf(&mut sent)).await;
    match read {
        Ok(Ok(_)) => sent.freeze(),
        Ok(Err(_)) | Err(_) => Bytes::new(),
    }
}
