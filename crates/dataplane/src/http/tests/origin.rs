//! An HTTP/1 upstream that does what the case says.

use super::client::Message;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// What becomes of one request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// These bytes, and the next request.
    Send(String),
    /// These bytes, then the end of the connection.
    SendAndClose(String),
    /// The end of the connection without a byte.
    Close,
    /// Nothing, for ever.
    Hang,
    /// These bytes, and then everything that comes is sent back.
    Echo(String),
}

/// A running upstream. Ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Message>>>,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    /// Answers wait for a permit each. Absent: they do not.
    gate: Option<Arc<Semaphore>>,
}

/// `HTTP/1.1 200 OK` with a body.
pub(crate) fn ok(body: &str) -> Act {
    respond(200, "", body)
}

/// A response with extra header lines, each ended by `\r\n`.
pub(crate) fn respond(status: u16, headers: &str, body: &str) -> Act {
    Act::Send(format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

impl Origin {
    /// Acts by the number of the request, counted from 0 over all connections.
    pub(crate) async fn start(script: impl Fn(usize) -> Act + Send + Sync + 'static) -> Self {
        Self::start_behind(None, script).await
    }

    /// Always the same, once there is a permit for it.
    pub(crate) async fn gated(gate: Arc<Semaphore>, act: Act) -> Self {
        Self::start_behind(Some(gate), move |_| act.clone()).await
    }

    async fn start_behind(
        gate: Option<Arc<Semaphore>>,
        script: impl Fn(usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            connections: Arc::default(),
            open: Arc::default(),
            gate,
        };
        let (serving, script) = (origin.clone(), Arc::new(script));
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                serving.connections.fetch_add(1, SeqCst);
                serving.open.fetch_add(1, SeqCst);
                let (serving, script) = (serving.clone(), script.clone());
                tokio::spawn(async move {
                    let open = serving.open.clone();
                    serving.serve(socket, script).await;
                    open.fetch_sub(1, SeqCst);
                });
            }
        });
        origin
    }

    /// Always the same.
    pub(crate) async fn answering(act: Act) -> Self {
        Self::start(move |_| act.clone()).await
    }

    /// An address where nobody listens.
    pub(crate) async fn nobody() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
    }

    pub(crate) fn hits(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(SeqCst)
    }

    /// The request with this number.
    pub(crate) fn request(&self, number: usize) -> Message {
        self.seen.lock().unwrap()[number].clone()
    }

    async fn serve(self, mut socket: TcpStream, script: Arc<impl Fn(usize) -> Act>) {
        let mut buffer = Vec::new();
        while let Some(request) = Message::read(&mut socket, &mut buffer, false).await {
            let number = {
                let mut seen = self.seen.lock().unwrap();
                seen.push(request);
                seen.len() - 1
            };
            if let Some(gate) = &self.gate {
                gate.acquire().await.unwrap().forget();
            }
            match script(number) {
                Act::Send(bytes) => socket.write_all(bytes.as_bytes()).await.unwrap(),
                Act::SendAndClose(bytes) => {
                    return socket.write_all(bytes.as_bytes()).await.unwrap();
                }
                Act::Close => return,
                Act::Hang => std::future::pending().await,
                Act::Echo(bytes) => {
                    socket.write_all(bytes.as_bytes()).await.unwrap();
                    let (mut read, mut write) = socket.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    return;
                }
            }
        }
    }
}
