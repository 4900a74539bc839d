//! Streams in memory, with hardly any room.

use super::*;
use std::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

/// What the kernel would hold for a peer that does not read.
const ROOM: usize = 8;
const LONGEST_SILENCE: Duration = Duration::from_secs(300);
/// A WebSocket's.
const SILENCE: Silence = Silence {
    open: None,
    half: Some(LONGEST_SILENCE),
};

struct Tunnel {
    client: DuplexStream,
    upstream: DuplexStream,
    ends: JoinHandle<Ended>,
}

#[derive(Debug, Eq, PartialEq)]
struct Ended {
    end: End,
    received: u64,
    sent: u64,
    broken: Option<Side>,
    /// Whether the client was told the end of all that was for it.
    whole: bool,
}

impl Tunnel {
    fn open() -> Self {
        Self::bounded(SILENCE)
    }

    fn bounded(silence: Silence) -> Self {
        let (client, mut downstream) = duplex(ROOM);
        let (mut toward, upstream) = duplex(ROOM);
        let ends = tokio::spawn(async move {
            let mut ways = BothWays::new(Bytes::new(), Bytes::new(), silence);
            let end = poll_fn(|cx| ways.poll(cx, &mut downstream, &mut toward)).await;
            Ended {
                end,
                received: ways.received(),
                sent: ways.sent(),
                broken: ways.broken(),
                whole: ways.is_whole(Side::Downstream),
            }
        });
        Self {
            client,
            upstream,
            ends,
        }
    }
}

async fn rest(stream: &mut DuplexStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// Promise 15.
#[tokio::test(start_paused = true)]
async fn silence_ends_no_open_tunnel() {
    let mut tunnel = Tunnel::open();
    tokio::time::sleep(LONGEST_SILENCE * 100).await;
    tunnel.client.write_all(b"hello").await.unwrap();
    let mut read = [0; 5];
    tunnel.upstream.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"hello");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_tunnel_of_which_half_has_ended() {
    let mut tunnel = Tunnel::open();
    tunnel.client.shutdown().await.unwrap();
    assert_eq!(rest(&mut tunnel.upstream).await, "");
    for _ in 0..3 {
        tokio::time::sleep(LONGEST_SILENCE - Duration::from_secs(1)).await;
        tunnel.upstream.write_all(b"more").await.unwrap();
        tunnel.client.read_exact(&mut [0; 4]).await.unwrap();
    }
    let ended = tunnel.ends.await.unwrap();
    assert_eq!((ended.end, ended.sent), (End::Silent, 12));
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_silence_counts_from_what_moved_last() {
    let limit = Duration::from_secs(60);
    let mut tunnel = Tunnel::bounded(Silence {
        open: Some(limit),
        half: Some(limit),
    });
    let began = Instant::now();
    for _ in 0..3 {
        tokio::time::sleep(limit - Duration::from_secs(1)).await;
        tunnel.client.write_all(b"hello").await.unwrap();
        tunnel.upstream.read_exact(&mut [0; 5]).await.unwrap();
    }
    let ended = tunnel.ends.await.unwrap();
    assert_eq!((ended.end, ended.received), (End::Silent, 15));
    assert_eq!(began.elapsed().as_secs(), 3 * 59 + 60);
}

#[tokio::test]
async fn ends_that_were_passed_on_are_whole() {
    let mut tunnel = Tunnel::open();
    tunnel.upstream.write_all(b"bye").await.unwrap();
    tunnel.upstream.shutdown().await.unwrap();
    tunnel.client.shutdown().await.unwrap();
    assert_eq!(rest(&mut tunnel.client).await, "bye");
    let want = Ended {
        end: End::Complete,
        received: 0,
        sent: 3,
        broken: None,
        whole: true,
    };
    assert_eq!(tunnel.ends.await.unwrap(), want);
}

/// Also when it was the upstream's failure to take more that was noticed first.
#[tokio::test]
async fn what_had_arrived_before_a_connection_broke_is_delivered() {
    let mut tunnel = Tunnel::open();
    // More than the client has room for, so that it waits in the tunnel.
    tunnel.upstream.write_all(b"the last words").await.unwrap();
    drop(tunnel.upstream);
    tunnel.client.write_all(b"lost").await.unwrap();
    assert_eq!(rest(&mut tunnel.client).await, "the last words");
    let want = Ended {
        end: End::Complete,
        received: 4,
        sent: 14,
        broken: Some(Side::Upstream),
        // Its own end had come before.
        whole: true,
    };
    assert_eq!(tunnel.ends.await.unwrap(), want);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_does_not_read_holds_its_source_back() {
    let mut tunnel = Tunnel::open();
    let flood = vec![0; 2 * PIECE];
    let sending = tunnel.client.write_all(&flood);
    let held = tokio::time::timeout(Duration::from_secs(60), sending).await;
    assert!(held.is_err(), "everything was taken");
    let mut read = [0; 2 * ROOM];
    assert_eq!(tunnel.upstream.read(&mut read).await.unwrap(), ROOM);
}
