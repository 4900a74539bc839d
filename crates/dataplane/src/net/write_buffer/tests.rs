use super::*;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::task::Waker;

/// A stream that answers each call as it is told, and takes everything after that.
#[derive(Default)]
struct Script {
    /// How many bytes the next calls take.
    answers: VecDeque<Poll<io::Result<usize>>>,
    taken: Vec<u8>,
    calls: usize,
}

impl Script {
    fn answering<const N: usize>(answers: [Poll<io::Result<usize>>; N]) -> Self {
        Self {
            answers: answers.into(),
            ..Self::default()
        }
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.calls += 1;
        let answer = self.answers.pop_front();
        let most = ready!(answer.unwrap_or(Poll::Ready(Ok(usize::MAX))))?;
        let mut offered = bufs.iter().flat_map(|buf| buf.iter().copied());
        let before = self.taken.len();
        self.taken.extend(offered.by_ref().take(most));
        Poll::Ready(Ok(self.taken.len() - before))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

const fn takes(bytes: usize) -> Poll<io::Result<usize>> {
    Poll::Ready(Ok(bytes))
}

fn breaks() -> Poll<io::Result<usize>> {
    Poll::Ready(Err(ErrorKind::BrokenPipe.into()))
}

fn holding(bytes: &[u8]) -> WriteBuffer {
    let mut buffer = WriteBuffer::default();
    buffer.push(bytes);
    buffer
}

fn drain(buffer: &mut WriteBuffer, target: &mut Script) -> Poll<Result<(), ErrorKind>> {
    let cx = &mut Context::from_waker(Waker::noop());
    buffer.poll_drain(cx, target).map_err(|error| error.kind())
}

fn write<const N: usize>(
    buffer: &mut WriteBuffer,
    target: &mut Script,
    bufs: [&[u8]; N],
) -> Poll<Result<usize, ErrorKind>> {
    let cx = &mut Context::from_waker(Waker::noop());
    let bufs = bufs.map(IoSlice::new);
    buffer
        .poll_write(cx, target, &bufs)
        .map_err(|error| error.kind())
}

#[test]
fn writes_are_gathered_until_they_are_too_many() {
    let mut buffer = WriteBuffer::default();
    let bufs = [IoSlice::new(b"head"), IoSlice::new(b"body")];
    assert_eq!(buffer.gather(&bufs), Some(8));
    assert_eq!(
        buffer.gather(&[IoSlice::new(&[0; GATHER - 8])]),
        Some(GATHER - 8)
    );
    assert_eq!(buffer.gather(&[IoSlice::new(b"!")]), None);
    let mut target = Script::default();
    assert_eq!(drain(&mut buffer, &mut target), Poll::Ready(Ok(())));
    assert_eq!((target.taken.len(), target.calls), (GATHER, 1));
    assert!(target.taken.starts_with(b"headbody\0"));
}

#[test]
fn a_stream_may_take_what_waits_in_pieces() {
    let mut buffer = holding(b"bytes");
    let mut target = Script::answering([takes(1), takes(2), Poll::Pending]);
    assert_eq!(drain(&mut buffer, &mut target), Poll::Pending);
    assert_eq!(target.taken, b"byt");
    buffer.push(b" and more");
    assert_eq!(drain(&mut buffer, &mut target), Poll::Ready(Ok(())));
    assert_eq!(target.taken, b"bytes and more");
    assert!(buffer.is_empty());
}

#[test]
fn where_nothing_waits_nothing_is_written() {
    let mut target = Script::default();
    assert_eq!(drain(&mut holding(b""), &mut target), Poll::Ready(Ok(())));
    assert_eq!(target.calls, 0);
}

#[test]
fn a_stream_that_takes_nothing_is_broken() {
    let broken = Poll::Ready(Err(ErrorKind::WriteZero));
    let mut target = Script::answering([takes(2), takes(0)]);
    assert_eq!(drain(&mut holding(b"bytes"), &mut target), broken);
    let mut target = Script::answering([takes(0), takes(0)]);
    let written = write(&mut holding(b"head"), &mut target, [b"body"]);
    assert_eq!(written, Poll::Ready(Err(ErrorKind::WriteZero)));
}

#[test]
fn an_error_is_passed_on_wherever_it_comes() {
    let broken = ErrorKind::BrokenPipe;
    let mut target = Script::answering([takes(2), breaks()]);
    let drained = drain(&mut holding(b"bytes"), &mut target);
    assert_eq!(drained, Poll::Ready(Err(broken)));
    let scripts = [
        Script::answering([breaks()]),
        Script::answering([takes(2), breaks()]),
        Script::answering([takes(2), takes(2), breaks()]),
    ];
    for mut target in scripts {
        let written = write(&mut holding(b"head"), &mut target, [b"body"]);
        assert_eq!(written, Poll::Ready(Err(broken)), "call {}", target.calls);
    }
}

#[test]
fn what_waits_and_what_is_written_leave_in_one_call() {
    let mut target = Script::default();
    let mut buffer = holding(b"head");
    let written = write(&mut buffer, &mut target, [b"bo", b"dy"]);
    assert_eq!(written, Poll::Ready(Ok(4)));
    assert_eq!((&*target.taken, target.calls), (&b"headbody"[..], 1));
    assert!(buffer.is_empty());
}

#[test]
fn only_what_went_of_a_write_counts() {
    // How much each call takes, and how much of the body went.
    for (first, second, want) in [(6, 0, 2), (4, 3, 3), (4, 4, 4)] {
        let mut target = Script::answering([takes(first), takes(second)]);
        let written = write(&mut holding(b"head"), &mut target, [b"body"]);
        assert_eq!(written, Poll::Ready(Ok(want)), "{first} and {second}");
        assert_eq!(target.taken, &b"headbody"[..4 + want]);
    }
}

#[test]
fn a_write_goes_behind_the_rest_of_what_waits() {
    let mut target = Script::answering([takes(1), takes(1)]);
    let written = write(&mut holding(b"head"), &mut target, [b"body"]);
    assert_eq!(written, Poll::Ready(Ok(4)));
    assert_eq!((&*target.taken, target.calls), (&b"headbody"[..], 4));
}

#[test]
fn a_write_that_has_to_wait_is_not_sent_twice() {
    let mut buffer = holding(b"head");
    let mut target = Script::answering([takes(2), Poll::Pending, takes(2), Poll::Pending]);
    assert_eq!(write(&mut buffer, &mut target, [b"body"]), Poll::Pending);
    assert_eq!(write(&mut buffer, &mut target, [b"body"]), Poll::Pending);
    assert!(buffer.is_empty());
    let written = write(&mut buffer, &mut target, [b"body"]);
    assert_eq!(written, Poll::Ready(Ok(4)));
    assert_eq!(target.taken, b"headbody");
}

#[test]
fn of_many_slices_the_first_go_with_what_waits() {
    let mut target = Script::default();
    let slices: [&[u8]; 6] = [b"1", b"2", b"3", b"4", b"5", b"6"];
    let written = write(&mut holding(b"0"), &mut target, slices);
    assert_eq!(written, Poll::Ready(Ok(TOGETHER)));
    assert_eq!(target.taken, b"01234");
    let written = write(&mut holding(b""), &mut target, slices);
    assert_eq!(written, Poll::Ready(Ok(6)));
}

#[test]
fn a_connection_that_waits_keeps_little_room() {
    for length in [KEPT, KEPT + 1, GATHER] {
        let mut buffer = holding(&vec![0; length]);
        let mut target = Script::answering([takes(1000), takes(1000)]);
        assert_eq!(drain(&mut buffer, &mut target), Poll::Ready(Ok(())));
        buffer.shrink();
        // A buffer that is used again finds all its room.
        buffer.push(b"!");
        assert!(buffer.bytes.capacity() <= KEPT, "after {length}");
    }
}
