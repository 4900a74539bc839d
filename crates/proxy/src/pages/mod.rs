//! The admin server's pages about configuration and traffic.

mod certificates;
mod clusters;
mod dump;
mod egress;
mod forward_proxy;
mod servers;
mod sidecar;

use crate::Program;
use crate::render;
use crate::serve::Serving;
use dataplane::net::ListenerStatus;
use model::Diagnostic;
use serde_json::{Value, json};
use std::sync::Arc;
use telemetry::logging::LogHandle;
use telemetry::server::{DuplicatePage, Page, PageRequest, PageResponse, Pages, add_admin_pages};
use tokio::sync::watch;

/// What an operator asks of the process by a page, the less patient the greater.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Wish {
    /// Begin to drain, and go on.
    BeginDrain,
    /// As SIGTERM.
    Drain,
    /// End at once.
    Quit,
}

/// The greatest wish so far, if there is any.
pub(crate) type Wishes = watch::Receiver<Option<Wish>>;

/// Hands wishes to the main loop.
#[derive(Clone, Debug)]
pub struct Control(watch::Sender<Option<Wish>>);

impl Control {
    /// Nothing is wished for yet.
    pub(crate) fn new() -> (Self, Wishes) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), receiver)
    }

    /// Traffic is not wanted any more, and every answer is the last of its connection, but the process goes on until
    /// it is told to end, which then waits for nothing but what is in use.
    pub fn begin_drain(&self) {
        self.wish(Wish::BeginDrain);
    }

    /// The process ends as on SIGTERM.
    pub fn drain(&self) {
        self.wish(Wish::Drain);
    }

    /// The process ends at once.
    pub fn quit(&self) {
        self.wish(Wish::Quit);
    }

    fn wish(&self, wish: Wish) {
        self.0.send_if_modified(|greatest| {
            let is_greater = *greatest < Some(wish);
            if is_greater {
                *greatest = Some(wish);
            }
            is_greater
        });
    }
}

/// Waits for the wish to end at once.
pub(crate) async fn quit(wishes: &mut Wishes) {
    // Fails only when nobody is left who could wish it.
    if wishes
        .wait_for(|wish| *wish == Some(Wish::Quit))
        .await
        .is_err()
    {
        std::future::pending().await
    }
}

/// All pages of the admin server.
///
/// # Errors
///
/// When two have the same path.
pub(crate) fn admin(
    program: &Program,
    serving: &Arc<Serving>,
    control: Control,
    log: &LogHandle,
) -> Result<Pages, DuplicatePage> {
    let mut pages = Pages::with_index(program.title);
    add_admin_pages(&mut pages, program.version, &serving.readiness, log)?;
    let page = |show: fn(&Serving, &PageRequest) -> PageResponse| {
        let serving = Arc::clone(serving);
        move |request: &PageRequest| show(&serving, request)
    };
    pages.add(Page::get(
        "/config_dump",
        "the configuration in force, as JSON",
        page(dump::show),
    ))?;
    pages.add(Page::get(
        "/clusters",
        "clusters with their endpoints and counters: ?format=json",
        page(clusters::show),
    ))?;
    pages.add(Page::get(
        "/listeners",
        "ports, and whether they are bound: ?format=json",
        page(listeners),
    ))?;
    pages.add(Page::get(
        "/certs",
        "certificates, and how long they last: ?format=json",
        page(certificates::show),
    ))?;
    pages.add(Page::get(
        "/receipts",
        "the last changes of the configuration, as JSON",
        page(receipts),
    ))?;
    pages.add(Page::get(
        "/diagnostics",
        "what is wrong with the resources: ?format=text",
        page(diagnostics),
    ))?;
    pages.add(Page::get(
        "/egress",
        "what was learnt of the forward proxy, the most bytes first, as JSON: ?sort=host",
        page(egress::show),
    ))?;
    let (drain, stop) = (control.clone(), control);
    pages.add(Page::post(
        "/drain",
        "end gracefully, as on SIGTERM",
        move |_| {
            drain.drain();
            PageResponse::text("draining\n")
        },
    ))?;
    pages.add(Page::post("/quitquitquit", "end at once", move |_| {
        stop.quit();
        PageResponse::text("stopping\n")
    }))?;
    Ok(pages)
}

fn wants(request: &PageRequest, format: &str) -> bool {
    request.parameter("format").as_deref() == Some(format)
}

fn receipts(serving: &Serving, _: &PageRequest) -> PageResponse {
    PageResponse::json(&serving.receipts.to_json())
}

fn diagnostics(serving: &Serving, request: &PageRequest) -> PageResponse {
    let published = serving.published();
    let diagnostics: &[Diagnostic] = published
        .as_ref()
        .map_or(&[], |published| &published.diagnostics);
    if wants(request, "text") {
        return PageResponse::text(render::lines(diagnostics));
    }
    PageResponse::json(&render::json(diagnostics))
}

fn listeners(serving: &Serving, request: &PageRequest) -> PageResponse {
    let all = serving.listeners.status();
    if wants(request, "json") {
        let all: Vec<Value> = all.iter().map(listener_as_json).collect();
        return PageResponse::json(&json!({ "listeners": all }));
    }
    let line = |listener: &ListenerStatus| {
        let ListenerStatus {
            key,
            address,
            error,
            connections,
        } = listener;
        let state = error.as_ref().map_or_else(
            || format!("listening, {connections} connections"),
            |error| format!("not listening: {error}"),
        );
        format!("{address} for port {}: {state}\n", key.port)
    };
    PageResponse::text(all.iter().map(line).collect::<String>())
}

fn listener_as_json(listener: &ListenerStatus) -> Value {
    json!({
        "bind": listener.key.bind.map(|bind| bind.to_string()),
        "port": listener.key.port,
        "address": listener.address.to_string(),
        "listening": listener.error.is_none(),
        "error": listener.error,
        "connections": listener.connections,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_patient_wish_counts() {
        let (control, mut wishes) = Control::new();
        let mut heard = || {
            let is_news = wishes.has_changed().unwrap();
            is_news.then(|| wishes.borrow_and_update().unwrap())
        };
        assert_eq!(heard(), None);
        control.begin_drain();
        assert_eq!(heard(), Some(Wish::BeginDrain));
        control.quit();
        assert_eq!(heard(), Some(Wish::Quit));
        control.drain();
        control.begin_drain();
        assert_eq!(heard(), None);
    }
}
