//! What tests of this crate share.

use crate::*;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use model::{Origin, ResourceRef};
use std::sync::{Arc, LazyLock};

static NO_HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);

/// `GET http://shop.test/`
pub(crate) fn request() -> RequestHead<'static> {
    RequestHead {
        method: "GET",
        scheme: "http",
        authority: "shop.test",
        path: "/",
        query: None,
        headers: &NO_HEADERS,
    }
}

/// Headers as written, repeated names kept.
pub(crate) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// Some place in some VirtualService.
pub(crate) fn origin() -> Arc<Origin> {
    let resource = ResourceRef {
        kind: "VirtualService".into(),
        namespace: "default".into(),
        name: "shop".into(),
    };
    Arc::new(Origin {
        resource,
        path: "spec.http[0]".into(),
        position: None,
    })
}

/// A route that answers 200.
pub(crate) fn route(predicate: Predicate) -> Arc<Route> {
    let answer = DirectResponseAction {
        status: StatusCode::OK,
        body: Bytes::new(),
        response_headers: HeaderOps::default(),
    };
    route_to(predicate, Action::DirectResponse(answer))
}

/// A route with an action.
pub(crate) fn route_to(predicate: Predicate, action: Action) -> Arc<Route> {
    Arc::new(Route {
        name: "".into(),
        predicate,
        action,
        origin: origin(),
    })
}

/// A virtual host that does not redirect to HTTPS.
pub(crate) fn virtual_host(domain: &str, routes: Vec<Arc<Route>>) -> Arc<VirtualHost> {
    Arc::new(VirtualHost {
        name: format!("{domain}:80").into(),
        domain: domain.into(),
        https_redirect: None,
        routes: Arc::new(RouteSet::new(routes)),
    })
}

/// The virtual hosts of a listener with one, `shop.test`.
pub(crate) fn listener(routes: Vec<Arc<Route>>) -> VirtualHosts {
    VirtualHosts::new([virtual_host("shop.test", routes)])
}

/// Dice that always show the same share of their sides: 0 the lowest, 1 the highest.
pub(crate) fn loaded(share: f64) -> impl Dice {
    move |sides: u32| ((f64::from(sides) * share) as u32).min(sides - 1)
}

/// A cluster that nobody provides.
pub(crate) fn nowhere() -> ClusterTarget {
    ClusterTarget::Missing(MissingCluster {
        key: ClusterKey {
            view: None,
            host: "nowhere.test".into(),
            subset: None,
            port: 80,
        },
        reason: "no such service".into(),
    })
}

/// A forward action to destinations with these weights.
pub(crate) fn forward(weights: &[u32]) -> ForwardAction {
    let destination = |weight: &u32| WeightedDestination {
        weight: *weight,
        ..WeightedDestination::to(nowhere(), origin())
    };
    ForwardAction::to(weights.iter().map(destination).collect())
}
