//! Scrapes of applications.

use super::MetricsSource;
use crate::fake_app::{App, beside, headers, http, nobody};
use http::HeaderMap;
use tokio::net::TcpListener;

/// Where no application listens, as long as it does not listen everywhere.
const POD: &str = "127.0.0.2";

async fn scrape_with(port: u16, sent: &HeaderMap) -> Result<String, String> {
    let json = format!(r#"{{"scrape": "true", "path": "/own", "port": "{port}"}}"#);
    let source = MetricsSource::parse(&json, 15020).unwrap().unwrap();
    let pod = beside(POD);
    let scraped = source.scrape(pod, sent).await;
    let scraped = scraped.map_err(|failure| failure.chain())?;
    let text: Vec<_> = scraped.into_chunks().collect();
    Ok(String::from_utf8(text.concat()).unwrap())
}

async fn scrape(port: u16) -> Result<String, String> {
    scrape_with(port, &HeaderMap::new()).await
}

#[tokio::test]
async fn the_application_is_asked_for_the_text_format() {
    let mut app = App::answering(http("200", "Content-Type: text/plain\r\n", "up 1")).await;
    let sent = headers(&[
        ("accept", "application/openmetrics-text"),
        ("accept-encoding", "gzip"),
        ("user-agent", "Prometheus/3"),
        ("x-prometheus-scrape-timeout-seconds", "10"),
    ]);
    assert_eq!(scrape_with(app.port, &sent).await.as_deref(), Ok("up 1\n"));
    let request = app.asked().await;
    assert!(request.starts_with("GET /own HTTP/1.1\r\n"), "{request}");
    for line in [
        "Accept: text/plain;version=0.0.4;charset=utf-8,*/*;q=0.1",
        "User-Agent: Prometheus/3",
        "X-Prometheus-Scrape-Timeout-Seconds: 8",
    ] {
        assert!(request.contains(&format!("\r\n{line}\r\n")), "{request}");
    }
    assert!(!request.contains("gzip"), "{request}");
}

#[tokio::test]
async fn open_metrics_are_rewritten() {
    let body = "# TYPE a counter\na_total 1 # {} 1\n# EOF\n";
    let kind = "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    let app = App::answering(http("200", kind, body)).await;
    let want = "# TYPE a_total counter\na_total 1\n";
    assert_eq!(scrape(app.port).await.as_deref(), Ok(want));
}

/// As Istio, which knows no other address; but an application may listen at its pod's alone.
#[tokio::test]
async fn it_is_asked_on_loopback_and_then_at_the_pods_address() {
    let both = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = both.local_addr().unwrap().port();
    drop(both);
    let at = |host: &str| format!("{host}:{port}");
    let _pod = App::accepting_at(&at(POD), http("200", "", "at_pod 1\n"), None).await;
    assert_eq!(scrape(port).await.as_deref(), Ok("at_pod 1\n"));
    let _loopback = App::accepting_at(&at("127.0.0.1"), http("200", "", "local 1\n"), None).await;
    assert_eq!(scrape(port).await.as_deref(), Ok("local 1\n"));
}

#[tokio::test]
async fn what_cannot_be_told_with_others_is_a_failure() {
    let nobody = nobody().await;
    let told = scrape(nobody).await.unwrap_err();
    let want = format!("no answer: cannot connect to {POD}:{nobody}: ");
    assert!(told.starts_with(&want), "{told}");
    for (answer, want) in [
        (http("503", "", "up 1\n"), "status 503 Service Unavailable"),
        (
            http(
                "200",
                "Content-Type: application/vnd.google.protobuf\r\n",
                "x",
            ),
            "`application/vnd.google.protobuf` is not the text format",
        ),
        (
            http("200", "Content-Encoding: gzip\r\n", "x"),
            "`gzip` is not the text format",
        ),
        (
            http("200", "Content-Type: text/plain\r\n", "<html>"),
            "line 1 is no line of the format",
        ),
        (
            http("200", "", &"up 1\n".repeat((8 << 20) / 5 + 1)),
            "more than 8388608 bytes",
        ),
    ] {
        let app = App::answering(answer).await;
        assert_eq!(scrape(app.port).await, Err(want.to_owned()));
    }
}

/// Promise 19. The scraper gets the rest while it still waits.
#[tokio::test]
async fn an_application_that_is_silent_is_given_up_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let sent = headers(&[("x-prometheus-scrape-timeout-seconds", "0.25")]);
    let told = scrape_with(port, &sent).await;
    assert_eq!(told, Err("not within 200ms".to_owned()));
}

#[tokio::test]
async fn many_metrics_are_told_piece_by_piece() {
    let body = "up 1\n".repeat(50_000);
    let app = App::answering(http("200", "", &body)).await;
    assert_eq!(scrape(app.port).await, Ok(body));
}

#[tokio::test]
async fn few_of_them_are_held_at_a_time() {
    let app = App::answering(http("200", "", "up 1\n")).await;
    let json = format!(r#"{{"port": "{}"}}"#, app.port);
    let source = MetricsSource::parse(&json, 15020).unwrap().unwrap();
    let local = beside("127.0.0.1");
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(source.scrape(local, &HeaderMap::new()).await.unwrap());
    }
    let hurried = headers(&[("x-prometheus-scrape-timeout-seconds", "0.05")]);
    assert!(source.scrape(local, &hurried).await.is_err());
    held.clear();
    assert!(source.scrape(local, &HeaderMap::new()).await.is_ok());
}

#[test]
fn annotations_are_read_as_istio_reads_them() {
    let parse = |json: &str| {
        let source = MetricsSource::parse(json, 15020);
        let source = source.map_err(|error| error.to_string())?;
        Ok::<_, String>(source.map(|source| format!("{} {}", source.port, source.target)))
    };
    for (json, want) in [
        ("{}", Some("80 /metrics")),
        (r#"{"scrape":"","path":"","port":""}"#, Some("80 /metrics")),
        (
            r#"{"scrape":"true","path":"/own?a=b","port":"9100"}"#,
            Some("9100 /own?a=b"),
        ),
        (r#"{"scrape":"false","path":"/own","port":"9100"}"#, None),
    ] {
        assert_eq!(parse(json).unwrap().as_deref(), want, "{json}");
    }
    for (json, want) in [
        ("1", "no object of `scrape`"),
        (r#"{"scheme":"https"}"#, "no object of `scrape`"),
        (r#"{"port":"http"}"#, "port: `http` is no port"),
        (r#"{"port":"0"}"#, "port: `0` is no port"),
        (r#"{"path":"metrics"}"#, "path: `metrics` is no path"),
        (r#"{"path":"/a b"}"#, "path: `/a b` is no path"),
        (r#"{"port":"15020"}"#, "port: 15020 is the sidecar's own"),
    ] {
        let told = parse(json).unwrap_err();
        assert!(told.starts_with(want), "{json}: {told}");
    }
}
