//! The gateway with a large cluster: `kubernetes-scale GATEWAY [SERVICES [CHANGES]]` starts it beside an API server with so many
//! Services (10,000), ten endpoints for each and one VirtualService for each, and prints a table: how long until it is
//! ready, its memory, and how long from a changed object to the first request that is served by it.

use e2e::{Connection, Origin, Port, Request};
use fake_kubernetes::ApiServer;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, Stdio, exit};
use std::time::{Duration, Instant};

/// Nothing takes this long unless it never comes.
const PATIENCE: Duration = Duration::from_secs(120);

const NAMESPACES: usize = 100;
const ENDPOINTS_EACH: usize = 10;

struct Scale {
    services: usize,
    changes: usize,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let gateway = arguments.next();
    let numbers: Result<Vec<usize>, _> = arguments.map(|text| text.parse()).collect();
    let (Some(gateway), Ok(numbers)) = (gateway, numbers) else {
        eprintln!("usage: kubernetes-scale GATEWAY [SERVICES [CHANGES]]");
        exit(2);
    };
    let scale = Scale {
        services: numbers.first().copied().unwrap_or(10_000).max(1),
        changes: numbers.get(1).copied().unwrap_or(200).max(1),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let server = runtime.block_on(ApiServer::start());
            measure(Path::new(&gateway), &server, &scale);
        }
        Err(error) => {
            eprintln!("no runtime: {error}");
            exit(1);
        }
    }
}

#[expect(clippy::print_stdout, reason = "the table is what it is for")]
fn measure(program: &Path, server: &ApiServer, scale: &Scale) {
    let origins = [Origin::named("a"), Origin::named("b")];
    for number in 0..scale.services {
        add(server, number);
    }
    server.put(
        "gateways",
        "edge",
        &json!({"metadata": {"namespace": "istio-system"}, "spec": {
            "selector": {"istio": "ingressgateway"},
            "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
        }}),
    );
    let folder = tempfile::tempdir().unwrap_or_else(|error| fail(&error));
    let kubeconfig = server.kubeconfig();
    let (port, status) = (Port::reserve(), Port::reserve());
    let bootstrap = format!(
        "[proxy]\nlabels = {{ istio = \"ingressgateway\" }}\nnamespace = \"istio-system\"\n\
         [resources]\nfiles = []\nlast-good = \"last-good\"\n\
         [kubernetes]\nkubeconfig = {:?}\n[listen]\nports = {{ 80 = {} }}\n[status]\naddress = \"127.0.0.1:{}\"\n\
         [metrics]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[access-log]\npath = \"\"\n",
        kubeconfig.path(),
        port.number(),
        status.number(),
    );
    let config = folder.path().join("gateway.toml");
    std::fs::write(&config, bootstrap).unwrap_or_else(|error| fail(&error));

    let started = Instant::now();
    let gateway = Running(
        Command::new(program)
            .arg("run")
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| fail(&error)),
    );
    let ready = Request::get("status", "/healthz/ready");
    wait_for(|| {
        let mut connection = Connection::try_open(status.number()).ok()?;
        let answer = connection.send(&ready).ok()?;
        (answer.status == 200).then_some(())
    });
    let until_ready = started.elapsed();
    let at_first = gateway.memory();
    println!(
        "{} Services, {} endpoints, {} VirtualServices",
        scale.services,
        scale.services * ENDPOINTS_EACH,
        scale.services
    );
    println!("| what | figure |\n| --- | --- |");
    println!("| ready after | {:.2} s |", until_ready.as_secs_f64());
    println!("| memory once ready | {at_first} MiB |");

    // First each leads elsewhere than before, to nobody; then it has another answer for the same.
    for (what, first) in [
        ("a VirtualService that leads elsewhere is served after", 210),
        (
            "a VirtualService that answers something else is served after",
            310,
        ),
    ] {
        let mut routes = Vec::new();
        for change in 0..scale.changes {
            let number = change * 37 % scale.services;
            let status = first + (change % 80) as u16;
            let answers = move |request: &mut Connection| {
                let answer = request.send(&get(number)).ok()?;
                Some(answer.status == status)
            };
            routes.push(changed(port.number(), answers, || {
                let changed = direct(number, status);
                server.put("virtualservices", &name("v", number), &changed);
            }));
        }
        percentiles(what, routes);
    }
    let mut endpoints = Vec::new();
    let number = 1 % scale.services;
    server.put("virtualservices", &name("v", number), &routed(number));
    for change in 0..scale.changes {
        let origin = &origins[change % 2];
        let wanted = ["a", "b"][change % 2];
        let answers = move |request: &mut Connection| {
            let answer = request.send(&get(number)).ok()?;
            Some(answer.body == wanted.as_bytes())
        };
        endpoints.push(changed(port.number(), answers, || {
            let slice = slice(number, &["127.0.0.1".to_owned()], origin.port());
            server.put("endpointslices", &name("s", number), &slice);
        }));
    }
    percentiles("a changed EndpointSlice is served after", endpoints);
    println!(
        "| memory after {} changes | {} MiB |",
        2 * scale.changes,
        gateway.memory()
    );
}

/// How long it takes from a change until a request is answered as it says.
fn changed(
    port: u16,
    answers: impl Fn(&mut Connection) -> Option<bool>,
    change: impl FnOnce(),
) -> Duration {
    let mut connection = None;
    let started = Instant::now();
    change();
    wait_for(|| {
        if connection.is_none() {
            connection = Connection::try_open(port).ok();
        }
        match answers(connection.as_mut()?) {
            Some(true) => return Some(started.elapsed()),
            Some(false) => {}
            None => connection = None,
        }
        // The answer is for the gateway to give: asking all the time would take a core from it.
        std::thread::sleep(Duration::from_micros(500));
        None
    })
}

fn wait_for<T>(mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        if started.elapsed() > PATIENCE {
            eprintln!("it does not come");
            exit(1);
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

#[expect(clippy::print_stdout, reason = "the table is what it is for")]
fn percentiles(what: &str, mut all: Vec<Duration>) {
    all.sort_unstable();
    let millis = |share: usize| {
        let at = (all.len() * share / 100).min(all.len() - 1);
        all[at].as_secs_f64() * 1e3
    };
    let (p50, p99, most) = (millis(50), millis(99), millis(100));
    println!("| {what} | p50 {p50:.1}, p99 {p99:.1}, at most {most:.1} ms |");
}

/// The gateway. It ends with this.
struct Running(Child);

impl Running {
    /// What it has in memory, in MiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next());
        let kibibytes: Option<u64> = kibibytes.and_then(|number| number.parse().ok());
        kibibytes.unwrap_or_default() / 1024
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, which was told then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn fail(error: &dyn std::error::Error) -> ! {
    eprintln!("{error}");
    exit(1);
}

fn name(prefix: &str, number: usize) -> String {
    format!("{prefix}{number}")
}

fn namespace(number: usize) -> String {
    format!("n{}", number % NAMESPACES)
}

fn get(number: usize) -> Request {
    Request::get(&format!("h{number}.example.com"), "/api/item")
}

fn add(server: &ApiServer, number: usize) {
    let [_, high, middle, low] = (number as u32).to_be_bytes();
    server.put(
        "services",
        &name("s", number),
        &json!({"metadata": {"namespace": namespace(number)}, "spec": {
            "clusterIP": format!("10.{high}.{middle}.{low}"), "type": "ClusterIP",
            "selector": {"app": name("s", number)},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
        }}),
    );
    let first = number * ENDPOINTS_EACH;
    let addresses: Vec<_> = (first..first + ENDPOINTS_EACH)
        .map(|endpoint| {
            let [_, high, middle, low] = (endpoint as u32).to_be_bytes();
            format!("10.{}.{middle}.{low}", 128 + high)
        })
        .collect();
    server.put(
        "endpointslices",
        &name("s", number),
        &slice(number, &addresses, 8080),
    );
    server.put("virtualservices", &name("v", number), &routed(number));
}

fn slice(number: usize, addresses: &[String], port: u16) -> Value {
    let endpoints = addresses.iter().map(|address| {
        json!({"addresses": [address], "conditions": {"ready": true}, "nodeName": "one", "zone": "a"})
    });
    json!({
        "metadata": {
            "namespace": namespace(number),
            "labels": {"kubernetes.io/service-name": name("s", number)},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

fn routed(number: usize) -> Value {
    let route =
        json!({"route": [{"destination": {"host": name("s", number), "port": {"number": 80}}}]});
    virtual_service(number, &route)
}

fn direct(number: usize, status: u16) -> Value {
    virtual_service(number, &json!({"directResponse": {"status": status}}))
}

fn virtual_service(number: usize, action: &Value) -> Value {
    let mut of_path = action.clone();
    of_path["match"] = json!([{"uri": {"prefix": "/api"}}]);
    json!({"metadata": {"namespace": namespace(number)}, "spec": {
        "hosts": [format!("h{number}.example.com")],
        "gateways": ["istio-system/edge"],
        "http": [of_path, action],
    }})
}
