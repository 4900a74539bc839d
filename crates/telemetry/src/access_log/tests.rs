//! Lines as they are written, and what becomes of those that cannot be.

use super::*;
use proptest::prelude::*;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

const LONG: Duration = Duration::from_secs(20);

fn dropped() -> IntCounter {
    IntCounter::new("dropped", "dropped").unwrap()
}

fn socket(text: &str) -> Option<Address<'static>> {
    Some(text.parse::<SocketAddr>().unwrap().into())
}

fn line(format: Format, record: &AccessRecord<'_>) -> String {
    let mut out = Vec::new();
    format.write(record, &mut out);
    String::from_utf8(out).unwrap()
}

fn start_time() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_606_339_578_409)
}

/// The example of Istio's documentation.
fn teapot() -> AccessRecord<'static> {
    AccessRecord {
        method: b"GET",
        path: b"/status/418",
        protocol: "HTTP/1.1",
        response_code: 418,
        response_code_details: "via_upstream",
        bytes_sent: 135,
        duration: Duration::from_micros(4999),
        upstream_service_time: Some(Duration::from_millis(4)),
        user_agent: b"curl/7.73.0-DEV",
        request_id: b"84961386-6d84-929d-98bd-c5aee93b5c88",
        authority: b"httpbin:8000",
        upstream_host: socket("127.0.0.1:80"),
        upstream_cluster: "inbound|8000||",
        upstream_local_address: socket("127.0.0.1:41854"),
        downstream_local_address: socket("10.44.1.27:80"),
        downstream_remote_address: socket("10.44.1.23:37652"),
        requested_server_name: "outbound_.8000_._.httpbin.foo.svc.cluster.local",
        route_name: "default",
        ..AccessRecord::new(start_time())
    }
}

/// Promise 1.
fn refused() -> AccessRecord<'static> {
    AccessRecord {
        method: b"GET",
        path: b"/cart?id=1",
        protocol: "HTTP/2",
        response_code: 503,
        flags: ResponseFlags::URX | ResponseFlags::UF,
        response_code_details: "upstream_reset_before_response_started{remote_connection_failure}",
        upstream_transport_failure_reason: "delayed connect error: Connection refused",
        bytes_received: 17,
        bytes_sent: 95,
        duration: Duration::from_millis(1200),
        x_forwarded_for: b"203.0.113.7,10.0.0.1",
        authority: b"shop.test",
        upstream_host: socket("[2001:db8::1]:8080"),
        downstream_local_address: Some(Address::Text("/run/gateway.sock")),
        reason: "connect_failed",
        origin: Some(&"VirtualService shop/checkout spec.http[1] (conf/shop.yaml:14:5)"),
        ..AccessRecord::new(start_time())
    }
}

#[test]
fn text_is_istios_default_format_then_the_reason() {
    let istio = concat!(
        r#"[2020-11-25T21:26:18.409Z] "GET /status/418 HTTP/1.1" 418 - via_upstream - "-" 0 135 4 4 "-" "#,
        r#""curl/7.73.0-DEV" "84961386-6d84-929d-98bd-c5aee93b5c88" "httpbin:8000" "127.0.0.1:80" "#,
        r#"inbound|8000|| 127.0.0.1:41854 10.44.1.27:80 10.44.1.23:37652 "#,
        r#"outbound_.8000_._.httpbin.foo.svc.cluster.local default"#,
    );
    assert_eq!(line(Format::Text, &teapot()), format!("{istio} - \"-\"\n"));
}

/// Promise 1.
#[test]
fn text_names_the_reason_and_the_object_that_caused_it() {
    let want = concat!(
        r#"[2020-11-25T21:26:18.409Z] "GET /cart?id=1 HTTP/2" 503 URX,UF "#,
        r#"upstream_reset_before_response_started{remote_connection_failure} - "#,
        r#""delayed connect error: Connection refused" 17 95 1200 - "203.0.113.7,10.0.0.1" "-" "-" "#,
        r#""shop.test" "[2001:db8::1]:8080" - - /run/gateway.sock - - - connect_failed "#,
        r#""VirtualService shop/checkout spec.http[1] (conf/shop.yaml:14:5)""#,
        "\n",
    );
    assert_eq!(line(Format::Text, &refused()), want);
}

#[test]
fn text_of_a_tcp_connection_has_no_request() {
    let got = line(Format::Text, &AccessRecord::new(start_time()));
    let want = r#"[2020-11-25T21:26:18.409Z] "- - -" 0 - - - "-" 0 0 0 - "-" "-" "-" "-" "-" - - - - - - - "-""#;
    assert_eq!(got, format!("{want}\n"));
}

#[test]
fn json_has_istios_keys_then_reason_and_origin() {
    let want = concat!(
        r#"{"start_time":"2020-11-25T21:26:18.409Z","route_name":"default","method":"GET","#,
        r#""path":"/status/418","protocol":"HTTP/1.1","response_code":418,"response_flags":"-","#,
        r#""response_code_details":"via_upstream","connection_termination_details":null,"#,
        r#""bytes_received":0,"bytes_sent":135,"duration":4,"upstream_service_time":"4","#,
        r#""x_forwarded_for":null,"user_agent":"curl/7.73.0-DEV","#,
        r#""request_id":"84961386-6d84-929d-98bd-c5aee93b5c88","authority":"httpbin:8000","#,
        r#""upstream_host":"127.0.0.1:80","upstream_cluster":"inbound|8000||","#,
        r#""upstream_local_address":"127.0.0.1:41854","downstream_local_address":"10.44.1.27:80","#,
        r#""downstream_remote_address":"10.44.1.23:37652","#,
        r#""requested_server_name":"outbound_.8000_._.httpbin.foo.svc.cluster.local","#,
        r#""upstream_transport_failure_reason":null,"reason":null,"origin":null}"#,
        "\n",
    );
    assert_eq!(line(Format::Json, &teapot()), want);
}

#[test]
fn json_can_be_parsed_whatever_came() {
    let record = AccessRecord {
        path: b"/\"\\\n\x00\x7f\xff\xc3\xa9\xe2\x80\xa8",
        authority: "a\u{202e}b😀".as_bytes(),
        ..refused()
    };
    let text = line(Format::Json, &record);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["path"], "/\"\\\n\u{0}\u{7f}\u{fffd}é\u{2028}");
    assert_eq!(value["authority"], "a\u{202e}b😀");
    assert_eq!(
        value["origin"],
        "VirtualService shop/checkout spec.http[1] (conf/shop.yaml:14:5)"
    );
    assert!(
        !text.contains('\u{2028}') && !text.contains('\u{202e}'),
        "{text}"
    );
}

#[test]
fn values_from_the_network_are_escaped() {
    #[track_caller]
    fn check(value: &[u8], bare: &str, quoted: &str) {
        let record = AccessRecord {
            path: value,
            user_agent: value,
            ..AccessRecord::new(start_time())
        };
        let text = line(Format::Text, &record);
        assert!(text.contains(&format!("\"- {bare} -\" ")), "{text}");
        assert!(
            text.contains(&format!(" \"-\" \"{quoted}\" \"-\" ")),
            "{text}"
        );
    }
    check(b"a b", r"a\x20b", "a b");
    check(b"a\r\nb", r"a\x0d\x0ab", r"a\x0d\x0ab");
    check(b"a\" 200 \"", r"a\x22\x20200\x20\x22", r"a\x22 200 \x22");
    check(b"\\x22", r"\x5cx22", r"\x5cx22");
    check(b"\x1b[31m\x7f", r"\x1b[31m\x7f", r"\x1b[31m\x7f");
    check("žluťoučký".as_bytes(), "žluťoučký", "žluťoučký");
    check(
        "\u{202e}\u{85}".as_bytes(),
        r"\xe2\x80\xae\xc2\x85",
        r"\xe2\x80\xae\xc2\x85",
    );
    check(b"\xff\xfe", r"\xff\xfe", r"\xff\xfe");
}

proptest! {
    /// Whatever a client or an upstream sends, a line stays one line with its fields where they belong.
    #[test]
    fn a_line_cannot_be_forged(
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
        text in any::<String>(),
    ) {
        let record = AccessRecord {
            method: &bytes, path: &bytes, user_agent: &bytes, authority: &bytes, x_forwarded_for: &bytes,
            request_id: &bytes, response_code_details: &text, requested_server_name: &text,
            upstream_transport_failure_reason: &text, reason: &text, origin: Some(&text),
            upstream_host: Some(Address::Text(&text)), protocol: &text, route_name: &text,
            ..AccessRecord::new(start_time())
        };
        let line = line(Format::Text, &record);
        prop_assert!(line.trim_end_matches('\n').chars().all(|char| !char.is_control()));
        prop_assert_eq!(line.matches('\n').count(), 1);
        prop_assert_eq!(line.matches('"').count(), 16);
        let unquoted: String = line.split('"').step_by(2).collect();
        prop_assert_eq!(unquoted.split_whitespace().count(), 16);
        let request = line.split('"').nth(1).unwrap();
        prop_assert_eq!(request.split(' ').count(), 3);
    }

    #[test]
    fn a_json_line_is_one_object(bytes in proptest::collection::vec(any::<u8>(), 0..40), text in any::<String>()) {
        let record = AccessRecord {
            path: &bytes, user_agent: &bytes, route_name: &text, origin: Some(&text),
            ..AccessRecord::new(start_time())
        };
        let line = line(Format::Json, &record);
        prop_assert_eq!(line.matches('\n').count(), 1);
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(object.as_object().unwrap().len(), 26);
        prop_assert_eq!(object["origin"].as_str().unwrap_or_default(), &text);
    }
}

#[test]
fn lines_are_in_the_file_in_their_order_after_a_flush() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = AccessLog::open(&path, Format::Text, dropped()).unwrap();
    let codes: Vec<u16> = (0..1000).collect();
    for &response_code in &codes {
        log.log(&AccessRecord {
            response_code,
            ..teapot()
        });
    }
    assert!(log.flush(LONG));
    let text = fs::read_to_string(&path).unwrap();
    let code = |line: &str| {
        line.split("HTTP/1.1\" ")
            .nth(1)?
            .split(' ')
            .next()?
            .parse::<u16>()
            .ok()
    };
    let got: Vec<_> = text.lines().map(|line| code(line).unwrap()).collect();
    assert_eq!(got, codes);
}

#[test]
fn dropping_the_log_writes_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = AccessLog::open(&path, Format::Json, dropped()).unwrap();
    log.log(&teapot());
    drop(log);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
}

#[test]
fn reopening_writes_to_a_new_file_under_the_old_name() {
    let folder = tempfile::tempdir().unwrap();
    let (path, rotated) = (
        folder.path().join("access.log"),
        folder.path().join("access.log.1"),
    );
    let log = AccessLog::open(&path, Format::Text, dropped()).unwrap();
    log.log(&teapot());
    assert!(log.flush(LONG));
    fs::rename(&path, &rotated).unwrap();
    log.reopen();
    assert!(log.flush(LONG));
    log.log(&refused());
    assert!(log.flush(LONG));
    let lines = |path: &PathBuf| fs::read_to_string(path).unwrap().lines().count();
    assert_eq!((lines(&rotated), lines(&path)), (1, 1));
}

/// A reader that does not read must not stop requests. Every line is either written or counted.
#[test]
fn lines_are_dropped_and_counted_when_nobody_reads() {
    let (reader, held_open) = io::pipe().unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", held_open.as_raw_fd()));
    let dropped = dropped();
    let log = AccessLog::open(&path, Format::Text, dropped.clone()).unwrap();
    drop(held_open);
    const LINES: u64 = 20_000;
    for _ in 0..LINES {
        log.log(&teapot());
    }
    assert!(
        dropped.get() > 0,
        "{LINES} lines are more than the queue holds"
    );
    assert!(
        !log.flush(Duration::ZERO),
        "a stuck writer does not hold up the flush"
    );
    let closing = std::thread::spawn(move || drop(log));
    let written = BufReader::new(reader).lines().map_while(Result::ok).count();
    closing.join().unwrap();
    assert_eq!(written as u64 + dropped.get(), LINES);
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    let dropped = dropped();
    let log = AccessLog::open("/dev/full".as_ref(), Format::Text, dropped.clone()).unwrap();
    log.log(&teapot());
    log.log(&teapot());
    assert!(log.flush(LONG));
    assert_eq!(dropped.get(), 2);
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("access.log");
    assert!(AccessLog::open(&path, Format::Text, dropped()).is_err());
}

#[test]
fn the_standard_streams_can_be_opened() {
    for path in ["/dev/stdout", "/dev/stderr"] {
        let log = AccessLog::open(path.as_ref(), Format::Text, dropped()).unwrap();
        assert!(log.is_on());
    }
    assert!(!AccessLog::off().is_on());
}
