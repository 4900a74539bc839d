//! `gateway webhook` as a process, beside an API server that asks it as it was told to.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fake_kubernetes::ApiServer;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

const PATIENCE: Duration = Duration::from_secs(60);
const VALIDATING: &str = "validatingwebhookconfigurations";
const MUTATING: &str = "mutatingwebhookconfigurations";

/// A `gateway webhook`, which ends when it is dropped.
struct Webhook {
    process: Child,
    address: SocketAddr,
    status: SocketAddr,
    metrics: SocketAddr,
    _folder: TempDir,
}

impl Webhook {
    async fn start(server: &ApiServer) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let kubeconfig = server.kubeconfig();
        std::fs::copy(kubeconfig.path(), folder.path().join("kubeconfig"))
            .expect("space for a file");
        let file = folder.path().join("webhook.toml");
        let bootstrap = r#"
            [webhook]
            address = "127.0.0.1:0"
            validating-configurations = ["ours"]
            mutating-configurations = ["ours"]
            [kubernetes]
            kubeconfig = "kubeconfig"
            [injection]
            image = "registry.example/mesh-agent:1"
            [status]
            address = "127.0.0.1:0"
            [metrics]
            address = "127.0.0.1:0"
            [drain]
            delay = "0s"
        "#;
        std::fs::write(&file, bootstrap).expect("space for a file");
        let mut process = command(&file).spawn().expect("the gateway starts");
        let mut lines = BufReader::new(process.stderr.take().expect("its log")).lines();
        let started = async {
            loop {
                let line = lines.next_line().await.expect("text").expect("it to start");
                if let Ok(line) = serde_json::from_str::<Value>(&line)
                    && line["fields"]["message"] == "started"
                {
                    return line;
                }
            }
        };
        let line = timeout(PATIENCE, started).await.expect("it to start");
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let address = |field: &str| {
            line["fields"][field]
                .as_str()
                .expect("an address")
                .parse()
                .expect("an address")
        };
        Self {
            address: address("address"),
            status: address("status"),
            metrics: address("metrics"),
            process,
            _folder: folder,
        }
    }

    /// As the API server asks: it trusts whom a configuration names.
    async fn ask(&self, bundle: &str, path: &str, review: &Value) -> Result<Value, String> {
        let mut roots = rustls::RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots
                .add(authority.expect("an authority"))
                .expect("an authority");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("an answer")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("tidegate-webhook.istio-system.svc").expect("a name");
        let stream = TcpStream::connect(self.address)
            .await
            .expect("a connection");
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, stream).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let request = Request::post(path).header("content-type", "application/json");
        let body = Full::new(Bytes::from(review.to_string()));
        let (status, body) = send(stream, request.body(body).expect("a request")).await;
        assert_eq!(status, 200, "{body}");
        Ok(serde_json::from_str::<Value>(&body).expect("JSON")["response"].take())
    }

    async fn page(&self, of: SocketAddr, path: &str) -> (u16, String) {
        let stream = TcpStream::connect(of).await.expect("a connection");
        send(
            stream,
            Request::get(path).body(Full::default()).expect("a request"),
        )
        .await
    }

    async fn until_ready(&self) {
        until(async || self.page(self.status, "/healthz/ready").await.0 == 200).await;
    }
}

fn command(file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.args(["webhook", "--log-format=json", "--config"]);
    command.arg(file).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn send<S>(stream: S, mut request: Request<Full<Bytes>>) -> (u16, String)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let host = http::HeaderValue::from_static("localhost");
    request.headers_mut().insert("host", host);
    let stream = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
        .await
        .expect("a connection");
    tokio::spawn(connection);
    let answer = timeout(PATIENCE, sender.send_request(request)).await;
    let answer = answer.expect("an answer in time").expect("an answer");
    let status = answer.status().as_u16();
    let body = answer
        .into_body()
        .collect()
        .await
        .expect("an answer")
        .to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("it to hold");
}

/// What the chart applies: configurations that trust nobody yet, and an empty Secret.
fn apply(server: &ApiServer, plural: &str) {
    let client = json!({"service": {"name": "tidegate-webhook", "namespace": "istio-system"}});
    let webhooks = json!([{"name": "a.tidegate", "clientConfig": client}, {"name": "b.tidegate", "clientConfig": client}]);
    server.put(plural, "ours", &json!({"webhooks": webhooks}));
}

/// Whom a configuration trusts. Absent: nobody yet, or not at all of its webhooks.
fn bundle(server: &ApiServer, plural: &str) -> Option<String> {
    let configuration = server.object(plural, None, "ours").expect("it is there");
    let webhooks = configuration["webhooks"].as_array().expect("webhooks");
    let bundles = webhooks
        .iter()
        .map(|webhook| webhook["clientConfig"]["caBundle"].as_str());
    let bundles = bundles.collect::<Option<Vec<_>>>()?;
    assert_eq!(bundles[0], bundles[1]);
    Some(String::from_utf8(STANDARD.decode(bundles[0]).expect("text")).expect("text"))
}

fn review(object: &Value, group: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1", "operation": "CREATE", "namespace": "shop", "object": object,
            "kind": {"group": group, "version": "v1", "kind": kind},
        },
    })
}

fn service_entry(resolution: &str) -> Value {
    let object = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "api", "namespace": "shop"},
        "spec": {
            "hosts": ["api.example.com"],
            "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}],
            "resolution": resolution,
        },
    });
    review(&object, "networking.istio.io", "ServiceEntry")
}

#[tokio::test]
async fn replicas_are_asked_by_whom_the_api_server_trusts() {
    let server = ApiServer::start().await;
    let secret = json!({"metadata": {"namespace": "istio-system"}, "type": "Opaque"});
    server.put("secrets", "tidegate-webhook", &secret);
    apply(&server, VALIDATING);
    apply(&server, MUTATING);
    let replicas = [Webhook::start(&server).await, Webhook::start(&server).await];
    for replica in &replicas {
        replica.until_ready().await;
    }
    let trusted = bundle(&server, VALIDATING).unwrap();
    assert_eq!(bundle(&server, MUTATING).as_ref(), Some(&trusted));
    assert_eq!(trusted.matches("BEGIN CERTIFICATE").count(), 1);
    let secret = server
        .object("secrets", Some("istio-system"), "tidegate-webhook")
        .unwrap();
    let keys: Vec<_> = secret["data"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["ca.crt", "ca.key", "tls.crt", "tls.key"]);
    for replica in &replicas {
        let ask = async |path, review: &Value| replica.ask(&trusted, path, review).await.unwrap();
        let answer = ask("/validate", &service_entry("DNS")).await;
        assert_eq!(answer, json!({"uid": "1", "allowed": true}));
        let answer = ask("/validate", &service_entry("MAGIC")).await;
        assert_eq!(
            (&answer["allowed"], &answer["status"]["code"]),
            (&json!(false), &json!(400))
        );
        let message = answer["status"]["message"].as_str().unwrap();
        assert!(message.starts_with("spec.resolution: "), "{message}");
        let pod = json!({"metadata": {"generateName": "api-"}, "spec": {"containers": [{"name": "app", "image": "app"}]}});
        let answer = ask("/inject", &review(&pod, "", "Pod")).await;
        let patch = STANDARD.decode(answer["patch"].as_str().unwrap()).unwrap();
        assert!(
            String::from_utf8(patch)
                .unwrap()
                .contains("registry.example/mesh-agent:1")
        );
        let (_, metrics) = replica.page(replica.metrics, "/metrics").await;
        for line in [
            "tidegate_webhook_reviews_total{result=\"refused\",webhook=\"validate\"} 1",
            "tidegate_certificate_expiry_timestamp_seconds{name=\"webhook-ca\"} ",
        ] {
            assert!(metrics.contains(line), "{line} in {metrics}");
        }
    }
    // Somebody applies the configurations again, which trust nobody then.
    apply(&server, VALIDATING);
    let is_told = |server: &ApiServer| bundle(server, VALIDATING).as_ref() == Some(&trusted);
    timeout(PATIENCE, server.until(is_told)).await.unwrap();
    // Somebody takes the Secret away: there is another authority, which is told before anybody is asked by it.
    server.delete("secrets", Some("istio-system"), "tidegate-webhook");
    let is_told = |server: &ApiServer| bundle(server, MUTATING).is_some_and(|now| now != trusted);
    timeout(PATIENCE, server.until(is_told)).await.unwrap();
    let now = bundle(&server, MUTATING).unwrap();
    for replica in &replicas {
        until(async || {
            replica
                .ask(&now, "/validate", &service_entry("DNS"))
                .await
                .is_ok()
        })
        .await;
    }
}

#[tokio::test]
async fn it_waits_for_an_api_server_and_serves_on_without_one() {
    let server = ApiServer::start().await;
    apply(&server, VALIDATING);
    server.refuse("secrets", 403);
    let mut webhook = Webhook::start(&server).await;
    let refused = async || {
        let (status, why) = webhook.page(webhook.status, "/healthz/ready").await;
        status == 503 && why.contains("Secret istio-system/tidegate-webhook: no: Forbidden")
    };
    until(refused).await;
    server.refuse("secrets", 200);
    webhook.until_ready().await;
    let trusted = bundle(&server, VALIDATING).unwrap();
    drop(server.stop().await);
    let answer = webhook
        .ask(&trusted, "/validate", &service_entry("DNS"))
        .await;
    assert_eq!(answer.unwrap()["allowed"], true);
    webhook.until_ready().await;
    let id = webhook.process.id().unwrap().to_string();
    let ended = Command::new("kill")
        .args(["-TERM", &id])
        .status()
        .await
        .unwrap();
    assert!(ended.success());
    let ended = timeout(PATIENCE, webhook.process.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn what_is_wrong_in_its_file_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("webhook.toml");
    for (text, want) in [
        (
            "[webhook]\nadress = \"127.0.0.1:0\"\n",
            "webhook.toml:2:1: unknown field `adress`",
        ),
        ("[injection]\nimage = 1\n", "webhook.toml:2:9: "),
        (
            "[injection.annotations]\n\"sidecar.istio.io/x\" = \"y\"\n",
            "webhook.toml: [injection]: the default annotation `sidecar.istio.io/x`",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let output = command(&file).output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(want), "{want} in {said}");
    }
}

#[tokio::test]
async fn the_file_in_conf_can_be_used() {
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../conf/webhook.toml"));
    let output = command(file).arg("--check").output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[tokio::test]
async fn clients_that_are_none_harm_nobody() {
    let server = ApiServer::start().await;
    apply(&server, VALIDATING);
    let webhook = Webhook::start(&server).await;
    webhook.until_ready().await;
    let mut clear = TcpStream::connect(webhook.address).await.unwrap();
    clear
        .write_all(b"POST /validate HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let _silent = TcpStream::connect(webhook.address).await.unwrap();
    let mut answer = Vec::new();
    // It is closed, or reset.
    let _ = timeout(PATIENCE, clear.read_to_end(&mut answer))
        .await
        .unwrap();
    let trusted = bundle(&server, VALIDATING).unwrap();
    let answer = webhook
        .ask(&trusted, "/validate", &service_entry("DNS"))
        .await;
    assert_eq!(answer.unwrap()["allowed"], true);
}
