//! What goes before the first byte to an upstream, and how long a connection to one lasts.

use crate::{SHOP, shop, shop_with, tcp_with};
use e2e::{
    Connection, Gateway, Load, Origin, PATIENCE, Request, TcpOrigin, destination_rule, eventually,
};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// A TCP origin that tells of the first bytes of each connection, the header of the PROXY protocol, and then
/// answers requests of HTTP with 200.
fn behind_a_header() -> (TcpOrigin, Receiver<Vec<u8>>) {
    let (told, headers) = mpsc::channel();
    let told = Mutex::new(told);
    let origin = TcpOrigin::serving(move |stream| {
        let mut reader = BufReader::new(stream);
        let header = read_header(&mut reader)?;
        {
            let told = told.lock().map_err(|_| io::ErrorKind::Other)?;
            told.send(header).map_err(io::Error::other)?;
        }
        while read_head(&mut reader)?.is_some() {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            reader.get_mut().write_all(answer)?;
        }
        Ok(())
    });
    (origin, headers)
}

/// A line of version 1, or a whole header of version 2.
fn read_header(reader: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut header = vec![0; 6];
    reader.read_exact(&mut header)?;
    if header != SIGNATURE[..6] {
        reader.read_until(b'\n', &mut header)?;
        return Ok(header);
    }
    header.resize(16, 0);
    reader.read_exact(&mut header[6..])?;
    let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
    header.resize(16 + length, 0);
    reader.read_exact(&mut header[16..])?;
    Ok(header)
}

/// The first line of a request without a body; nothing at the end.
fn read_head(reader: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut lines = String::new();
    while !lines.ends_with("\r\n\r\n") {
        if reader.read_line(&mut lines)? == 0 {
            return Ok(None);
        }
    }
    Ok(lines.lines().next().map(str::to_owned))
}

fn own_port(connection: &Connection) -> u16 {
    let address = connection.stream().local_addr();
    address.expect("a connected socket has an address").port()
}

fn v1(client: u16, gateway: u16) -> Vec<u8> {
    format!("PROXY TCP4 127.0.0.1 127.0.0.1 {client} {gateway}\r\n").into_bytes()
}

fn v2(client: u16, gateway: u16) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([0x21, 0x11, 0x00, 0x0c]);
    header.extend([127, 0, 0, 1, 127, 0, 0, 1]);
    header.extend(client.to_be_bytes());
    header.extend(gateway.to_be_bytes());
    header
}

type Header = fn(u16, u16) -> Vec<u8>;

#[test]
fn an_upstream_is_told_who_the_client_of_its_connection_is() {
    let versions: [(&str, Header); 3] = [("{version: V1}", v1), ("{version: V2}", v2), ("{}", v1)];
    for (version, header) in versions {
        let (origin, headers) = behind_a_header();
        let policy = format!("trafficPolicy: {{proxyProtocol: {version}}}\n");
        let gateway = shop_with(&policy, &[origin.port()]).start();
        // Each client has a header of its own, so that none is served on another one's connection.
        for _ in 0..3 {
            let mut client = gateway.connect();
            for _ in 0..2 {
                let response = client.send(&Request::get(SHOP, "/"));
                assert_eq!(response.expect("an answer").status, 200, "{version}");
            }
            let want = header(own_port(&client), gateway.http());
            let got = headers.recv_timeout(PATIENCE).expect("a connection");
            assert_eq!(got, want, "{version}");
            // At most one connection for each of its requests, all of them its own.
            headers
                .try_iter()
                .for_each(|got| assert_eq!(got, want, "{version}"));
        }
    }
}

#[test]
fn a_tcp_upstream_is_told_so_as_well() {
    for (version, header) in [("V1", v1 as Header), ("V2", v2)] {
        let origin = TcpOrigin::echo();
        let policy = format!("trafficPolicy: {{proxyProtocol: {{version: {version}}}}}\n");
        let gateway = tcp_with(&policy, &[origin.port()]).start();
        let mut client = Connection::open(gateway.bound(9000));
        client.write(b"hello").expect("the bytes are sent");
        client.finish().expect("the socket is there");
        let mut want = header(own_port(&client), gateway.bound(9000));
        want.extend(b"hello");
        assert_eq!(client.read_to_end(), want, "{version}");
    }
}

/// A forward proxy: `CONNECT` to a port of loopback, whatever the name; or its answer to all is `status`.
fn forward_proxy(status: u16) -> (TcpOrigin, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let origin = TcpOrigin::serving({
        let asked = Arc::clone(&asked);
        move |stream| {
            let mut reader = BufReader::new(stream);
            let line = read_head(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let port = line
                .split([' ', ':'])
                .find_map(|part| part.parse::<u16>().ok());
            {
                let mut asked = asked.lock().map_err(|_| io::ErrorKind::Other)?;
                asked.push(line);
            }
            let answer = format!("HTTP/1.1 {status} Told\r\n\r\n");
            reader.get_mut().write_all(answer.as_bytes())?;
            if status != 200 {
                return Ok(());
            }
            let port = port.ok_or(io::ErrorKind::InvalidData)?;
            join(reader, TcpStream::connect((Ipv4Addr::LOCALHOST, port))?)
        }
    });
    (origin, asked)
}

/// Carries bytes both ways until both are done.
fn join(mut near: BufReader<TcpStream>, mut far: TcpStream) -> io::Result<()> {
    let (mut back, mut from_far) = (near.get_ref().try_clone()?, far.try_clone()?);
    let returning = thread::spawn(move || {
        let _ = io::copy(&mut from_far, &mut back);
        let _ = back.shutdown(Shutdown::Write);
    });
    io::copy(&mut near, &mut far)?;
    far.shutdown(Shutdown::Write)?;
    returning.join().map_err(|_| io::ErrorKind::Other.into())
}

fn tunnelled(proxy: u16, target: u16) -> Gateway {
    let policy = format!(
        "trafficPolicy: {{tunnel: {{protocol: CONNECT, targetHost: target.test, targetPort: {target}}}}}\n"
    );
    tcp_with(&policy, &[proxy]).start()
}

#[test]
fn tcp_goes_through_a_forward_proxy() {
    let target = TcpOrigin::echo();
    let (proxy, asked) = forward_proxy(200);
    let gateway = tunnelled(proxy.port(), target.port());
    let mut client = Connection::open(gateway.bound(9000));
    for text in ["through", "the tunnel"] {
        let back = client.echo(text.as_bytes());
        assert_eq!(back.expect("an echo"), text.as_bytes());
    }
    client.finish().expect("the socket is there");
    assert_eq!(client.read_to_end(), b"");
    let line = format!("CONNECT target.test:{} HTTP/1.1", target.port());
    assert_eq!(*asked.lock().expect("the proxy runs"), [line]);
}

/// The server speaks first, right behind the proxy's answer: nothing of that is lost.
#[test]
fn a_server_that_speaks_first_is_heard_through_a_tunnel() {
    let target = TcpOrigin::named("220 ready");
    let (proxy, _) = forward_proxy(200);
    let gateway = tunnelled(proxy.port(), target.port());
    for _ in 0..20 {
        let mut client = Connection::open(gateway.bound(9000));
        assert_eq!(client.read_to_end(), b"220 ready");
    }
}

#[test]
fn a_forward_proxy_that_refuses_ends_the_connection_with_uf() {
    let target = TcpOrigin::named("never");
    let (proxy, asked) = forward_proxy(403);
    let gateway = tunnelled(proxy.port(), target.port());
    assert_eq!(Connection::open(gateway.bound(9000)).read_to_end(), b"");
    eventually("it is logged", || {
        let records = gateway.access_log();
        records.iter().any(|record| {
            let flags = record["response_flags"].as_str().unwrap_or_default();
            flags.split(',').any(|flag| flag == "UF")
        })
    });
    assert_eq!(target.connections(), 0);
    assert!(!asked.lock().expect("the proxy runs").is_empty());
}

#[test]
fn connections_to_upstreams_are_renewed_after_their_longest_time() {
    let origin = Origin::named("shop");
    let policy = "trafficPolicy: {connectionPool: {tcp: {maxConnectionDuration: 300ms, maxConnections: 1}}}\n";
    let gateway = shop_with(policy, &[origin.port()]).start();
    let started = Instant::now();
    let load = Load::start(gateway.http(), 1, &Request::get(SHOP, "/"), |response| {
        response.status == 200
    });
    eventually("three were used one after the other", || {
        origin.connections() >= 3
    });
    assert!(started.elapsed() >= Duration::from_millis(600));
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:?}", report.failures);
    assert!(report.served > origin.connections());
}

/// Writes and reads back for a while; how long that went well.
fn lasts(client: &mut Connection, pause: Duration, limit: Duration) -> Duration {
    let started = Instant::now();
    while started.elapsed() < limit {
        if client.echo(b"x").is_err() {
            break;
        }
        // Traffic that is slow is what is tested.
        thread::sleep(pause);
    }
    started.elapsed()
}

#[test]
fn a_tcp_connection_ends_after_its_longest_time_however_busy_it_is() {
    let origin = TcpOrigin::echo();
    let policy = "trafficPolicy: {connectionPool: {tcp: {maxConnectionDuration: 400ms}}}\n";
    let gateway = tcp_with(policy, &[origin.port()]).start();
    let opened = Instant::now();
    let mut client = Connection::open(gateway.bound(9000));
    let lasted = lasts(&mut client, Duration::from_millis(10), PATIENCE);
    assert!(lasted < PATIENCE, "it goes on and on");
    assert!(opened.elapsed() >= Duration::from_millis(400), "{lasted:?}");
    eventually("the upstream is let go", || origin.open_connections() == 0);
}

#[test]
fn a_tcp_connection_ends_when_nothing_moves_for_its_idle_time() {
    let origin = TcpOrigin::echo();
    let policy = "trafficPolicy: {connectionPool: {tcp: {idleTimeout: 500ms}}}\n";
    let gateway = tcp_with(policy, &[origin.port()]).start();
    let mut busy = Connection::open(gateway.bound(9000));
    let opened = Instant::now();
    let mut silent = Connection::open(gateway.bound(9000));
    let enough = Duration::from_millis(1500);
    let lasted = lasts(&mut busy, Duration::from_millis(50), enough);
    assert!(lasted >= enough, "cut after {lasted:?}");
    assert!(silent.is_closed_within(PATIENCE), "it is still open");
    assert!(opened.elapsed() >= Duration::from_millis(500));
    eventually("the upstreams are let go", || {
        origin.open_connections() == 0
    });
}

#[test]
fn an_idle_time_of_zero_is_none() {
    let origin = TcpOrigin::echo();
    let zero = "trafficPolicy: {connectionPool: {tcp: {idleTimeout: 0s}}}\n";
    let gateway = tcp_with(zero, &[origin.port()]).start();
    let mut client = Connection::open(gateway.bound(9000));
    assert!(!client.is_closed_within(Duration::from_millis(700)));
    let limit = Duration::from_millis(20);
    assert!(lasts(&mut client, Duration::ZERO, limit) >= limit);
}

/// A connection of the pool that nobody uses is given up.
#[test]
fn an_idle_connection_of_the_pool_is_closed_after_its_idle_time() {
    let origin = Origin::named("shop");
    let policy = "trafficPolicy: {connectionPool: {http: {idleTimeout: 300ms}}}\n";
    let gateway = shop_with(policy, &[origin.port()]).start();
    let asked = Instant::now();
    assert_eq!(gateway.get(SHOP, "/").status, 200);
    eventually("it is closed", || origin.open_connections() == 0);
    assert!(asked.elapsed() >= Duration::from_millis(300));
    assert_eq!(gateway.get(SHOP, "/").status, 200);
    assert_eq!(origin.connections(), 2);
}

/// Nobody answers, not even with a refusal: the queue of whoever listens is full.
#[test]
fn a_connection_that_does_not_come_about_in_time_is_503_uf() {
    let full = full_listener();
    let policy = "trafficPolicy: {connectionPool: {tcp: {connectTimeout: 200ms}}}\n";
    let rules = "\
- retries: {attempts: 0}
  route: [{destination: {host: shop}}]
";
    let gateway = shop(rules, &[("shop", &[full.0.port()])])
        .file("policy.yaml", destination_rule("shop", policy))
        .start();
    let asked = Instant::now();
    let response = gateway.get(SHOP, "/slow");
    assert_eq!(response.status, 503);
    assert!(
        response.text().contains("reset reason: connection timeout"),
        "{}",
        response.text()
    );
    assert!(asked.elapsed() >= Duration::from_millis(200));
    assert_eq!(gateway.logged("/slow")["response_flags"], "UF");
}

/// A port whose queue of connections is full, so that the kernel answers nobody; and what fills it.
fn full_listener() -> (SocketAddr, OwnedFd, Vec<TcpStream>) {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a port to listen on");
    listen(&socket, 0).expect("it listens");
    let address = getsockname(&socket).expect("a bound socket has an address");
    let address = SocketAddr::try_from(address).expect("of IPv4");
    let limit = Duration::from_millis(100);
    let waiting = (0..8).map_while(|_| TcpStream::connect_timeout(&address, limit).ok());
    let waiting: Vec<_> = waiting.collect();
    assert!(waiting.len() < 8, "the queue has no end");
    (address, socket, waiting)
}
