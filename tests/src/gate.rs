//! An origin that holds its answers back.

use crate::origin::{After, Origin};
use crate::poll::PATIENCE;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};

/// An origin that says when a request has come, and answers `finished` when it is told to; of several requests
/// any one then.
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
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// As [`Gate::new`], at a given address.
    pub fn start_at(address: SocketAddr) -> Self {
        let (arrived, arrivals) = mpsc::channel();
        let (orders, ordered) = mpsc::channel::<()>();
        let ordered = Mutex::new(ordered);
        let origin = Origin::bound_to(address, move |exchange| {
            arrived.send(()).map_err(io::Error::other)?;
            let order = {
                let ordered = ordered.lock().map_err(|_| io::ErrorKind::Other)?;
                ordered.recv_timeout(PATIENCE * 3)
            };
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

    /// What it counted.
    pub fn origin(&self) -> &Origin {
        &self.origin
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
