//! Istio's sample application in small: a page that asks for reviews, which ask for ratings.

use crate::client::{Connection, Request};
use crate::mesh::Mesh;
use crate::origin::{After, Exchange, Origin};
use crate::pod::{Pod, PodSetup};
use crate::poll::{PATIENCE, poll_for};
use crate::registry::ServiceSpec;
use crate::wire::Message;
use serde_json::{Value, json};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The port of all of them.
const PORT: u16 = 9080;

/// What applications hand on to whom they ask.
const HANDED_ON: [&str; 4] = ["cookie", "end-user", "x-request-id", "x-forwarded-for"];

/// The pods of the application, and a client who is no part of the mesh:
///
/// ```text
/// client -> productpage-v1 -> reviews-v1
///                          -> reviews-v2, reviews-v3 -> ratings-v1
/// ```
#[derive(Debug)]
pub struct Bookinfo {
    /// What the applications counted, as they are named here.
    pub productpage_app: Origin,
    /// Versions 1 to 3.
    pub reviews_apps: [Origin; 3],
    /// Version 1.
    pub ratings_app: Origin,
    /// A client without a sidecar.
    pub client: Pod,
    /// Who shows the page.
    pub productpage: Pod,
    /// Versions 1 to 3.
    pub reviews: [Pod; 3],
    /// Version 1.
    pub ratings: Pod,
    /// Where they are.
    pub mesh: Mesh,
}

impl Bookinfo {
    /// Starts it with these files as resources, beside its Services and Pods.
    ///
    /// # Panics
    ///
    /// When a sidecar does not get ready.
    #[track_caller]
    pub fn start(files: &[(&str, &str)]) -> Self {
        Self::start_with(files, |setup| setup)
    }

    /// As [`Bookinfo::start`], each of its pods changed before it is made.
    ///
    /// # Panics
    ///
    /// When a sidecar does not get ready.
    #[track_caller]
    pub fn start_with(
        files: &[(&str, &str)],
        change: impl for<'m> Fn(PodSetup<'m>) -> PodSetup<'m>,
    ) -> Self {
        let mesh = Mesh::new();
        for (name, text) in files {
            mesh.write(name, text);
        }
        let service = |name| mesh.service(ServiceSpec::new(name).port("http", PORT));
        service("productpage");
        let (reviews_at, ratings_at) = (service("reviews"), service("ratings"));
        let pod = |name: &str, account: &str| {
            let setup = mesh.pod(name).account(&format!("bookinfo-{account}"));
            change(setup).start()
        };
        // Whoever is asked comes first: then sidecars know from the beginning whom their applications ask.
        let ratings = pod("ratings-v1", "ratings");
        let reviews = ["reviews-v1", "reviews-v2", "reviews-v3"].map(|name| pod(name, "reviews"));
        let productpage = pod("productpage-v1", "productpage");
        let [one, two, three] = &reviews;
        Self {
            productpage_app: productpage.serve(PORT, move |page| show(page, reviews_at)),
            reviews_apps: [
                one.serve(PORT, |asked| review(asked, "v1", None)),
                two.serve(PORT, move |asked| review(asked, "v2", Some(ratings_at))),
                three.serve(PORT, move |asked| review(asked, "v3", Some(ratings_at))),
            ],
            ratings_app: ratings.serve(PORT, rate),
            client: mesh.pod("client").alone(),
            productpage,
            reviews,
            ratings,
            mesh,
        }
    }

    /// The page as JSON: the status of the reviews, their version, and the status of the ratings if it asks for them.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    pub fn page(&self, headers: &[(&str, &str)]) -> Value {
        match self.try_page(headers) {
            Ok(page) => page,
            Err(error) => panic!("the page: {error}"),
        }
    }

    fn try_page(&self, headers: &[(&str, &str)]) -> io::Result<Value> {
        let url = format!("{}:{PORT}/productpage", self.productpage.address());
        let answer = self.client.try_get(&url, headers)?;
        match answer.status {
            200 => Ok(serde_json::from_slice(&answer.body)?),
            _ => Err(io::Error::other(format!(
                "{} {}",
                answer.status,
                answer.text()
            ))),
        }
    }

    /// Which versions of the reviews this many pages have.
    ///
    /// # Panics
    ///
    /// When one has none.
    #[track_caller]
    pub fn versions(&self, pages: usize) -> Vec<String> {
        let version = |_| {
            let page = self.page(&[]);
            let version = page["version"].as_str().map(str::to_owned);
            version.unwrap_or_else(|| panic!("no reviews: {page}"))
        };
        (0..pages).map(version).collect()
    }

    /// Waits until the page says this.
    ///
    /// # Panics
    ///
    /// When it does not.
    #[track_caller]
    pub fn wait_for(&self, headers: &[(&str, &str)], wanted: impl Fn(&Value) -> bool) {
        let mut last = None;
        let seen = poll_for(PATIENCE, || {
            let page = self.try_page(headers);
            let found = page.as_ref().is_ok_and(&wanted);
            last = Some(page);
            found.then_some(())
        });
        assert!(seen.is_some(), "waited for another page than {last:?}");
    }
}

/// The page has what the reviews say.
fn show(page: &mut Exchange<'_>, reviews: Ipv4Addr) -> io::Result<After> {
    let answer = ask(&page.request, "reviews", reviews, "/reviews/0");
    let text = match answer {
        Ok((200, text)) => text,
        Ok((status, text)) => json!({ "status": status, "text": text }).to_string(),
        Err(error) => json!({ "status": 0, "text": error.to_string() }).to_string(),
    };
    reply(page, &text)
}

/// Reviews have a version, and the status of the ratings if they ask for them.
fn review(asked: &mut Exchange<'_>, version: &str, ratings: Option<Ipv4Addr>) -> io::Result<After> {
    let ratings = ratings.map(
        |at| match ask(&asked.request, "ratings", at, "/ratings/0") {
            Ok((status, _)) => status,
            Err(_) => 0,
        },
    );
    let text = json!({ "status": 200, "version": version, "ratings": ratings });
    reply(asked, &text.to_string())
}

fn rate(asked: &mut Exchange<'_>) -> io::Result<After> {
    reply(asked, &json!({ "stars": 5 }).to_string())
}

fn reply(exchange: &mut Exchange<'_>, text: &str) -> io::Result<After> {
    exchange.reply(
        200,
        &[("Content-Type", "application/json")],
        text.as_bytes(),
    )?;
    Ok(After::Keep)
}

/// Asks another service by its name, with what the request brought.
fn ask(request: &Message, host: &str, at: Ipv4Addr, path: &str) -> io::Result<(u16, String)> {
    let asking = Request::get(&format!("{host}:{PORT}"), path);
    let handed_on = HANDED_ON
        .iter()
        .filter_map(|name| Some((name, request.header(name)?)));
    let asking = handed_on.fold(asking, |asking, (name, value)| asking.header(name, value));
    let mut connection = Connection::open_at(SocketAddr::new(IpAddr::V4(at), PORT))?;
    let answer = connection.send(&asking)?;
    Ok((answer.status, answer.text()))
}
