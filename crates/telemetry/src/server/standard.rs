//! The pages that need nothing from other crates.

use super::page::{DuplicatePage, Page, Pages};
use super::request::PageRequest;
use super::response::PageResponse;
use crate::logging::LogHandle;
use crate::metrics::{CONTENT_TYPE, Memory};
use crate::{Metrics, Readiness};
use http::StatusCode;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

/// Adds `/logging`, `/memory`, `/ready` and `/server_info` to the admin server's pages.
///
/// `version` is the program's; its uptime is counted from this call.
///
/// # Errors
///
/// One of them is there already.
pub fn add_admin_pages(
    pages: &mut Pages,
    version: &'static str,
    readiness: &Readiness,
    log: &LogHandle,
) -> Result<(), DuplicatePage> {
    let (shown, changed) = (log.clone(), log.clone());
    pages.add(Page::get("/logging", "the level of the log", move |_| {
        level(&shown)
    }))?;
    pages.add(Page::post(
        "/logging",
        "change the level of the log: ?level=debug",
        move |request| set_level(&changed, request),
    ))?;
    pages.add(Page::get("/memory", "memory in use", |_| memory()))?;
    pages.add(ready_page("/ready", readiness))?;
    pages.add(server_info_page(version, readiness))
}

/// The pages of the status server: `/healthz/ready`.
pub fn status_pages(readiness: &Readiness) -> Pages {
    pages_of("Tidegate status", [ready_page("/healthz/ready", readiness)])
}

/// The pages of the metrics server: `/metrics` and `/stats/prometheus`, the same.
pub fn metrics_pages(metrics: &Arc<Metrics>) -> Pages {
    let page = |path| {
        let metrics = metrics.clone();
        Page::get(path, "metrics for Prometheus", move |_| {
            PageResponse::chunks(CONTENT_TYPE, metrics.exposition())
        })
    };
    pages_of(
        "Tidegate metrics",
        [page("/metrics"), page("/stats/prometheus")],
    )
}

fn pages_of(title: &'static str, list: impl IntoIterator<Item = Page>) -> Pages {
    let mut pages = Pages::new(title);
    for page in list {
        pages.add(page).expect("the paths above are distinct");
    }
    pages
}

/// A page that tells whether traffic is wanted: 200, or 503 and why not.
pub fn ready_page(path: &'static str, readiness: &Readiness) -> Page {
    let readiness = readiness.clone();
    Page::get(
        path,
        "200 when traffic is wanted, else 503 and why",
        move |_| {
            let status = if readiness.is_ready() {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            PageResponse::text(format!("{readiness}\n")).with_status(status)
        },
    )
}

fn server_info_page(version: &'static str, readiness: &Readiness) -> Page {
    let (readiness, started) = (readiness.clone(), Instant::now());
    Page::get("/server_info", "version, uptime and state", move |_| {
        PageResponse::json(&json!({
            "version": version,
            "state": readiness.to_string(),
            "uptime_seconds": started.elapsed().as_secs(),
            "process_id": std::process::id(),
        }))
    })
}

fn memory() -> PageResponse {
    match Memory::now() {
        None => PageResponse::text("not known on this system\n")
            .with_status(StatusCode::NOT_IMPLEMENTED),
        Some(memory) => PageResponse::json(&json!({
            "resident_bytes": memory.resident,
            "resident_peak_bytes": memory.peak,
            "virtual_bytes": memory.reserved,
        })),
    }
}

fn level(log: &LogHandle) -> PageResponse {
    PageResponse::text(format!("level: {}\n", log.level()))
}

fn set_level(log: &LogHandle, request: &PageRequest) -> PageResponse {
    let bad = |why: String| PageResponse::text(why).with_status(StatusCode::BAD_REQUEST);
    let Some(wanted) = request.parameter("level") else {
        return bad("no level given: POST /logging?level=debug\n".into());
    };
    if let Err(invalid) = log.set_level(&wanted) {
        return bad(format!("{invalid}\n"));
    }
    tracing::info!(level = wanted, peer = %request.peer, "log level changed");
    level(log)
}
