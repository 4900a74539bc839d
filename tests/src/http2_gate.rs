//! An HTTP/2 origin that holds its answers back.

use crate::async_server::AsyncServer;
use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Full};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// An HTTP/2 server without TLS that answers `finished` when it is told to, and counts the streams of each
/// connection.
#[derive(Debug)]
pub struct Http2Gate {
    server: AsyncServer,
    streams: Arc<Streams>,
    orders: Arc<Semaphore>,
}

/// How many streams are open on each connection, in the order of the connections, and how many were at most.
#[derive(Debug, Default)]
struct Streams(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    open: Vec<usize>,
    peak: usize,
}

/// A stream, counted as long as this is there: also until its client gives up.
struct Stream {
    connection: usize,
    all: Arc<Streams>,
}

impl Default for Http2Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Http2Gate {
    /// Starts one.
    pub fn new() -> Self {
        let streams = Arc::<Streams>::default();
        let orders = Arc::new(Semaphore::new(0));
        let server = AsyncServer::http2({
            let (streams, orders) = (Arc::clone(&streams), Arc::clone(&orders));
            move |_, connection| {
                let stream = streams.begin(connection);
                let orders = Arc::clone(&orders);
                async move {
                    // Nobody closes it.
                    let order = orders.acquire().await.expect("an order");
                    order.forget();
                    drop(stream);
                    let body = Full::new(Bytes::from_static(b"finished"));
                    Ok(Response::new(body.boxed()))
                }
            }
        });
        Self {
            server,
            streams,
            orders,
        }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// How many requests wait on each connection that ever had one, in the order the connections came.
    pub fn waiting(&self) -> Vec<usize> {
        self.streams.lock().open.clone()
    }

    /// How many requests were there at one time on one connection, at most.
    pub fn peak_streams(&self) -> usize {
        self.streams.lock().peak
    }

    /// Lets so many requests be answered, those that wait and those to come.
    pub fn open(&self, count: usize) {
        self.orders.add_permits(count);
    }
}

impl Streams {
    fn begin(self: &Arc<Self>, connection: usize) -> Stream {
        let mut counts = self.lock();
        let known = counts.open.len().max(connection + 1);
        counts.open.resize(known, 0);
        counts.open[connection] += 1;
        counts.peak = counts.peak.max(counts.open[connection]);
        Stream {
            connection,
            all: Arc::clone(self),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.all.lock().open[self.connection] -= 1;
    }
}
