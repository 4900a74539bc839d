//! What replicas share that order certificates.

use super::kubeconfig_access;
use crate::election::Terms;
use crate::orders::share_with;
use crate::{Acting, Challenge, Orders, ProxyName, ReplicaSettings, SecretData};
use fake_kubernetes::ApiServer;
use serde_json::json;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::NamedTempFile;

const NAMESPACE: Option<&str> = Some("istio-system");

/// Leases that change hands soon.
const SOON: Terms = Terms {
    lasts: Duration::from_secs(2),
    acts: Duration::from_secs(1),
    retry: Duration::from_millis(100),
    patience: Duration::from_millis(800),
};

struct Replica {
    orders: Orders,
    acting: Acting,
    answers: Receiver<Vec<Challenge>>,
    _kubeconfig: NamedTempFile,
}

impl Replica {
    fn start(server: &ApiServer) -> Self {
        let kubeconfig = server.kubeconfig();
        let settings = ReplicaSettings {
            access: kubeconfig_access(&kubeconfig),
            proxy: ProxyName::new("edge", "istio-system").unwrap(),
        };
        let (sender, answers) = channel();
        // Nobody listens any more when a test ends.
        let answer = move |challenges| drop(sender.send(challenges));
        let (orders, acting) = share_with(settings, SOON, answer).unwrap();
        Self {
            orders,
            acting,
            answers,
            _kubeconfig: kubeconfig,
        }
    }

    /// What it answers now.
    fn answers(&self) -> Vec<Challenge> {
        self.answers.try_iter().last().unwrap_or_default()
    }
}

fn challenges() -> Vec<Challenge> {
    vec![
        Challenge::Http01 {
            token: "token".to_owned(),
            key_authorization: "token.thumbprint".to_owned(),
        },
        Challenge::TlsAlpn01 {
            name: "a.test".to_owned(),
            sha256: vec![7; 32],
        },
    ]
}

#[tokio::test]
async fn all_answer_what_one_shows() {
    let server = ApiServer::start().await;
    let (one, other) = (Replica::start(&server), Replica::start(&server));
    server
        .until(|server| server.objects("leases").len() == 3)
        .await;
    one.orders.show(&challenges()).await.unwrap();
    one.orders.until_answered().await;
    assert_eq!(one.answers(), challenges());
    assert_eq!(other.answers(), challenges());
    one.orders.show(&[]).await.unwrap();
    one.orders.until_answered().await;
    assert_eq!((one.answers(), other.answers()), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn the_turn_goes_on_when_one_ends() {
    let server = ApiServer::start().await;
    let one = Replica::start(&server);
    let mut turn = one.orders.turn();
    turn.begins().await;
    let other = Replica::start(&server);
    server
        .until(|server| server.objects("leases").len() == 3)
        .await;
    assert!(!other.orders.turn().is_ours());
    one.acting.stop().await;
    turn.ends().await;
    other.orders.turn().begins().await;
    assert!(!turn.is_ours());
}

#[tokio::test]
async fn what_is_somebody_elses_is_not_overwritten() {
    let server = ApiServer::start().await;
    let replica = Replica::start(&server);
    let data = |value: &str| {
        let entries = [("tls.crt", value), ("directory", "https://a.test")];
        SecretData::from(entries.map(|(name, value)| (name.to_owned(), value.into())))
    };
    let orders = &replica.orders;
    let write = |data| orders.write("shop", "kubernetes.io/tls", "directory", data);
    write(data("1")).await.unwrap();
    write(data("2")).await.unwrap();
    assert_eq!(orders.read("shop").await.unwrap(), Some(data("2")));
    let brought = json!({"metadata": {"namespace": "istio-system"}, "data": {"tls.crt": "MQ=="}});
    server.put("secrets", "shop", &brought);
    let error = write(data("3")).await.unwrap_err();
    assert!(
        error.contains("the Secret shop is not from here"),
        "{error}"
    );
    let secret = server.object("secrets", NAMESPACE, "shop").unwrap();
    assert_eq!(secret["data"], brought["data"]);
}
