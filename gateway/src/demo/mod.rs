//! `gateway demo`.

mod upstream;

use crate::PROGRAM;
use crate::args::DemoArgs;
use anyhow::Context;
use config::{Change, Configuration, Content, Followers, Message};
use proxy::bootstrap::{Bootstrap, Drain};
use proxy::{Serving, Signals, runtime, settings};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// The rules of the demo.
const RULES: &str = include_str!("resources.yaml");

/// The Services behind them and the versions that answer.
const SERVICES: [(&str, &str); 2] = [("httpbin", "v1"), ("httpbin-v2", "v2")];

/// How many ports are tried after the one asked for.
const PORTS_TRIED: u16 = 100;

/// Connections still in use at Ctrl-C may finish for a moment.
const DRAIN: Drain = Drain {
    delay: Duration::ZERO,
    timeout: Duration::from_secs(1),
};

/// Serves the bundled example until Ctrl-C.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    telemetry::logging::start("warn", telemetry::logging::LogFormat::Text)?;
    let port = free_port(args.port)?;
    let mut bootstrap = Bootstrap::default();
    bootstrap.listen.ports.insert(80, port);
    let runtime = runtime(&bootstrap)?;
    runtime.block_on(serve(&bootstrap, port))?;
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

async fn serve(bootstrap: &Bootstrap, port: u16) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("signals cannot be awaited")?;
    let mut resources = RULES.to_owned();
    for (service, version) in SERVICES {
        let upstream = upstream::start(version)
            .await
            .context("an upstream cannot be started")?;
        resources += &service_at(service, version, upstream);
    }
    let serving = Serving::new(&PROGRAM, bootstrap)?;
    let sender = follow(bootstrap, &serving, resources).await?;
    while !serving.readiness.is_ready() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    std::io::stdout().lock().write_all(hints(port).as_bytes())?;
    signals.stop().await;
    drop(sender);
    serving.drain(&DRAIN).await;
    serving.write_what_is_left();
    Ok(())
}

/// Serves resources that never change. The configuration ends with the returned sender.
async fn follow(
    bootstrap: &Bootstrap,
    serving: &Arc<Serving>,
    resources: String,
) -> anyhow::Result<mpsc::Sender<Message>> {
    let (sender, receiver) = mpsc::channel(config::QUEUE);
    let configuration = Configuration::new(settings(bootstrap, None));
    let publications = config::start(configuration, 1, Followers::default(), receiver)
        .context("no thread can be started")?;
    let serving = Arc::clone(serving);
    tokio::spawn(async move { serving.follow(publications).await });
    let change = Change {
        file: "demo".into(),
        content: Content::Text(resources.into()),
    };
    sender.send(Message::Changes(vec![change])).await?;
    sender.send(Message::Synced).await?;
    Ok(sender)
}

/// The first free port from `wanted` on.
fn free_port(wanted: u16) -> anyhow::Result<u16> {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (wanted.max(1)..=wanted.saturating_add(PORTS_TRIED))
        .find(is_free)
        .with_context(|| format!("no free port from {wanted} on"))
}

fn service_at(name: &str, version: &str, upstream: SocketAddr) -> String {
    format!(
        "---\n\
         apiVersion: v1\n\
         kind: Service\n\
         metadata: {{name: {name}}}\n\
         spec:\n  \
           ports:\n  \
           - {{name: http, port: 8000}}\n\
         ---\n\
         apiVersion: discovery.k8s.io/v1\n\
         kind: EndpointSlice\n\
         metadata:\n  \
           name: {name}-{version}\n  \
           labels: {{kubernetes.io/service-name: {name}}}\n\
         addressType: IPv4\n\
         ports:\n\
         - {{name: http, port: {port}}}\n\
         endpoints:\n\
         - addresses: [\"{address}\"]\n",
        port = upstream.port(),
        address = upstream.ip(),
    )
}

fn hints(port: u16) -> String {
    let url = format!("http://127.0.0.1:{port}");
    let tries = [
        (
            "httpbin",
            "",
            "/status/200",
            "200, from the upstream: the VirtualService lets /status through",
        ),
        (
            "httpbin",
            "",
            "/delay/2",
            "200 after two seconds: /delay is let through too",
        ),
        ("httpbin", "", "/headers", "404: no rule for it"),
        (
            "canary",
            "",
            "/get",
            "200, three times of four from v1, else from v2 (x-version)",
        ),
        (
            "canary",
            " -H 'x-tester: yes'",
            "/get",
            "200, always from v2: a header chooses",
        ),
        (
            "canary",
            " -H 'x-user: jason'",
            "/get",
            "500: an injected failure, no upstream is asked",
        ),
        ("canary", "", "/old", "301 to /get"),
    ];
    let mut text = format!("Tidegate serves the httpbin example on {url}. Try:\n\n");
    for (host, header, path, expected) in tries {
        let command = format!("curl -i -H 'Host: {host}.example.com'{header} {url}{path}");
        let _ = writeln!(text, "  # {expected}\n  {command}\n");
    }
    text + "Each request is logged below in Istio's format. Ctrl-C ends.\n\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_example_is_clean() {
        let mut text = RULES.to_owned();
        for (name, version) in SERVICES {
            text += &service_at(name, version, SocketAddr::from(([127, 0, 0, 1], 9)));
        }
        let mut configuration = Configuration::new(settings(&Bootstrap::default(), None));
        configuration.apply(vec![Change {
            file: "demo".into(),
            content: Content::Text(text.into()),
        }]);
        let published = configuration.compile(std::time::SystemTime::now()).unwrap();
        assert_eq!(published.diagnostics.to_vec(), []);
        assert_eq!(published.table.listeners.len(), 1);
        assert_eq!(published.endpoints.services.len(), 2);
    }
}
