//! A sidecar from the beginning of its pod to the end. Promise 21.

use crate::mesh_tls::peers;
use e2e::{
    After, Authority, Gate, Mesh, PATIENCE, Pod, Request, ServiceSpec, TcpOrigin, eventually,
    mesh_agent_binary,
};
use rustix::process::Signal;
use std::net::{Ipv4Addr, SocketAddr};

const HTTP: u16 = 9080;
const TCP: u16 = 7000;

fn everywhere(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

/// What the container that is to start after the sidecar runs before.
#[test]
fn an_application_waits_for_its_sidecar() {
    let mesh = Mesh::new();
    let pod = mesh.pod("client-v1").start();
    let wait = |pod: &Pod, limit: &str| {
        let machine = pod.machine();
        machine.run(mesh_agent_binary(), &["wait", "--timeout", limit])
    };
    let ran = wait(&pod, "10s");
    assert_eq!(ran.code, 0, "{ran:?}");
    let nobody = mesh.pod("plain").alone();
    let ran = wait(&nobody, "100ms");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("not ready"), "{ran:?}");
}

/// The kubelet has no certificate of the mesh: it asks the sidecar, which asks the application past itself.
#[test]
fn probes_are_answered_where_nobody_is_heard_in_clear() {
    let probers = r#"{
        "/app-health/app/readyz": {"httpGet": {"path": "/ready", "port": 9080}},
        "/app-health/app/livez": {"tcpSocket": {"port": 7000}}
    }"#;
    let mesh = Mesh::new();
    mesh.write("peers.yaml", peers("STRICT"));
    mesh.service(
        ServiceSpec::new("server")
            .port("http", HTTP)
            .port("tcp", TCP),
    );
    let server = mesh
        .pod("server-v1")
        .identity(&Authority::new("mesh"))
        .environment("ISTIO_KUBE_APP_PROBERS", probers)
        .start();
    let kubelet = mesh.pod("kubelet").alone();
    let probe = |name: &str| {
        let url = format!("{}:15020/app-health/app/{name}", server.address());
        kubelet.get(&url).status
    };
    assert_eq!([probe("readyz"), probe("livez")], [500, 500]);
    let app = server.serve(HTTP, |exchange| {
        let status = if exchange.request.target() == "/ready" {
            200
        } else {
            404
        };
        exchange.reply(status, &[], b"")?;
        Ok(After::Keep)
    });
    let bytes = server.enter(|| TcpOrigin::echo_at(everywhere(TCP)));
    assert_eq!([probe("readyz"), probe("livez")], [200, 200]);
    let url = format!("{}:{HTTP}/ready", server.address());
    assert!(kubelet.try_get(&url, &[]).is_err(), "in clear");
    assert_eq!(app.hits(), 1);
    eventually("the other was asked once", || bytes.connections() == 1);
    let ready = format!("{}:15021/healthz/ready", server.address());
    assert_eq!(kubelet.get(&ready).status, 200);
}

/// While the application is still at work it may ask others and be asked, and the sidecar ends after it.
#[test]
fn a_sidecar_ends_after_its_application() {
    let mesh = Mesh::new();
    mesh.service(
        ServiceSpec::new("server")
            .port("http", HTTP)
            .port("tcp", TCP),
    );
    let server = mesh.pod("server-v1").start();
    let mut worker = mesh.pod("worker-v1").drain("0s", "1h").start();
    let other = mesh.pod("plain").alone();
    let bytes = server.enter(|| TcpOrigin::echo_at(everywhere(TCP)));
    let _requests = server.serve(HTTP, |exchange| {
        exchange.reply(200, &[], b"here")?;
        Ok(After::Keep)
    });
    let gate = worker.enter(|| Gate::start_at(everywhere(HTTP)));
    let mut job = worker.connect(worker.resolve("server", TCP));
    assert_eq!(job.echo(b"begin").expect("an echo"), b"begin");

    worker.agent().signal(Signal::TERM);
    eventually("it is not ready", || {
        worker.agent().status("/healthz/ready").status == 503
    });
    assert_eq!(worker.get("server:9080/").text(), "here");
    let mut asking = other.connect((worker.address(), HTTP));
    let request = Request::get("worker", "/").bytes();
    asking.write(&request).expect("the request is sent");
    gate.wait_for_request();
    gate.open();
    assert_eq!(asking.read_response("GET").expect("an answer").status, 200);
    assert_eq!(job.echo(b"end").expect("an echo"), b"end");
    assert!(worker.agent_mut().is_running());

    drop((job, asking));
    let ended = worker.agent_mut().ended_within(PATIENCE);
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    eventually("the job is over", || bytes.open_connections() == 0);
}

/// A job ends its sidecar itself; nobody else can.
#[test]
fn a_job_ends_its_sidecar() {
    let mesh = Mesh::new();
    let mut job = mesh.pod("job-v1").start();
    let other = mesh.pod("plain").alone();
    let end = Request::post("localhost", "/quitquitquit", "");
    let mut from_outside = other.connect((job.address(), 15020));
    let answer = from_outside.send(&end).expect("an answer");
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(job.agent_mut().is_running());
    let mut own = job.connect((Ipv4Addr::LOCALHOST, 15020));
    assert_eq!(own.send(&end).expect("an answer").status, 200);
    let ended = job.agent_mut().ended_within(PATIENCE);
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}
