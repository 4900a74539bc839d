//! What a sidecar tells its pod, the kubelet and scrapers on port 15020.
//!
//! Source: Istio, the status server of `pilot-agent`.

use crate::downward::Told;
use crate::metrics::Merged;
use anyhow::Context;
use app_probes::{Answer, Application, MetricsSource, Probers};
use http::StatusCode;
use proxy::bootstrap::Bootstrap;
use proxy::{Control, Serving};
use std::net::SocketAddr;
use std::sync::Arc;
use telemetry::server::{Page, PageBody, PageRequest, PageResponse, Pages, ready_page};

/// All of them.
///
/// # Errors
/// When the environment says something about the application that cannot be.
pub(crate) fn all(
    _: &Bootstrap,
    serving: &Arc<Serving>,
    control: Control,
    address: SocketAddr,
) -> anyhow::Result<Pages> {
    let told = Told::by_environment()?;
    let application = told.application();
    let source = metrics_source(&told, address.port()).context("ISTIO_PROMETHEUS_ANNOTATIONS")?;
    let probes = Probes {
        application,
        probers: probers(&told).context("ISTIO_KUBE_APP_PROBERS")?,
        own_port: address.port(),
    };
    let mut pages = Pages::new("Tidegate mesh-agent");
    add_metrics(&mut pages, Merged::new(serving, application, source)?)?;
    pages.add(ready_page("/healthz/ready", &serving.readiness))?;
    add_probes(&mut pages, probes, serving)?;
    add_ends(&mut pages, control)?;
    Ok(pages)
}

fn metrics_source(told: &Told, own_port: u16) -> anyhow::Result<Option<MetricsSource>> {
    let Some(json) = &told.prometheus_annotations else {
        return Ok(None);
    };
    Ok(MetricsSource::parse(json, own_port)?)
}

fn probers(told: &Told) -> anyhow::Result<Probers> {
    let json = told.probers.as_deref();
    let probers = Probers::parse(json.unwrap_or("{}"))?;
    for remark in probers.remarks() {
        tracing::warn!("ISTIO_KUBE_APP_PROBERS: {remark}");
    }
    Ok(probers)
}

fn add_metrics(pages: &mut Pages, merged: Merged) -> anyhow::Result<()> {
    let merged = Arc::new(merged);
    for path in ["/metrics", "/stats/prometheus"] {
        let merged = merged.clone();
        let help = "metrics for Prometheus, the application's among them";
        pages.add(Page::get_waiting(path, help, move |request| {
            merged.clone().tell(request)
        }))?;
    }
    Ok(())
}

/// What asks the application.
struct Probes {
    application: Application,
    probers: Probers,
    own_port: u16,
}

impl Probes {
    async fn ask(&self, request: &PageRequest) -> PageResponse {
        let PageRequest { path, headers, .. } = request;
        let asked = self
            .probers
            .ask(self.application, path, headers, self.own_port);
        let answer = asked.await;
        if !answer.status.is_success() {
            let said = String::from_utf8_lossy(&answer.body);
            tracing::debug!(path, status = %answer.status, said = said.trim_end(), "the application is not well");
        }
        page(answer)
    }
}

fn page(answer: Answer) -> PageResponse {
    let Answer {
        status,
        headers,
        body,
    } = answer;
    PageResponse {
        status,
        headers,
        body: PageBody::Full(body),
    }
}

fn add_probes(pages: &mut Pages, probes: Probes, serving: &Arc<Serving>) -> anyhow::Result<()> {
    let probes = Arc::new(probes);
    let asked = probes.clone();
    pages.add(Page::get_waiting(
        "/app-health/",
        "the application's probes, as the kubelet asks for them",
        move |request| {
            let probes = asked.clone();
            async move { probes.ask(&request).await }
        },
    ))?;
    let in_use = serving.shared.in_use.clone();
    pages.add(Page::get_waiting(
        "/app-lifecycle/",
        "the application's hooks, as the kubelet calls them",
        move |request| {
            let (probes, in_use) = (probes.clone(), in_use.clone());
            async move {
                // The application is called when it ends, and the sidecar ends after it.
                let _in_use = in_use.hold();
                probes.ask(&request).await
            }
        },
    ))?;
    Ok(())
}

fn add_ends(pages: &mut Pages, control: Control) -> anyhow::Result<()> {
    let ending = control.clone();
    pages.add(Page::post(
        "/drain",
        "not ready any more, from within the pod: SIGTERM then waits only for what is in use",
        move |request| from_within(request, || ending.begin_drain()),
    ))?;
    pages.add(Page::post(
        "/quitquitquit",
        "end at once, from within the pod",
        move |request| from_within(request, || control.quit()),
    ))?;
    Ok(())
}

/// Does it for whoever asks on loopback, where only the pod itself is.
fn from_within(request: &PageRequest, done: impl FnOnce()) -> PageResponse {
    let PageRequest { path, peer, .. } = request;
    if !peer.ip().to_canonical().is_loopback() {
        tracing::warn!(path, %peer, "refused: it comes from outside of the pod");
        return PageResponse::text("Only requests from localhost are allowed\n")
            .with_status(StatusCode::FORBIDDEN);
    }
    tracing::info!(path, "asked for from within the pod");
    done();
    PageResponse::text("OK")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_by(peer: &str) -> (u16, bool) {
        let request = PageRequest {
            path: "/quitquitquit".to_owned(),
            query: String::new(),
            headers: http::HeaderMap::new(),
            body: Default::default(),
            peer: peer.parse().unwrap(),
        };
        let mut is_done = false;
        let response = from_within(&request, || is_done = true);
        (response.status.as_u16(), is_done)
    }

    #[test]
    fn only_the_pod_itself_ends_its_sidecar() {
        for (peer, want) in [
            ("127.0.0.1:1", (200, true)),
            ("[::1]:1", (200, true)),
            ("[::ffff:127.0.0.1]:1", (200, true)),
            ("10.0.0.5:1", (403, false)),
            ("[fd00::5]:1", (403, false)),
        ] {
            assert_eq!(asked_by(peer), want, "{peer}");
        }
    }
}
