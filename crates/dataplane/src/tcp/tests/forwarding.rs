//! What goes through, and where to.

use super::*;
use rules::{EndpointAddr, Serves};
use tokio::net::UnixListener;

#[tokio::test]
async fn bytes_go_both_ways_and_stand_in_log_and_metrics() {
    let origin = Origin::echo().await;
    let gateway = Rules::default().to(&[origin.address]).await;
    let mut client = gateway.connect().await;
    let local = client.local_addr().unwrap();
    assert_eq!(exchange(&mut client, "hello").await, "hello");
    // While the connection is open.
    assert_eq!(gateway.count("received_bytes"), 5);
    assert_eq!(gateway.count("sent_bytes"), 5);
    assert_eq!(gateway.count("connections_opened"), 1);
    assert_eq!(gateway.count("connections_closed"), 0);
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, "");
    let line = gateway.line().await;
    let (_, line) = line.split_once("] ").unwrap();
    let (start, end) = line.split_once(" 5 5 ").unwrap();
    assert_eq!(start, r#""- - -" 0 - - - "-""#);
    let (duration, end) = end.split_once(' ').unwrap();
    assert!(duration.parse::<u64>().is_ok(), "{line}");
    let host = format!(
        r#"- "-" "-" "-" "-" "{}" outbound|9000||echo.default.svc.cluster.local 127.0.0.1:"#,
        origin.address
    );
    assert!(end.starts_with(&host), "{line}");
    let ends = format!(" {} {local} - - - \"-\"\n", gateway.address);
    assert!(end.ends_with(&ends), "{line}");
    assert_eq!(gateway.count("connections_closed"), 1);
    let metrics = gateway.shared.metrics.text();
    let service = "destination_service=\"echo.default.svc.cluster.local\"";
    assert!(metrics.contains(service), "{metrics}");
}

/// Promise 22.
#[tokio::test]
async fn a_server_may_speak_first() {
    let origin = Origin::saying("220 ready\r\n").await;
    let gateway = Rules::default().to(&[origin.address]).await;
    let mut client = gateway.connect().await;
    let mut greeting = [0; 11];
    client.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 ready\r\n");
}

#[tokio::test]
async fn many_bytes_arrive_whole_in_both_directions() {
    let origin = Origin::echo().await;
    let gateway = Rules::default().to(&[origin.address]).await;
    let client = gateway.connect().await;
    let (mut read, mut write) = client.into_split();
    let sent: Vec<u8> = (0..8_u32 << 20).map(|at| (at % 251) as u8).collect();
    let expected = sent.clone();
    let sending = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    read.read_to_end(&mut back).await.unwrap();
    sending.await.unwrap();
    assert!(back == expected, "{} bytes came back", back.len());
    gateway
        .until(|gateway| gateway.count("sent_bytes") == 8 << 20)
        .await;
}

#[tokio::test]
async fn destinations_share_by_weight() {
    let origins = [Origin::echo().await, Origin::echo().await];
    let mut rules = Rules::default();
    let [first, second] = [0, 1].map(|index| {
        let endpoint = EndpointAddr::Tcp(origins[index].address);
        rules.cluster(&format!("echo-{index}"), &[endpoint])
    });
    let serves = Serves::Tcp(routes([route(&[], [first, second])]));
    let gateway = rules.start(serves).await;
    for _ in 0..64 {
        assert_eq!(exchange(&mut gateway.connect().await, "x").await, "x");
    }
    let [first, second] = origins.map(|origin| origin.connections());
    assert!(first > 8 && second > 8, "{first} and {second}");
}

#[tokio::test]
async fn the_first_route_that_takes_the_client_is_its() {
    let origin = Origin::echo().await;
    let mut rules = Rules::default();
    let cluster = rules.cluster("echo", &[EndpointAddr::Tcp(origin.address)]);
    let serves = Serves::Tcp(routes([
        route(&["10.0.0.0/8"], [missing()]),
        route(&["192.168.0.0/16", "127.0.0.0/8"], [cluster]),
        route(&[], [missing()]),
    ]));
    let gateway = rules.start(serves).await;
    assert_eq!(exchange(&mut gateway.connect().await, "x").await, "x");
}

#[tokio::test]
async fn an_endpoint_may_be_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"hello").await.unwrap();
    });
    let mut rules = Rules::default();
    let endpoint = EndpointAddr::Unix(path.to_str().unwrap().into());
    let cluster = rules.cluster("unix", &[endpoint]);
    let gateway = rules
        .start(Serves::Tcp(routes([route(&[], [cluster])])))
        .await;
    let mut client = gateway.connect().await;
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, "hello");
    let line = gateway.line().await;
    assert!(line.contains(path.to_str().unwrap()), "{line}");
}

#[tokio::test]
async fn an_endpoint_counts_its_connections_while_they_last() {
    let origin = Origin::echo().await;
    let gateway = Rules::default().to(&[origin.address]).await;
    let active = |gateway: &Gateway| {
        let snapshot = gateway.shared.snapshot();
        let cluster = snapshot.clusters.values().next().unwrap();
        cluster.endpoints.members()[0].state.active()
    };
    let mut client = gateway.connect().await;
    assert_eq!(exchange(&mut client, "x").await, "x");
    assert_eq!(active(&gateway), 1);
    drop(client);
    gateway.until(|gateway| active(gateway) == 0).await;
}
