//! Queries over UDP.

use crate::message::MAX_QUERY;
use crate::query::Transport;
use crate::work::{Desk, Step};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// How long to wait when nothing can be received, so that it is not tried all the time.
const PAUSE: Duration = Duration::from_millis(10);

/// Answers queries for ever. What is known here is answered at once, so that nobody who asks for it waits for others.
pub(crate) async fn serve(socket: UdpSocket, desk: Arc<Desk>) {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; MAX_QUERY];
    // As many as may be asked on at a time.
    let mut errands = JoinSet::new();
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            Some(_) = errands.join_next() => continue,
        };
        let (length, client) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "nothing can be received");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match desk.step(&buffer[..length], Transport::Udp) {
            Step::Silence => {}
            Step::Reply(reply) => send(&socket, &reply, client).await,
            Step::Ask(errand) => {
                let (socket, desk) = (Arc::clone(&socket), Arc::clone(&desk));
                errands.spawn(async move {
                    let reply = desk.run(*errand).await;
                    send(&socket, &reply, client).await;
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(reply, client).await {
        tracing::debug!(%error, %client, "an answer cannot be sent");
    }
}
