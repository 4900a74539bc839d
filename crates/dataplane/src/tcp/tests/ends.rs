//! How connections end.

use super::*;
use std::io::ErrorKind;
use tokio::sync::mpsc;

/// A client that has sent everything still gets its answer.
#[tokio::test]
async fn the_clients_end_is_passed_on_and_the_answer_still_comes() {
    let origin = Origin::serving(|mut socket| async move {
        let mut all = Vec::new();
        socket.read_to_end(&mut all).await.unwrap();
        let answer = format!("{} bytes", all.len());
        socket.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let gateway = Rules::default().to(&[origin.address]).await;
    let mut client = gateway.connect().await;
    client.write_all(b"hello").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, "5 bytes");
}

/// A server that has sent everything still gets what the client sends.
#[tokio::test]
async fn the_servers_end_is_passed_on_and_the_client_may_go_on() {
    let (tell, mut told) = mpsc::channel(1);
    let origin = Origin::serving(move |mut socket| {
        let tell = tell.clone();
        async move {
            socket.write_all(b"bye").await.unwrap();
            socket.shutdown().await.unwrap();
            let mut all = String::new();
            socket.read_to_string(&mut all).await.unwrap();
            tell.send(all).await.unwrap();
        }
    })
    .await;
    let gateway = Rules::default().to(&[origin.address]).await;
    let mut client = gateway.connect().await;
    assert_eq!(rest(&mut client).await, "bye");
    client.write_all(b"one more thing").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(told.recv().await.unwrap(), "one more thing");
    let line = gateway.line().await;
    assert!(line.contains(r#""- - -" 0 - - - "-" 14 3 "#), "{line}");
}

/// What came before is no whole answer, and must not look like one.
#[tokio::test]
async fn a_reset_of_the_upstream_is_a_reset_for_the_client() {
    let origin = Origin::serving(|mut socket| async move {
        socket.write_all(b"half").await.unwrap();
        socket.read_exact(&mut [0]).await.unwrap();
        socket.set_zero_linger().unwrap();
    })
    .await;
    let gateway = Rules::default().to(&[origin.address]).await;
    let mut client = gateway.connect().await;
    let mut half = [0; 4];
    client.read_exact(&mut half).await.unwrap();
    client.write_all(b"x").await.unwrap();
    let error = client.read(&mut half).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let line = gateway.line().await;
    assert!(line.contains(" 0 - - upstream_reset \"-\" 1 4 "), "{line}");
    let end = "upstream_reset \"VirtualService default/echo";
    assert!(line.contains(end), "{line}");
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_upstream_connection_with_it() {
    let (tell, mut told) = mpsc::channel(1);
    let origin = Origin::serving(move |mut socket| {
        let tell = tell.clone();
        async move {
            socket.write_all(b"hello").await.unwrap();
            let mut all = Vec::new();
            let read = socket.read_to_end(&mut all).await;
            tell.send(read.map_err(|error| error.kind())).await.unwrap();
        }
    })
    .await;
    let gateway = Rules::default().to(&[origin.address]).await;
    let mut client = gateway.connect().await;
    client.read_exact(&mut [0; 5]).await.unwrap();
    client.set_zero_linger().unwrap();
    drop(client);
    let read = told.recv().await.unwrap();
    assert_eq!(read, Err(ErrorKind::ConnectionReset));
    let line = gateway.line().await;
    assert!(line.contains(" downstream_reset "), "{line}");
    assert!(line.contains(" client_gone "), "{line}");
}

#[tokio::test]
async fn silence_ends_a_connection_after_the_idle_timeout() {
    let origin = Origin::echo().await;
    let mut rules = Rules::default();
    // Time enough for a busy machine to dial and to echo within.
    rules.settings.tcp_idle_timeout = Some(Duration::from_secs(1));
    let gateway = rules.to(&[origin.address]).await;
    let mut client = gateway.connect().await;
    assert_eq!(exchange(&mut client, "x").await, "x");
    assert_eq!(rest(&mut client).await, "");
    let line = gateway.line().await;
    assert!(line.contains(" tcp_session_idle_timeout "), "{line}");
    assert!(line.contains(" idle_timeout "), "{line}");
}

/// Promise 6.
#[tokio::test]
async fn a_connection_outlives_its_listener_and_its_rules() {
    let origin = Origin::echo().await;
    let gateway = Rules::default().to(&[origin.address]).await;
    let mut client = gateway.connect().await;
    assert_eq!(exchange(&mut client, "before").await, "before");
    gateway.empty();
    gateway
        .until(|gateway| std::net::TcpStream::connect(gateway.address).is_err())
        .await;
    assert_eq!(exchange(&mut client, "after").await, "after");
    assert_eq!(gateway.listeners.connections(), 1);
    assert_eq!(gateway.shared.in_use.count(), 1);
    // The process waits for it.
    let drained = gateway.listeners.drain();
    tokio::pin!(drained);
    tokio::select! {
        biased;
        () = &mut drained => panic!("a connection was left"),
        back = exchange(&mut client, "still") => assert_eq!(back, "still"),
    }
    drop(client);
    tokio::time::timeout(PATIENCE, drained).await.unwrap();
    assert_eq!(gateway.shared.in_use.count(), 0);
    assert_eq!(gateway.count("connections_closed"), 1);
}
