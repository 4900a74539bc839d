//! A Workload API that says what a test wants.

use crate::Endpoint;
use crate::frame::framed;
use crate::tests::PATIENCE;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use prost::Message;
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// On a socket of its own.
pub(super) struct Server {
    endpoint: Endpoint,
    /// What the socket is in.
    folder: TempDir,
    listening: JoinHandle<()>,
    calls: UnboundedReceiver<Head>,
    caller: UnboundedSender<Head>,
}

/// A call that was not answered.
pub(super) struct Head {
    request: Request<RecvStream>,
    answer: SendResponse<Bytes>,
}

/// A call that is being answered.
pub(super) struct Visit {
    request: Request<RecvStream>,
    answers: SendStream<Bytes>,
}

impl Server {
    /// On a Unix socket.
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent.sock");
        let (caller, calls) = unbounded_channel();
        Self {
            listening: listen(&socket, caller.clone()),
            endpoint: Endpoint::Unix(socket),
            folder,
            calls,
            caller,
        }
    }

    pub(super) async fn start_on_tcp() -> Self {
        let mut server = Self::start();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        server.endpoint = Endpoint::Tcp(listener.local_addr().unwrap());
        let caller = server.caller.clone();
        server.listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, caller.clone()));
            }
        });
        server
    }

    /// Takes the socket away.
    pub(super) fn stop(&mut self) {
        self.listening.abort();
        std::fs::remove_file(self.socket()).unwrap();
    }

    pub(super) fn start_again(&mut self) {
        self.listening = listen(&self.socket(), self.caller.clone());
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// The next call.
    pub(super) async fn head(&mut self) -> Head {
        let call = tokio::time::timeout(PATIENCE, self.calls.recv()).await;
        call.expect("somebody calls").expect("the server runs")
    }

    /// The next call, with the head of its answer.
    pub(super) async fn visit(&mut self) -> Visit {
        loop {
            let Head {
                request,
                mut answer,
            } = self.head().await;
            let response = Response::builder().header("content-type", "application/grpc");
            let response = response.body(()).unwrap();
            // A caller that has lost patience meanwhile calls again.
            if let Ok(answers) = answer.send_response(response, false) {
                return Visit { request, answers };
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn listen(socket: &PathBuf, caller: UnboundedSender<Head>) -> JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, caller.clone()));
        }
    })
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, caller: UnboundedSender<Head>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, answer))) = connection.accept().await {
        let _ = caller.send(Head { request, answer });
    }
}

impl Head {
    /// Answers with a status of HTTP alone.
    pub(super) fn refuse(mut self, status: u16) {
        let response = Response::builder().status(status).body(()).unwrap();
        self.answer.send_response(response, true).unwrap();
    }

    /// Answers with the status of gRPC in the head.
    pub(super) fn deny(mut self, message: &str) {
        let response = Response::builder()
            .header("grpc-status", "7")
            .header("grpc-message", message);
        let response = response.body(()).unwrap();
        self.answer.send_response(response, true).unwrap();
    }
}

impl Visit {
    pub(super) fn path(&self) -> &str {
        self.request.uri().path()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.request.headers().get(name)?.to_str().ok()
    }

    /// All that was sent.
    pub(super) async fn body(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(data) = self.request.body_mut().data().await {
            all.extend_from_slice(&data.unwrap());
        }
        all
    }

    pub(super) fn send(&mut self, message: &impl Message) {
        self.send_raw(&framed(&message.encode_to_vec()));
    }

    pub(super) fn send_raw(&mut self, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.answers.send_data(bytes, false).unwrap();
    }

    /// Ends it with a status of gRPC.
    pub(super) fn end(&mut self, status: u16, message: &str) {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.into());
        let escaped = message.replace('\n', "%0A");
        trailers.insert("grpc-message", escaped.parse().unwrap());
        self.answers.send_trailers(trailers).unwrap();
    }

    pub(super) fn end_without_status(&mut self) {
        self.answers.send_data(Bytes::new(), true).unwrap();
    }

    /// Resets the stream.
    pub(super) fn cut(mut self) {
        self.answers.send_reset(Reason::INTERNAL_ERROR);
    }

    /// Waits until the caller has left.
    pub(super) async fn until_left(mut self) {
        let left = std::future::poll_fn(|context| self.answers.poll_reset(context));
        let left = tokio::time::timeout(PATIENCE, left).await;
        assert!(left.is_ok(), "the call goes on");
    }
}
