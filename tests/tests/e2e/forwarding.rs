//! What a request and its response look like on the other side.

use crate::{SHOP, TO_SHOP, plain_shop, shop};
use e2e::{After, Origin, Request};

#[test]
fn a_redirect_is_answered_here() {
    let rules = "\
- match: [{uri: {prefix: /old}}]
  redirect: {uri: /new, authority: new.test}
- match: [{uri: {prefix: /moved}}]
  redirect: {scheme: https, redirectCode: 308}
- match: [{uri: {exact: /port}}]
  redirect: {port: 8443, scheme: https}
- match: [{uri: {exact: /teapot}}]
  directResponse: {status: 418, body: {string: short and stout}}
  headers: {response: {set: {x-spout: 'yes'}}}
";
    let gateway = shop(rules, &[]).start();
    let location = |target: &str| {
        let response = gateway.get(SHOP, target);
        let location = response.header("location").map(str::to_owned);
        (response.status, location.unwrap_or_default())
    };
    assert_eq!(
        location("/old?x=1"),
        (301, "http://new.test/new?x=1".into())
    );
    assert_eq!(
        location("/moved/a?b=c"),
        (308, format!("https://{SHOP}/moved/a?b=c"))
    );
    assert_eq!(
        location("/port"),
        (301, format!("https://{SHOP}:8443/port"))
    );
    let teapot = gateway.get(SHOP, "/teapot");
    assert_eq!(
        (teapot.status, teapot.text().as_str()),
        (418, "short and stout")
    );
    assert_eq!(teapot.header("content-type"), Some("text/plain"));
    assert_eq!(teapot.header("x-spout"), Some("yes"));
}

#[test]
fn a_server_may_send_everything_to_https() {
    let text = e2e::gateway("edge", &["secure.test"]).replace(
        "protocol: HTTP}",
        "protocol: HTTP}\n    tls: {httpsRedirect: true}",
    );
    let gateway = shop(TO_SHOP, &[]).file("gateway.yaml", text).start();
    let response = gateway.get("secure.test:8080", "/a/b?c=d");
    assert_eq!(response.status, 301);
    assert_eq!(
        response.header("location"),
        Some("https://secure.test/a/b?c=d")
    );
}

#[test]
fn a_rewrite_changes_path_and_host_and_tells_the_old_ones() {
    let origin = Origin::echo();
    let rules = "\
- match: [{uri: {prefix: /api/}}]
  rewrite: {uri: /, authority: inner.test}
  route: [{destination: {host: shop}}]
- match: [{uri: {prefix: /regex}}]
  rewrite:
    uriRegexRewrite: {match: '/regex/([a-z]+)/([0-9]+)', rewrite: '/\\2/\\1'}
  route: [{destination: {host: shop}}]
";
    let gateway = shop(rules, &[("shop", &[origin.port()])]).start();
    assert_eq!(gateway.get(SHOP, "/api/items?x=%2F").status, 200);
    let seen = origin.last_request();
    assert_eq!(seen.target(), "/items?x=%2F");
    assert_eq!(seen.header("host"), Some("inner.test"));
    assert_eq!(
        seen.header("x-envoy-original-path"),
        Some("/api/items?x=%2F")
    );
    gateway.get(SHOP, "/regex/abc/123?q");
    assert_eq!(origin.last_request().target(), "/123/abc?q");
}

#[test]
fn header_operations_reach_both_sides() {
    let origin = Origin::serving(|exchange| {
        exchange.reply(200, &[("X-Secret", "s"), ("X-Kept", "k")], b"ok")?;
        Ok(After::Keep)
    });
    let rules = "\
- headers:
    request: {set: {x-set: route, x-level: route}, add: {x-many: second}, remove: [x-gone]}
    response: {remove: [x-secret], set: {x-from: gateway}}
  route:
  - destination: {host: shop}
    headers: {request: {set: {x-level: destination}}}
";
    let gateway = shop(rules, &[("shop", &[origin.port()])]).start();
    let request = Request::get(SHOP, "/")
        .header("X-Many", "first")
        .header("X-Gone", "1")
        .header("X-Set", "client");
    let response = gateway.send(&request);
    let seen = origin.last_request();
    assert_eq!(seen.values("x-many").join(","), "first,second");
    assert_eq!(seen.values("x-set"), ["route"]);
    // One destination: its operations come after the route's.
    assert_eq!(seen.values("x-level"), ["destination"]);
    assert_eq!(seen.header("x-gone"), None);
    assert_eq!(response.header("x-secret"), None);
    assert_eq!(response.header("x-kept"), Some("k"));
    assert_eq!(response.header("x-from"), Some("gateway"));
}

#[test]
fn cors_answers_preflights_and_marks_actual_responses() {
    let origin = Origin::named("shop");
    let rules = "\
- corsPolicy:
    allowOrigins: [{regex: 'https://.*\\.example'}]
    allowMethods: [GET, PUT]
    allowHeaders: [x-token]
    exposeHeaders: [x-total]
    allowCredentials: true
    maxAge: 300s
  route: [{destination: {host: shop}}]
";
    let gateway = shop(rules, &[("shop", &[origin.port()])]).start();
    let preflight = |from: &str| {
        let request = Request::new("OPTIONS", SHOP, "/")
            .header("Origin", from)
            .header("Access-Control-Request-Method", "PUT");
        gateway.send(&request)
    };
    let allowed = preflight("https://a.example");
    assert_eq!((allowed.status, origin.hits()), (200, 0));
    let header = |name| allowed.header(name);
    assert_eq!(
        header("access-control-allow-origin"),
        Some("https://a.example")
    );
    assert_eq!(header("access-control-allow-methods"), Some("GET,PUT"));
    assert_eq!(header("access-control-allow-headers"), Some("x-token"));
    assert_eq!(header("access-control-allow-credentials"), Some("true"));
    assert_eq!(header("access-control-max-age"), Some("300"));

    assert_eq!(
        (preflight("https://evil.test").status, origin.hits()),
        (200, 1)
    );
    let actual = gateway.send(&Request::get(SHOP, "/").header("Origin", "https://a.example"));
    assert_eq!(
        actual.header("access-control-allow-origin"),
        Some("https://a.example")
    );
    assert_eq!(
        actual.header("access-control-expose-headers"),
        Some("x-total")
    );
    let foreign = gateway.send(&Request::get(SHOP, "/").header("Origin", "https://evil.test"));
    assert_eq!(
        (
            foreign.status,
            foreign.header("access-control-allow-origin")
        ),
        (200, None)
    );
}

/// Promise 12.
#[test]
fn header_names_keep_their_case_both_ways() {
    let origin = Origin::serving(|exchange| {
        exchange.reply(200, &[("X-CamelCase", "1"), ("ETAG", "\"x\"")], b"ok")?;
        Ok(After::Keep)
    });
    let gateway = plain_shop(&[origin.port()]);
    let request = Request::get(SHOP, "/")
        .header("X-MiXeD-Case", "1")
        .header("SOAPAction", "go");
    let response = gateway.send(&request);
    let seen = origin.last_request();
    assert!(
        seen.spells("X-MiXeD-Case") && seen.spells("SOAPAction"),
        "{seen:?}"
    );
    assert!(
        response.spells("X-CamelCase") && response.spells("ETAG"),
        "{response:?}"
    );
}

/// Promise 14: nobody has been named as a trusted hop.
#[test]
fn what_a_client_says_about_itself_is_not_believed() {
    let origin = Origin::echo();
    let gateway = plain_shop(&[origin.port()]);
    let request = Request::get(SHOP, "/")
        .header("X-Forwarded-For", "6.6.6.6")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Client-Cert", "By=spiffe://evil")
        .header("X-Envoy-Internal", "true")
        .header("X-Envoy-External-Address", "6.6.6.6")
        .header("X-Envoy-Upstream-Rq-Timeout-Ms", "1")
        .header("X-Envoy-Max-Retries", "9")
        .header("X-Envoy-Original-Path", "/forged")
        .header("X-Request-Id", "not-a-uuid");
    assert_eq!(gateway.send(&request).status, 200);
    let seen = origin.last_request();
    let forwarded = seen.values("x-forwarded-for").join(",");
    assert!(forwarded.ends_with("127.0.0.1"), "{forwarded}");
    assert_eq!(seen.values("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.header("x-forwarded-client-cert"), None);
    for name in ["x-envoy-upstream-rq-timeout-ms", "x-envoy-max-retries"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_ne!(seen.header("x-envoy-original-path"), Some("/forged"));
    assert_ne!(seen.header("x-envoy-external-address"), Some("6.6.6.6"));
    assert_ne!(seen.header("x-request-id"), Some("not-a-uuid"));
    let id = seen.header("x-request-id").unwrap_or_default();
    assert_eq!(id.len(), 36, "{id}");
}

#[test]
fn responses_carry_what_istio_adds() {
    let origin = Origin::named("shop");
    let gateway = plain_shop(&[origin.port()]);
    let response = gateway.get(SHOP, "/");
    assert_eq!(response.header("server"), Some("istio-envoy"));
    let time = response.header("x-envoy-upstream-service-time");
    assert!(
        time.is_some_and(|time| time.parse::<u64>().is_ok()),
        "{time:?}"
    );
    assert!(response.header("date").is_some());
    assert_eq!(
        origin.last_request().header("x-envoy-attempt-count"),
        Some("1")
    );
}

#[test]
fn hop_by_hop_headers_stay_on_their_hop() {
    let origin = Origin::serving(|exchange| {
        let headers = [
            ("Connection", "x-hop, keep-alive"),
            ("X-Hop", "1"),
            ("Keep-Alive", "timeout=9"),
        ];
        exchange.reply(200, &headers, b"ok")?;
        Ok(After::Keep)
    });
    let gateway = plain_shop(&[origin.port()]);
    let request = Request::get(SHOP, "/")
        .header("Connection", "x-mine, keep-alive")
        .header("X-Mine", "1")
        .header("Proxy-Connection", "keep-alive");
    let response = gateway.send(&request);
    let seen = origin.last_request();
    assert_eq!(seen.header("x-mine"), None, "{seen:?}");
    assert_eq!(seen.header("proxy-connection"), None, "{seen:?}");
    assert_eq!(response.header("x-hop"), None, "{response:?}");
    assert_eq!(response.header("keep-alive"), None, "{response:?}");
}
