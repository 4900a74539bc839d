//! An application beside the sidecar, or behind a service.

use crate::agent::PATIENCE;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

/// Answers requests on a port of 127.0.0.1, each when it is let.
pub(crate) struct App {
    pub(crate) port: u16,
    requests: mpsc::Receiver<String>,
    answers: mpsc::Sender<()>,
}

impl App {
    /// Answers with these bytes and closes, at once.
    pub(crate) fn answering(status: &str, headers: &str, body: &str) -> Self {
        let app = Self::waiting(status, headers, body);
        for _ in 0..100 {
            app.answer();
        }
        app
    }

    /// Answers with these bytes and closes, once for each [`Self::answer`].
    pub(crate) fn waiting(status: &str, headers: &str, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        let (told, requests) = mpsc::channel();
        let (answers, let_go) = mpsc::channel();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(mut socket) = socket else { return };
                let is_wanted = told.send(head(&mut socket)).is_ok() && let_go.recv().is_ok();
                if !is_wanted {
                    return;
                }
                let _ = socket.write_all(answer.as_bytes());
            }
        });
        Self {
            port,
            requests,
            answers,
        }
    }

    /// Lets it give an answer.
    pub(crate) fn answer(&self) {
        let _ = self.answers.send(());
    }

    /// The head of its next request.
    pub(crate) fn asked(&self) -> String {
        let request = self.requests.recv_timeout(PATIENCE);
        request.expect("a request")
    }
}

fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Sends back what it gets, on a port of 127.0.0.1.
pub(crate) fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            std::thread::spawn(move || {
                let mut back = socket.try_clone().expect("a second handle");
                let _ = std::io::copy(&mut socket, &mut back);
            });
        }
    });
    port
}
