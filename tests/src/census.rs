//! Who is connected to an origin.

use rustix::net::{RecvFlags, recv};
use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The connections of an origin: those that are open, how many came, and how many were open at one time.
#[derive(Debug, Default)]
pub(crate) struct Census(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    open: HashMap<usize, TcpStream>,
    came: usize,
    peak: usize,
}

impl Census {
    /// A connection has come; returns how many came before it.
    pub(crate) fn enter(&self, stream: &TcpStream) -> usize {
        let mut counts = self.lock();
        let number = counts.came;
        counts.came += 1;
        if let Ok(copy) = stream.try_clone() {
            counts.open.insert(number, copy);
        }
        // Those the peer has closed already are not open, though nobody here has read that yet.
        let open = counts.open.values().filter(|stream| !is_over(stream));
        counts.peak = counts.peak.max(open.count());
        number
    }

    /// It is over.
    pub(crate) fn leave(&self, number: usize) {
        self.lock().open.remove(&number);
    }

    pub(crate) fn came(&self) -> usize {
        self.lock().came
    }

    pub(crate) fn open(&self) -> usize {
        self.lock().open.len()
    }

    pub(crate) fn peak(&self) -> usize {
        self.lock().peak
    }

    /// Ends all of them.
    pub(crate) fn close(&self) {
        for stream in self.lock().open.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nothing more will come: the end is what would be read next, or an error.
fn is_over(stream: &TcpStream) -> bool {
    let mut byte = [0];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match recv(stream, &mut byte, flags) {
        Ok((_, read)) => read == 0,
        Err(error) => error != rustix::io::Errno::AGAIN,
    }
}
