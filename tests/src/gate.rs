//! An origin that holds its answers back.

use crate::origin::{After, Origin};
use crate::poll::PATIENCE;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};

/// An origin that says when a request has come, and answers `finished` when it is told to.
#[derive(Debug)]
pub struct Gate {
    origin: Origin,
    arrivals: Receiver<()>,
    orders: Sender<()>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// Starts one.
    pub fn new() -> Self {
        let (arrived, arrivals) = mpsc::channel();
        let (orders, ordered) = mpsc::channel::<()>();
        let channels = Mutex::new((arrived, ordered));
        let origin = Origin::serving(move |exchange| {
            let channels = channels.lock().map_err(|_| io::ErrorKind::Other)?;
            channels.0.send(()).map_err(io::Error::other)?;
            let order = channels.1.recv_timeout(PATIENCE * 3);
            order.map_err(io::Error::other)?;
            exchange.reply(200, &[], b"finished")?;
            Ok(After::Keep)
        });
        Self {
            origin,
            arrivals,
            orders,
        }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.origin.port()
    }

    /// Waits for a request.
    ///
    /// # Panics
    ///
    /// When none comes.
    #[track_caller]
    pub fn wait_for_request(&self) {
        let arrival = self.arrivals.recv_timeout(PATIENCE);
        assert!(arrival.is_ok(), "no request reached the origin");
    }

    /// Lets the request that is waiting be answered.
    ///
    /// # Panics
    ///
    /// When the origin is gone.
    pub fn open(&self) {
        self.orders.send(()).expect("the origin runs");
    }
}
