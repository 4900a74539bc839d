//! Pages: what a server answers.

use super::html;
use super::request::PageRequest;
use super::response::PageResponse;
use http::StatusCode;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

/// What answers a request.
#[derive(Clone)]
pub enum Handler {
    /// May take its time: it is called on a thread where blocking is allowed.
    Blocking(Arc<dyn Fn(&PageRequest) -> PageResponse + Send + Sync>),
    /// Waits for others without a thread. It is dropped when its client goes away.
    Waiting(Arc<dyn Fn(PageRequest) -> Answering + Send + Sync>),
}

/// An answer to come.
pub type Answering = Pin<Box<dyn Future<Output = PageResponse> + Send>>;

/// One page of a server.
#[derive(Clone)]
pub struct Page {
    /// Its path, without a query: `/config_dump`. One that ends in `/` stands for all paths that begin with it and
    /// have no page of their own.
    pub path: &'static str,
    /// What it is asked with.
    pub method: PageMethod,
    /// What it is for, in a few words, for `/help`.
    pub help: &'static str,
    /// What answers.
    pub handler: Handler,
}

impl Page {
    /// A page that only shows something.
    pub fn get(
        path: &'static str,
        help: &'static str,
        handler: impl Fn(&PageRequest) -> PageResponse + Send + Sync + 'static,
    ) -> Self {
        Self {
            path,
            method: PageMethod::Get,
            help,
            handler: Handler::Blocking(Arc::new(handler)),
        }
    }

    /// The same, where showing it means waiting for somebody else.
    pub fn get_waiting<A: Future<Output = PageResponse> + Send + 'static>(
        path: &'static str,
        help: &'static str,
        handler: impl Fn(PageRequest) -> A + Send + Sync + 'static,
    ) -> Self {
        Self {
            path,
            method: PageMethod::Get,
            help,
            handler: Handler::Waiting(Arc::new(move |request| Box::pin(handler(request)))),
        }
    }

    /// A page that changes something.
    pub fn post(
        path: &'static str,
        help: &'static str,
        handler: impl Fn(&PageRequest) -> PageResponse + Send + Sync + 'static,
    ) -> Self {
        Self {
            path,
            method: PageMethod::Post,
            help,
            handler: Handler::Blocking(Arc::new(handler)),
        }
    }
}

/// What a page is asked with.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum PageMethod {
    /// GET, and HEAD for its head alone: shows something.
    Get,
    /// POST: changes something.
    Post,
}

impl PageMethod {
    /// `GET` or `POST`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// A page is registered already.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("the page {method} {path} is registered already", method = method.as_str())]
pub struct DuplicatePage {
    /// Its path.
    pub path: &'static str,
    /// Its method.
    pub method: PageMethod,
}

/// The pages of one server.
#[derive(Clone)]
pub struct Pages {
    title: &'static str,
    with_index: bool,
    pages: BTreeMap<(&'static str, PageMethod), Page>,
}

impl Pages {
    /// None yet. `title` names the server in `/help` and on its index.
    pub fn new(title: &'static str) -> Self {
        Self {
            title,
            with_index: false,
            pages: BTreeMap::new(),
        }
    }

    /// None yet but `/`, an index of the pages for a browser, and `/help`, the same as text.
    pub fn with_index(title: &'static str) -> Self {
        Self {
            with_index: true,
            ..Self::new(title)
        }
    }

    /// Adds a page.
    ///
    /// # Errors
    ///
    /// There is one of the same path and method.
    pub fn add(&mut self, page: Page) -> Result<(), DuplicatePage> {
        let (path, method) = (page.path, page.method);
        let reserved =
            self.with_index && method == PageMethod::Get && matches!(path, "/" | "/help");
        if reserved || self.pages.contains_key(&(path, method)) {
            return Err(DuplicatePage { path, method });
        }
        self.pages.insert((path, method), page);
        Ok(())
    }

    /// The pages in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = &Page> {
        self.pages.values()
    }

    /// What answers a request of this method to this path.
    pub(super) fn find(&self, path: &str, method: PageMethod) -> Found<'_> {
        if self.with_index && method == PageMethod::Get {
            match path {
                "/" => return Found::Answer(PageResponse::html(html::index(self.title, self))),
                "/help" => return Found::Answer(PageResponse::text(self.help())),
                _ => {}
            }
        }
        if let Some(page) = self.page(path, method) {
            return Found::Page(page);
        }
        let other = match method {
            PageMethod::Get => PageMethod::Post,
            PageMethod::Post => PageMethod::Get,
        };
        match self.page(path, other) {
            Some(page) => Found::WrongMethod(page.method),
            None => Found::Answer(self.not_found()),
        }
    }

    /// The page of the path itself, else that of the longest path above it.
    fn page(&self, path: &str, method: PageMethod) -> Option<&Page> {
        let of_method = self.pages.values().filter(|page| page.method == method);
        let fitting = of_method.filter(|page| {
            let is_above = page.path.ends_with('/') && path.starts_with(page.path);
            page.path == path || is_above
        });
        fitting.max_by_key(|page| page.path.len())
    }

    fn not_found(&self) -> PageResponse {
        PageResponse::text(format!("no such page\n\n{}", self.help()))
            .with_status(StatusCode::NOT_FOUND)
    }

    fn help(&self) -> String {
        let width = self
            .iter()
            .map(|page| page.path.len())
            .max()
            .unwrap_or_default();
        let line = |page: &Page| {
            format!(
                "{:4}  {:width$}  {}\n",
                page.method.as_str(),
                page.path,
                page.help
            )
        };
        format!(
            "{}\n\n{}",
            self.title,
            self.iter().map(line).collect::<String>()
        )
    }
}

/// What was found for a request.
pub(super) enum Found<'p> {
    /// A page to be called.
    Page(&'p Page),
    /// The page is there, for another method.
    WrongMethod(PageMethod),
    /// An answer made here.
    Answer(PageResponse),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_registered_once() {
        let page = || Page::get("/clusters", "clusters", |_| PageResponse::text(""));
        let mut pages = Pages::with_index("Tidegate");
        assert_eq!(pages.add(page()), Ok(()));
        let duplicate = DuplicatePage {
            path: "/clusters",
            method: PageMethod::Get,
        };
        assert_eq!(pages.add(page()), Err(duplicate));
        assert_eq!(
            pages.add(Page::post("/clusters", "", |_| PageResponse::text(""))),
            Ok(())
        );
        assert!(
            pages
                .add(Page::get("/help", "", |_| PageResponse::text("")))
                .is_err()
        );
    }

    #[test]
    fn a_path_that_ends_in_a_slash_stands_for_those_below() {
        let page = |path| Page::get(path, "", |_| PageResponse::text(""));
        let mut pages = Pages::new("test");
        for path in ["/app/", "/app/own/", "/app/exact"] {
            pages.add(page(path)).unwrap();
        }
        for (path, want) in [
            ("/app/", Some("/app/")),
            ("/app/x/y", Some("/app/")),
            ("/app/own", Some("/app/")),
            ("/app/own/x", Some("/app/own/")),
            ("/app/exact", Some("/app/exact")),
            ("/app/exact/x", Some("/app/")),
            ("/app", None),
            ("/apps/x", None),
        ] {
            let found = pages.page(path, PageMethod::Get);
            assert_eq!(found.map(|page| page.path), want, "{path}");
        }
    }
}
