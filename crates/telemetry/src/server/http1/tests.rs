//! The servers over loopback.

use super::*;
use crate::Metrics;
use crate::Readiness;
use crate::server::{metrics_pages, status_pages};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server on a port of its own.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl Running {
    fn start(pages: Pages, limits: Limits) -> Self {
        let server = PageServer::bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self::start_server(PageServer { limits, ..server }, pages)
    }

    fn start_server(server: PageServer, pages: Pages) -> Self {
        let address = server.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(server.serve(pages, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            stop,
            task,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Everything that comes back for these bytes until the server closes the connection.
    async fn send(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }

    async fn ask(&self, method: &str, target: &str, headers: &str) -> String {
        let host = self.address;
        self.send(&format!(
            "{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n"
        ))
        .await
    }
}

/// A connection that is reset ends as well.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes))
        .await
        .expect("an end");
    String::from_utf8(bytes).unwrap()
}

fn status(response: &str) -> &str {
    response.split(' ').nth(1).unwrap_or_default()
}

fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn pages() -> Pages {
    let mut pages = Pages::with_index("Tidegate <admin>");
    let list = [
        Page::get("/clusters", "clusters & endpoints", |_| {
            PageResponse::text("none\n")
        }),
        Page::get("/logging", "the level", |_| PageResponse::text("info\n")),
        Page::post("/logging", "change the level", |request| {
            PageResponse::text(format!(
                "{:?} {}\n",
                request.parameter("level"),
                request.body.len()
            ))
        }),
        Page::get("/broken", "fails", |_| panic!("on purpose")),
    ];
    for page in list {
        pages.add(page).unwrap();
    }
    pages
}

#[tokio::test]
async fn pages_answer() {
    let server = Running::start(pages(), LIMITS);
    let response = server.ask("GET", "/clusters?x=1", "").await;
    assert_eq!((status(&response), body(&response)), ("200", "none\n"));
    assert!(
        response.contains("content-type: text/plain; charset=utf-8\r\n"),
        "{response}"
    );
}

#[tokio::test]
async fn a_post_hands_over_its_parameters_and_body() {
    let server = Running::start(pages(), LIMITS);
    let request = "POST /logging?level=debug HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc";
    let response = server.send(request).await;
    assert_eq!(
        (status(&response), body(&response)),
        ("200", "Some(\"debug\") 3\n")
    );
}

#[tokio::test]
async fn head_has_the_head_of_get_alone() {
    let server = Running::start(pages(), LIMITS);
    let response = server.ask("HEAD", "/clusters", "").await;
    assert_eq!((status(&response), body(&response)), ("200", ""));
    assert!(response.contains("content-length: 5\r\n"), "{response}");
}

#[tokio::test]
async fn an_unknown_path_gets_the_list() {
    let server = Running::start(pages(), LIMITS);
    let response = server.ask("GET", "/nothing", "").await;
    assert_eq!(status(&response), "404");
    assert!(
        body(&response).contains("GET   /clusters  clusters & endpoints\n"),
        "{response}"
    );
    assert!(
        body(&response).contains("POST  /logging   change the level\n"),
        "{response}"
    );
}

#[tokio::test]
async fn another_method_is_told_which_to_use() {
    let server = Running::start(pages(), LIMITS);
    for (method, target, allow) in [
        ("POST", "/clusters", "GET, HEAD"),
        ("DELETE", "/clusters", "GET, HEAD, POST"),
    ] {
        let response = server.ask(method, target, "").await;
        assert_eq!(status(&response), "405", "{response}");
        assert!(
            response.contains(&format!("allow: {allow}\r\n")),
            "{response}"
        );
    }
}

#[tokio::test]
async fn index_and_help_are_made_of_the_pages() {
    let server = Running::start(pages(), LIMITS);
    let response = server.ask("GET", "/", "").await;
    assert!(
        response.contains("content-type: text/html; charset=utf-8\r\n"),
        "{response}"
    );
    for part in [
        "<h1>Tidegate &lt;admin&gt;</h1>",
        "<a href=\"/clusters\">/clusters</a></td><td>clusters &amp; endpoints</td>",
        "<form method=\"post\" action=\"/logging\">",
    ] {
        assert!(body(&response).contains(part), "{part} in {response}");
    }
    let help = server.ask("GET", "/help", "").await;
    assert!(
        body(&help).starts_with("Tidegate <admin>\n\nGET   /broken"),
        "{help}"
    );
}

#[tokio::test]
async fn a_page_that_panics_harms_only_its_answer() {
    let server = Running::start(pages(), LIMITS);
    assert_eq!(status(&server.ask("GET", "/broken", "").await), "500");
    assert_eq!(status(&server.ask("GET", "/clusters", "").await), "200");
}

#[tokio::test]
async fn a_browser_cannot_change_anything_for_another_site() {
    let server = Running::start(pages(), LIMITS);
    let port = server.address.port();
    for (origin, host, want) in [
        (
            format!("http://127.0.0.1:{port}"),
            format!("127.0.0.1:{port}"),
            "200",
        ),
        (
            format!("http://localhost:{port}"),
            format!("localhost:{port}"),
            "200",
        ),
        (
            format!("http://[::1]:{port}"),
            format!("[::1]:{port}"),
            "200",
        ),
        (
            "http://evil.test".into(),
            format!("127.0.0.1:{port}"),
            "403",
        ),
        ("http://rebound.test".into(), "rebound.test".into(), "403"),
        (
            "http://localhost.evil.test".into(),
            "localhost.evil.test".into(),
            "403",
        ),
        ("null".into(), format!("127.0.0.1:{port}"), "403"),
    ] {
        let request = format!(
            "POST /logging HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\nconnection: close\r\n\r\n"
        );
        assert_eq!(
            status(&server.send(&request).await),
            want,
            "{origin} at {host}"
        );
    }
}

/// Promise 19.
#[tokio::test]
async fn a_client_that_is_slow_to_send_its_head_is_cut() {
    let server = Running::start(
        pages(),
        Limits {
            head: Duration::from_millis(50),
            ..LIMITS
        },
    );
    assert_eq!(
        body(&server.send("GET /clusters HTTP/1.1\r\nhost: local").await),
        ""
    );
}

/// Promise 19.
#[tokio::test]
async fn a_client_that_is_slow_to_send_its_body_is_answered_408() {
    let server = Running::start(
        pages(),
        Limits {
            body: Duration::from_millis(50),
            ..LIMITS
        },
    );
    let response = server
        .ask("POST", "/logging", "content-length: 9\r\n")
        .await;
    assert_eq!(status(&response), "408");
}

/// Promise 19.
#[tokio::test]
async fn too_large_a_head_or_body_is_refused() {
    let server = Running::start(
        pages(),
        Limits {
            body_bytes: 10,
            ..LIMITS
        },
    );
    let head = format!("x-large: {}\r\n", "x".repeat(LIMITS.head_bytes));
    assert_eq!(status(&server.ask("GET", "/clusters", &head).await), "431");
    let request = "POST /logging HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 11\r\n\r\n01234567890";
    assert_eq!(status(&server.send(request).await), "413");
}

/// Promise 19.
#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away() {
    let server = Running::start(
        pages(),
        Limits {
            connections: 1,
            ..LIMITS
        },
    );
    let mut first = server.connect().await;
    first
        .write_all(b"GET /clusters HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut start = [0; 12];
    first.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    let mut second = server.connect().await;
    let response = read_to_end(&mut second).await;
    assert_eq!(
        (status(&response), body(&response)),
        ("503", "too many connections\n")
    );
}

/// Promise 19.
#[test]
fn a_client_keeps_no_other_away() {
    let [greedy, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
    let mut seats = Seats::new(Limits {
        connections: 3,
        of_one_client: 2,
        ..LIMITS
    });
    let held: Vec<_> = (0..5).filter_map(|_| seats.take(greedy)).collect();
    assert_eq!(held.len(), 2);
    let third = seats.take(other);
    assert!(third.is_some());
    assert!(seats.take(other).is_none(), "there are no more");
    drop(held);
    assert!(seats.take(greedy).is_some());
}

#[tokio::test]
async fn a_connection_ends_when_it_is_old() {
    let server = Running::start(
        pages(),
        Limits {
            age: Duration::from_millis(50),
            ..LIMITS
        },
    );
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET /clusters HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(status(&read_to_end(&mut stream).await), "200");
}

#[tokio::test]
async fn stopping_lets_an_answer_finish() {
    let (enter, entered) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (enter, released) = (
        std::sync::Mutex::new(enter),
        std::sync::Mutex::new(released),
    );
    let mut pages = Pages::new("test");
    let slow = Page::get("/slow", "slow", move |_| {
        enter.lock().unwrap().send(()).unwrap();
        released.lock().unwrap().recv().unwrap();
        PageResponse::text("done\n")
    });
    pages.add(slow).unwrap();
    let server = Running::start(pages, LIMITS);
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    spawn_blocking(move || entered.recv().unwrap())
        .await
        .unwrap();
    server.stop.send(()).unwrap();
    release.send(()).unwrap();
    assert_eq!(body(&read_to_end(&mut stream).await), "done\n");
    server.task.await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

/// Promise 19.
#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let mut pages = Pages::new("test");
    let endless = || std::iter::repeat_with(|| Bytes::from(vec![b'x'; 64 << 10]));
    let page = Page::get("/endless", "", move |_| {
        PageResponse::chunks("text/plain", endless())
    });
    pages.add(page).unwrap();
    let server = Running::start(
        pages,
        Limits {
            grace: Duration::from_millis(50),
            ..LIMITS
        },
    );
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    stream.read_u8().await.unwrap();
    server.stop.send(()).unwrap();
    let ended = timeout(Duration::from_secs(20), server.task).await;
    ended.expect("the connection is closed").unwrap().unwrap();
}

#[tokio::test]
async fn ready_is_200_and_not_ready_503_with_the_reason() {
    let readiness = Readiness::new();
    let server = Running::start(status_pages(&readiness), LIMITS);
    let response = server.ask("GET", "/healthz/ready", "").await;
    assert_eq!(
        (status(&response), body(&response)),
        ("503", "not ready: starting\n")
    );
    readiness.set_ready();
    let response = server.ask("GET", "/healthz/ready", "").await;
    assert_eq!((status(&response), body(&response)), ("200", "ready\n"));
    readiness.set_not_ready("draining");
    let response = server.ask("GET", "/healthz/ready", "").await;
    assert_eq!(
        (status(&response), body(&response)),
        ("503", "not ready: draining\n")
    );
}

#[tokio::test]
async fn metrics_are_served_on_both_paths() {
    let server = Running::start(metrics_pages(&Arc::new(Metrics::new("0.1.0"))), LIMITS);
    for path in ["/metrics", "/stats/prometheus"] {
        let response = server.ask("GET", path, "").await;
        assert_eq!(status(&response), "200");
        assert!(
            response.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
            "{response}"
        );
        assert!(
            response.contains("\nistio_build{component=\"proxy\",tag=\"0.1.0\"} 1\n"),
            "{response}"
        );
    }
    let head = server.ask("HEAD", "/metrics", "").await;
    assert_eq!((status(&head), body(&head)), ("200", ""));
}

#[test]
fn an_address_in_use_is_an_error() {
    let first = PageServer::bind(([127, 0, 0, 1], 0).into()).unwrap();
    assert!(PageServer::bind(first.local_addr().unwrap()).is_err());
}

#[tokio::test]
async fn pages_that_are_not_everybodys_are_shown_by_own_names_only() {
    let server = PageServer::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let own = Running::start_server(server.own_names_only(), pages());
    let any = Running::start(pages(), LIMITS);
    for (host, want) in [
        ("localhost", "200"),
        ("LocalHost:15000", "200"),
        ("gateway.localhost:15000", "200"),
        ("127.0.0.1:15000", "200"),
        ("10.1.2.3", "200"),
        ("[::1]", "200"),
        ("[::1]:15000", "200"),
        ("evil.test", "403"),
        ("evil.test:15000", "403"),
        ("localhost.evil.test", "403"),
        ("localhost:80:evil.test", "403"),
        ("127.0.0.1.evil.test", "403"),
    ] {
        let request =
            format!("GET /clusters HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        assert_eq!(status(&own.send(&request).await), want, "{host}");
        assert_eq!(status(&any.send(&request).await), "200", "{host}");
    }
}

/// With the clock paused, it goes on whenever everybody waits.
#[tokio::test(start_paused = true)]
async fn a_page_that_waits_is_not_hurried() {
    let mut pages = Pages::new("test");
    let page = Page::get_waiting("/hook/", "waits", |request| async move {
        sleep(Duration::from_secs(3600)).await;
        let from = request.headers["x-from"].to_str().unwrap();
        PageResponse::text(format!("{} {from}\n", request.path))
    });
    pages.add(page).unwrap();
    let server = Running::start(pages, LIMITS);
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET /hook/a HTTP/1.1\r\nhost: a\r\nx-from: kubelet\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(body(&answer), "/hook/a kubelet\n");
}

#[tokio::test]
async fn a_page_that_waits_for_a_client_that_is_gone_is_dropped() {
    let (asked, mut was_asked) = tokio::sync::mpsc::channel(1);
    let mut pages = Pages::new("test");
    let page = Page::get_waiting("/hook", "waits", move |_| {
        let asked = asked.clone();
        async move {
            let (held, dropped) = oneshot::channel::<()>();
            asked.send(dropped).await.unwrap();
            std::future::pending::<()>().await;
            drop(held);
            PageResponse::text("")
        }
    });
    pages.add(page).unwrap();
    let server = Running::start(pages, LIMITS);
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET /hook HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let dropped = was_asked.recv().await.unwrap();
    drop(stream);
    let dropped = timeout(Duration::from_secs(20), dropped).await;
    assert!(dropped.expect("the page is dropped").is_err());
}
