//! Bytes between a connection of ours and one that Pingora's HTTP/2 takes.
//!
//! Pingora hands its HTTP/2 nothing but sockets that it knows. One half of a pair of such sockets is given to it, and
//! a task moves the bytes between the other half and TLS: one more copy each way.

use std::io;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::net::UnixStream;

/// Bytes that may be under way in each direction.
const BUFFER: usize = 16 * 1024;

/// A socket whose bytes are those of `io`. It ends when either does.
pub(super) fn over<S>(mut io: S) -> io::Result<UnixStream>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (near, mut far) = UnixStream::pair()?;
    tokio::spawn(async move {
        // Whoever reads next sees how it ended.
        let _ = copy_bidirectional_with_sizes(&mut far, &mut io, BUFFER, BUFFER).await;
    });
    Ok(near)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test]
    async fn bytes_go_both_ways_and_so_do_ends() {
        let (inner, mut outer) = duplex(64);
        let mut near = over(inner).unwrap();
        near.write_all(b"ask").await.unwrap();
        let mut asked = [0; 3];
        outer.read_exact(&mut asked).await.unwrap();
        outer.write_all(b"answer").await.unwrap();
        drop(outer);
        let mut answer = String::new();
        near.read_to_string(&mut answer).await.unwrap();
        assert_eq!((&asked, answer.as_str()), (b"ask", "answer"));
    }
}
