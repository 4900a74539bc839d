//! The small HTTP servers for admin, status and metrics.
//!
//! Each serves the [`Pages`] registered with it, over HTTP/1.1. They are made for a handful of
//! clients: connections, the time to send a request, and its size are bounded.

mod html;
mod http1;
mod page;
mod request;
mod response;
mod standard;

pub use http1::PageServer;
pub use page::{Answering, DuplicatePage, Handler, Page, PageMethod, Pages};
pub use request::PageRequest;
pub use response::{PageBody, PageResponse};
pub use standard::{add_admin_pages, metrics_pages, ready_page, status_pages};
