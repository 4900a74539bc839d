use super::*;
use crate::keys::Keys;
use hyper::client::conn::http1::SendRequest;
use inject::InjectOptions;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::SystemTime;
use telemetry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const NAME: &str = "webhook.tidegate.svc";
const JSON: &str = "application/json";

/// Long enough for whatever is done at once, on a machine with other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    shown: Shown,
    keys: Keys,
    metrics: Metrics,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Running {
    fn start() -> Self {
        Self::with(LIMITS)
    }

    fn with(limits: Limits) -> Self {
        let mut server = Server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        server.limits = limits;
        let address = server.local_addr().unwrap();
        let metrics = Metrics::new("0");
        let reviewer = Reviewer::new(InjectOptions::default(), &metrics).unwrap();
        let keys = Keys::new(&[NAME.to_owned()], SystemTime::now()).unwrap();
        let shown = Shown::default();
        shown.show(keys.leaf.credential.certified_key.clone());
        let (stop, stopped) = oneshot::channel();
        let serving = server.serve(reviewer, shown.clone(), async {
            let _ = stopped.await;
        });
        let serving = tokio::spawn(async move { serving.await.unwrap() });
        Self {
            address,
            shown,
            keys,
            metrics,
            stop,
            serving,
        }
    }

    /// As an API server connects: it trusts the bundle and nobody else.
    async fn connect(&self) -> TlsStream<TcpStream> {
        self.connect_from(Ipv4Addr::LOCALHOST).await.unwrap()
    }

    async fn connect_from(&self, client: Ipv4Addr) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        let bundle = self.keys.bundle();
        for authority in rustls::pki_types::CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(authority.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((client, 0)))?;
        let stream = socket.connect(self.address).await?;
        let connector = TlsConnector::from(Arc::new(config));
        connector
            .connect(ServerName::try_from(NAME).unwrap(), stream)
            .await
    }

    async fn client(&self) -> Client {
        Client::over(self.connect().await).await
    }

    #[track_caller]
    fn counted(&self, line: &str) {
        let text = self.metrics.text();
        assert!(text.lines().any(|known| known == line), "{text}");
    }
}

struct Client(SendRequest<Full<Bytes>>);

impl Client {
    async fn over(stream: TlsStream<TcpStream>) -> Self {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    async fn post(
        &mut self,
        path: &str,
        media_type: &str,
        body: impl Into<Bytes>,
    ) -> (u16, String) {
        let request = Request::post(path)
            .header("host", NAME)
            .header(CONTENT_TYPE, media_type);
        self.send(request.body(Full::new(body.into())).unwrap())
            .await
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> (u16, String) {
        let answer = timeout(PATIENCE, self.0.send_request(request)).await;
        let answer = answer.expect("an answer in time").unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[track_caller]
    fn review(&mut self, path: &'static str, body: &Value) -> impl Future<Output = Value> {
        let body = body.to_string();
        async move {
            let (status, answer) = self
                .post(path, "application/json; charset=utf-8", body)
                .await;
            assert_eq!(status, 200, "{answer}");
            serde_json::from_str(&answer).unwrap()
        }
    }
}

fn gateway(port: Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "0df28fbd",
            "kind": {"group": "networking.istio.io", "version": "v1", "kind": "Gateway"},
            "operation": "CREATE",
            "namespace": "shop",
            "object": {
                "apiVersion": "networking.istio.io/v1",
                "kind": "Gateway",
                "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"servers": [{"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]},
            },
        },
    })
}

#[tokio::test]
async fn questions_are_answered_over_tls() {
    let running = Running::start();
    let mut client = running.client().await;
    let answer = client.review("/validate", &gateway(json!(80))).await;
    assert_eq!(
        answer["response"],
        json!({"uid": "0df28fbd", "allowed": true})
    );
    let answer = client.review("/validate", &gateway(json!(0))).await;
    assert_eq!(answer["response"]["allowed"], false);
    let message = answer["response"]["status"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("spec.servers[0].port.number: "),
        "{message}"
    );
    let pod = json!({"metadata": {"generateName": "a-"}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    let mut review = gateway(json!(80));
    review["request"]["kind"] = json!({"group": "", "version": "v1", "kind": "Pod"});
    review["request"]["object"] = pod;
    let answer = client.review("/inject", &review).await;
    assert_eq!(answer["response"]["patchType"], "JSONPatch");
    for (webhook, result) in [
        ("validate", "allowed"),
        ("validate", "refused"),
        ("inject", "patched"),
    ] {
        running.counted(&format!(
            "tidegate_webhook_reviews_total{{result=\"{result}\",webhook=\"{webhook}\"}} 1"
        ));
    }
}

#[tokio::test]
async fn what_is_no_question_is_told_so_and_the_next_one_answered() {
    let running = Running::start();
    let mut client = running.client().await;
    let good = gateway(json!(80)).to_string();
    for (path, media_type, body, want) in [
        ("/", JSON, &*good, 404),
        ("/validate/x", JSON, &good, 404),
        ("/validate", "text/plain", &good, 415),
        ("/validate", "", &good, 415),
        ("/validate", JSON, "", 400),
        ("/validate", JSON, "{", 400),
        (
            "/inject",
            JSON,
            "{\"kind\": \"AdmissionReview\", \"apiVersion\": \"admission.k8s.io/v1beta1\"}",
            400,
        ),
        ("/inject", JSON, &"[".repeat(100_000), 400),
    ] {
        let (status, why) = client.post(path, media_type, body.to_owned()).await;
        assert_eq!(status, want, "{path} {media_type}: {why}");
        assert!(why.ends_with('\n') && why.len() < 500, "{why}");
    }
    let get = Request::get("/validate").header("host", NAME);
    let (status, _) = client.send(get.body(Full::default()).unwrap()).await;
    assert_eq!(status, 405);
    let answer = client.review("/validate", &gateway(json!(80))).await;
    assert_eq!(answer["response"]["allowed"], true);
    running.counted("tidegate_webhook_reviews_total{result=\"failed\",webhook=\"inject\"} 2");
}

#[tokio::test]
async fn bodies_are_bounded() {
    let running = Running::with(Limits {
        body_bytes: 64 << 10,
        all_bodies: 96 << 10,
        ..LIMITS
    });
    let (status, _) = running
        .client()
        .await
        .post("/validate", JSON, vec![b' '; 65 << 10])
        .await;
    assert_eq!(status, 413, "as it says");
    // One that does not say how long it is, until it is too long.
    let mut stream = running.connect().await;
    let head = format!(
        "POST /validate HTTP/1.1\r\nhost: {NAME}\r\ncontent-type: {JSON}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    for _ in 0..5 {
        // It may be refused and closed meanwhile.
        let _ = stream.write_all(chunk.as_bytes()).await;
    }
    assert!(answer_of(&mut stream).await.starts_with("HTTP/1.1 413 "));
    // What others are sending leaves no room, until they are gone.
    let half = " ".repeat(60 << 10);
    let head = format!(
        "POST /validate HTTP/1.1\r\nhost: {NAME}\r\ncontent-type: {JSON}\r\ncontent-length: 61441\r\n\r\n{half}"
    );
    let mut first = running.connect().await;
    first.write_all(head.as_bytes()).await.unwrap();
    let mut crowded = running.client().await;
    until(async || {
        crowded
            .post("/validate", JSON, vec![b' '; 60 << 10])
            .await
            .0
            == 503
    })
    .await;
    let answer = crowded.review("/validate", &gateway(json!(80))).await;
    assert_eq!(
        answer["response"]["allowed"], true,
        "there is some left for a small one"
    );
    drop(first);
    until(async || {
        crowded
            .post("/validate", JSON, vec![b' '; 60 << 10])
            .await
            .0
            == 400
    })
    .await;
}

#[tokio::test]
async fn who_is_slow_is_given_up_and_keeps_nobody_else_waiting() {
    let running = Running::with(Limits {
        body: Duration::from_millis(200),
        handshake: Duration::from_millis(200),
        head: Duration::from_millis(500),
        ..LIMITS
    });
    let mut body = running.connect().await;
    let head = format!(
        "POST /validate HTTP/1.1\r\nhost: {NAME}\r\ncontent-type: {JSON}\r\ncontent-length: 10\r\n\r\n{{"
    );
    body.write_all(head.as_bytes()).await.unwrap();
    let mut head = running.connect().await;
    head.write_all(b"POST /validate HTTP/1.1\r\n")
        .await
        .unwrap();
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    let mut clear = TcpStream::connect(running.address).await.unwrap();
    clear
        .write_all(b"GET /validate HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let answer = running
        .client()
        .await
        .review("/validate", &gateway(json!(80)))
        .await;
    assert_eq!(answer["response"]["allowed"], true);
    assert!(answer_of(&mut body).await.starts_with("HTTP/1.1 408 "));
    answer_of(&mut head).await;
    assert_eq!(answer_of(&mut silent).await, "");
    answer_of(&mut clear).await;
}

#[tokio::test]
async fn who_has_asked_nothing_may_not_stay_as_long_as_who_has() {
    let running = Running::with(Limits {
        first_head: Duration::from_secs(1),
        ..LIMITS
    });
    let mut known = running.client().await;
    known.review("/validate", &gateway(json!(80))).await;
    let mut silent = running.connect().await;
    let mut wrong = running.connect().await;
    let head = format!("GET / HTTP/1.1\r\nhost: {NAME}\r\n\r\n");
    wrong.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(answer_of(&mut silent).await, "");
    assert!(answer_of(&mut wrong).await.starts_with("HTTP/1.1 404 "));
    let answer = known.review("/validate", &gateway(json!(80))).await;
    assert_eq!(answer["response"]["allowed"], true);
}

#[tokio::test]
async fn one_client_cannot_have_all_connections() {
    let running = Running::with(Limits {
        of_one_client: 2,
        ..LIMITS
    });
    let (first, _second) = (running.connect().await, running.connect().await);
    assert!(running.connect_from(Ipv4Addr::LOCALHOST).await.is_err());
    let other = running
        .connect_from(Ipv4Addr::new(127, 0, 0, 2))
        .await
        .unwrap();
    let answer = Client::over(other)
        .await
        .review("/validate", &gateway(json!(80)))
        .await;
    assert_eq!(answer["response"]["allowed"], true);
    drop(first);
    until(async || running.connect_from(Ipv4Addr::LOCALHOST).await.is_ok()).await;
}

#[tokio::test]
async fn another_certificate_is_shown_without_a_restart() {
    let mut running = Running::start();
    let mut client = running.client().await;
    let shown =
        |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let before = shown(&running.connect().await);
    running.keys = Keys::new(&[NAME.to_owned()], SystemTime::now()).unwrap();
    assert!(
        running.connect_from(Ipv4Addr::LOCALHOST).await.is_err(),
        "not trusted any more"
    );
    running
        .shown
        .show(running.keys.leaf.credential.certified_key.clone());
    assert_ne!(shown(&running.connect().await), before);
    let answer = client.review("/validate", &gateway(json!(80))).await;
    assert_eq!(
        answer["response"]["allowed"], true,
        "who is there already stays"
    );
}

#[tokio::test]
async fn what_is_under_way_is_answered_at_the_end() {
    let running = Running::start();
    let idle = running.client().await;
    let mut stream = running.connect().await;
    let body = gateway(json!(80)).to_string();
    let head = format!(
        "POST /validate HTTP/1.1\r\nhost: {NAME}\r\ncontent-type: {JSON}\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The request is being read then.
    let mut goes_on = [0; 25];
    stream.read_exact(&mut goes_on).await.unwrap();
    running.stop.send(()).unwrap();
    until(async || TcpStream::connect(running.address).await.is_err()).await;
    stream.write_all(body.as_bytes()).await.unwrap();
    assert!(answer_of(&mut stream).await.contains("\"allowed\":true"));
    timeout(PATIENCE, running.serving).await.unwrap().unwrap();
    drop(idle);
}

/// All that comes until the connection ends, however it does.
async fn answer_of(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    let reading = async {
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..length]);
        }
    };
    timeout(PATIENCE, reading).await.expect("an end");
    String::from_utf8(answer).unwrap()
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async { while !holds().await {} };
    timeout(PATIENCE, waiting).await.expect("it to hold");
}
