//! Probes of applications on loopback.

use super::{Answer, InvalidProbers, Probers};
use crate::Application;
use crate::fake_app::{App, beside, headers, http, nobody};
use bytes::Bytes;
use http::{HeaderMap, Response};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// The port that the sidecar has in these cases.
const OWN_PORT: u16 = 15020;

fn local() -> Application {
    beside("127.0.0.1")
}

/// Asks what this JSON says, as `/app-health/shop/livez`.
async fn ask(prober: &str, sent: &[(&str, &str)]) -> Answer {
    let json = format!(r#"{{"/app-health/shop/livez": {prober}}}"#);
    let probers = Probers::parse(&json).unwrap();
    let path = "/app-health/shop/livez";
    probers.ask(local(), path, &headers(sent), OWN_PORT).await
}

fn text(answer: &Answer) -> &str {
    str::from_utf8(&answer.body).unwrap()
}

#[tokio::test]
async fn the_request_is_the_kubelets_to_the_applications_port() {
    let mut app = App::answering(http(
        "418",
        "Content-Type: text/tea\r\nX-Own: a\r\n",
        "short",
    ))
    .await;
    let prober = format!(
        r#"{{"httpGet": {{"path": "/status?full", "port": {}, "scheme": "HTTP", "httpHeaders": [
            {{"name": "X-Set", "value": "by the probe"}}, {{"name": "X-Set", "value": "twice"}}
        ]}}, "timeoutSeconds": 20}}"#,
        app.port
    );
    let sent = [
        ("host", "10.0.0.5:15020"),
        ("user-agent", "kube-probe/1.33"),
        ("x-set", "by the kubelet"),
        ("accept", "*/*"),
        ("connection", "keep-alive"),
        ("content-length", "3"),
    ];
    let answer = ask(&prober, &sent).await;
    assert_eq!((answer.status.as_u16(), text(&answer)), (418, "short"));
    assert_eq!(answer.headers, headers(&[("content-type", "text/tea")]));
    let request = app.asked().await;
    let mut lines: Vec<_> = request.trim_end().split("\r\n").collect();
    lines[1..].sort_unstable();
    let host = format!("Host: 10.0.0.5:{}", app.port);
    let want = [
        "GET /status?full HTTP/1.1",
        "Accept: */*",
        "Connection: close",
        &host,
        "User-Agent: kube-probe/1.33",
        "X-Set: by the probe",
        "X-Set: twice",
    ];
    assert_eq!(lines, want);
}

#[tokio::test]
async fn the_host_is_who_is_asked_for() {
    let mut app = App::answering(http("200", "", "")).await;
    let port = app.port;
    let named = r#", "httpHeaders": [{"name": "Host", "value": "shop.test"}]"#;
    let own = format!("127.0.0.1:{port}");
    for (sent, more, want) in [
        (None, "", own),
        (Some("shop.test"), "", "shop.test".to_owned()),
        (Some("shop.test:80"), "", "shop.test:80".to_owned()),
        (Some("[fd00::5]:15020"), "", format!("[fd00::5]:{port}")),
        (
            Some("a:15020"),
            r#", "host": "b.test""#,
            format!("b.test:{port}"),
        ),
        (Some("a:15020"), r#", "host": """#, format!("a:{port}")),
        (Some("a:15020"), named, "shop.test".to_owned()),
    ] {
        let prober = format!(r#"{{"httpGet": {{"port": "{port}"{more}}}, "timeoutSeconds": 20}}"#);
        let sent: Vec<_> = sent.map(|host| ("host", host)).into_iter().collect();
        assert_eq!(ask(&prober, &sent).await.status, 200);
        let request = app.asked().await;
        let line = format!("\r\nHost: {want}\r\n");
        assert!(
            request.starts_with("GET / HTTP/1.1\r\n") && request.contains(&line),
            "{request}"
        );
    }
}

#[tokio::test]
async fn tls_is_spoken_to_whomever() {
    let app = App::answering_in_tls(http("200", "", "secret")).await;
    let prober = |scheme| {
        let port = app.port;
        format!(
            r#"{{"httpGet": {{"path": "healthz", "port": {port}, "scheme": "{scheme}"}}, "timeoutSeconds": 20}}"#
        )
    };
    let answer = ask(&prober("HTTPS"), &[]).await;
    assert_eq!((answer.status.as_u16(), text(&answer)), (200, "secret"));
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = plain.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut socket, _) = plain.accept().await.unwrap();
        socket.write_all(b"HTTP/1.1 400 X\r\n\r\n").await.unwrap();
    });
    let prober =
        format!(r#"{{"httpGet": {{"port": {port}, "scheme": "HTTPS"}}, "timeoutSeconds": 20}}"#);
    let answer = ask(&prober, &[]).await;
    assert_eq!(answer.status, 500);
    assert!(
        text(&answer).starts_with("no TLS with 127.0.0.1:"),
        "{}",
        text(&answer)
    );
}

#[tokio::test]
async fn of_a_long_body_the_beginning_is_passed_on() {
    for (length, want) in [(10_240, 10_240), (10_241, 10_240), (1 << 20, 10_240)] {
        let app = App::answering(http("503", "", &"x".repeat(length))).await;
        let prober = format!(
            r#"{{"httpGet": {{"port": {}}}, "timeoutSeconds": 20}}"#,
            app.port
        );
        let answer = ask(&prober, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (503, want));
    }
}

#[tokio::test]
async fn redirects_are_followed_at_the_same_host_alone() {
    let target = App::answering(http("204", "", "")).await;
    let there = format!("Location: http://127.0.0.1:{}/there\r\n", target.port);
    let elsewhere = "Location: http://elsewhere.test/\r\n";
    for (location, want) in [(there.as_str(), 204), (elsewhere, 302)] {
        let app = App::answering(http("302", location, "")).await;
        let prober = format!(
            r#"{{"httpGet": {{"port": {}}}, "timeoutSeconds": 20}}"#,
            app.port
        );
        let answer = ask(&prober, &[("host", "shop.test")]).await;
        assert_eq!(answer.status, want, "{location}");
        let location = answer.headers.get("location");
        assert_eq!(location.is_some(), want == 302);
    }
    let app = App::answering(http("301", "Location: /again\r\n", "")).await;
    let prober = format!(
        r#"{{"httpGet": {{"port": {}}}, "timeoutSeconds": 20}}"#,
        app.port
    );
    let answer = ask(&prober, &[]).await;
    assert_eq!(answer.status, 500);
    assert_eq!(text(&answer), "stopped after 10 redirects\n");
}

#[tokio::test]
async fn who_gives_no_answer_has_failed() {
    let nobody = nobody().await;
    let rude = App::answering("no HTTP").await;
    for (prober, want) in [
        (
            format!(r#"{{"httpGet": {{"port": {nobody}}}}}"#),
            "cannot connect to 127.0.0.1:",
        ),
        (
            format!(r#"{{"tcpSocket": {{"port": {nobody}}}}}"#),
            "cannot connect to 127.0.0.1:",
        ),
        (
            format!(r#"{{"grpc": {{"port": {nobody}}}}}"#),
            "cannot connect: ",
        ),
        (
            format!(
                r#"{{"httpGet": {{"port": {}}}, "timeoutSeconds": 20}}"#,
                rude.port
            ),
            "gave a broken answer",
        ),
    ] {
        let answer = ask(&prober, &[]).await;
        assert_eq!(answer.status, 500, "{prober}");
        assert!(text(&answer).contains(want), "{}", text(&answer));
    }
}

#[tokio::test]
async fn who_is_slow_has_failed() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let answer = ask(&format!(r#"{{"httpGet": {{"port": {port}}}}}"#), &[]).await;
    assert_eq!(
        (answer.status.as_u16(), text(&answer)),
        (500, "no answer within 1s\n")
    );
}

#[tokio::test]
async fn a_connection_is_enough_for_tcp() {
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = app.local_addr().unwrap().port();
    let answer = ask(&format!(r#"{{"tcpSocket": {{"port": {port}}}}}"#), &[]).await;
    assert_eq!(answer.status, 200);
}

/// Answers one call of the health service, and tells the service that was asked about.
async fn health_service(serving: u8) -> (u16, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (socket, _): (TcpStream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                let message = request.into_body().data().await.unwrap().unwrap();
                seen.send(message.to_vec()).unwrap();
                let head = Response::builder().header("content-type", "application/grpc");
                let mut stream = respond
                    .send_response(head.body(()).unwrap(), false)
                    .unwrap();
                let answer = Bytes::from(vec![0, 0, 0, 0, 2, 8, serving]);
                stream.send_data(answer, false).unwrap();
                stream
                    .send_trailers(headers(&[("grpc-status", "0")]))
                    .unwrap();
            });
        }
    });
    (port, asked)
}

#[tokio::test]
async fn grpc_has_to_be_serving() {
    for (serving, want) in [(1, 200), (2, 500)] {
        let (port, mut asked) = health_service(serving).await;
        let prober =
            format!(r#"{{"grpc": {{"port": {port}, "service": "a.B"}}, "timeoutSeconds": 20}}"#);
        let answer = ask(&prober, &[]).await;
        assert_eq!(answer.status, want, "{}", text(&answer));
        assert_eq!(asked.recv().await.unwrap(), b"\0\0\0\0\x05\x0a\x03a.B");
    }
}

#[tokio::test]
async fn an_unknown_path_is_told_in_istios_words() {
    let probers = Probers::parse("{}").unwrap();
    assert!(probers.is_empty());
    let path = "/app-health/other/readyz";
    let answer = probers
        .ask(local(), path, &HeaderMap::new(), OWN_PORT)
        .await;
    let want = "app prober config does not exists for /app-health/other/readyz";
    assert_eq!((answer.status.as_u16(), text(&answer)), (400, want));
}

#[test]
fn what_injection_writes_is_read() {
    let json = r#"{
        "/app-health/a/readyz": {"httpGet": {"path": "", "port": 80, "host": "", "scheme": "", "httpHeaders": null}},
        "/app-health/a/livez": {"tcpSocket": {"port": 80, "host": "10.0.0.1"}, "timeoutSeconds": 5},
        "/app-health/a/startupz": {"grpc": {"port": 80, "service": null}, "timeoutSeconds": 0},
        "/app-lifecycle/a/prestopz": {"httpGet": {"path": "/a b?c=d e", "port": 80}},
        "/app-lifecycle/a/poststartz": {"tcpSocket": {"port": 80}}
    }"#;
    let probers = Probers::parse(json).unwrap();
    assert_eq!(probers.len(), 5);
    let remark = "/app-health/a/livez: tcpSocket.host: `10.0.0.1` is not connected to, but the pod's address";
    assert_eq!(probers.remarks(), [remark]);
}

#[test]
fn timeouts_are_kubernetes_own() {
    let parsed = |path: &str, more: &str| {
        let json = format!(r#"{{"{path}": {{"tcpSocket": {{"port": 1}}{more}}}}}"#);
        super::written::parse(&json).unwrap().probers[path]
            .timeout
            .as_secs()
    };
    for (path, more, want) in [
        ("/app-health/a/livez", "", 1),
        ("/app-health/a/livez", r#", "timeoutSeconds": 0"#, 1),
        ("/app-health/a/livez", r#", "timeoutSeconds": 7"#, 7),
        ("/app-lifecycle/a/prestopz", "", 3600),
        ("/app-lifecycle/a/prestopz", r#", "timeoutSeconds": 7"#, 7),
    ] {
        assert_eq!(parsed(path, more), want, "{path} {more}");
    }
}

#[test]
fn paths_are_sent_as_they_are_written() {
    for (written, want) in [
        ("", "/"),
        ("healthz", "/healthz"),
        ("/a/../b?c=d/e", "/a/../b?c=d/e"),
        ("/a b?c=d e", "/a%20b?c=d%20e"),
        ("//a", "//a"),
        ("/a#b", "/a%23b"),
        ("/a%20b", "/a%20b"),
    ] {
        let json = format!(
            r#"{{"/app-health/a/livez": {{"httpGet": {{"port": 1, "path": "{written}"}}}}}}"#
        );
        let parsed = super::written::parse(&json).unwrap();
        let prober = &parsed.probers["/app-health/a/livez"];
        let super::written::Ask::Http(get) = &prober.ask else {
            panic!("{prober:?}");
        };
        assert_eq!(get.target.as_str(), want, "{written}");
    }
}

#[test]
fn what_cannot_be_asked_is_told() {
    let refused = |json: &str| {
        let error: InvalidProbers = Probers::parse(json).err().expect(json);
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", cause.unwrap_or_default())
    };
    let livez = |prober: &str| format!(r#"{{"/app-health/a/livez": {prober}}}"#);
    for (json, want) in [
        ("[]".to_owned(), "invalid type: sequence"),
        (livez("{}"), "is to be there, not 0"),
        (
            livez(r#"{"tcpSocket": {"port": 1}, "grpc": {"port": 1}}"#),
            "is to be there, not 2",
        ),
        (livez(r#"{"exec": {}}"#), "unknown field `exec`"),
        (
            livez(r#"{"tcpSocket": {"port": "http"}}"#),
            "`http` is the name of a port",
        ),
        (livez(r#"{"tcpSocket": {"port": 0}}"#), "0 is no port"),
        (
            livez(r#"{"tcpSocket": {"port": 65536}}"#),
            "65536 is no port",
        ),
        (
            livez(r#"{"httpGet": {"path": "/"}}"#),
            "missing field `port`",
        ),
        (
            livez(r#"{"httpGet": {"port": 1, "scheme": "FTP"}}"#),
            "`FTP` is neither HTTP nor",
        ),
        (
            livez(r#"{"httpGet": {"port": 1, "httpHeaders": [{"name": "a b"}]}}"#),
            "`a b` is no header's name",
        ),
        (
            livez(r#"{"httpGet": {"port": 1, "httpHeaders": [{"name": "a", "value": "\n"}]}}"#),
            "cannot be sent",
        ),
        (
            livez(r#"{"httpGet": {"port": 1, "host": "\n"}}"#),
            "is no host",
        ),
        (
            r#"{"/livez": {"tcpSocket": {"port": 1}}}"#.to_owned(),
            "`/livez` is no path of a probe",
        ),
        (
            r#"{"/app-health//livez": {"tcpSocket": {"port": 1}}}"#.to_owned(),
            "is no path of a probe",
        ),
        (
            r#"{"/app-health/a/prestopz": {"tcpSocket": {"port": 1}}}"#.to_owned(),
            "is no path of a probe",
        ),
    ] {
        let told = refused(&json);
        assert!(told.contains(want), "{json}: {told}");
    }
}
