//! Upstreams that misbehave.

use crate::{SHOP, plain_shop, shop, shop_with};
use e2e::{After, Origin, Port, eventually, service};
use std::collections::BTreeSet;

#[test]
fn a_backend_that_is_down_is_503_uf() {
    let nobody = Port::reserve();
    let gateway = plain_shop(&[nobody.number()]);
    let response = gateway.get(SHOP, "/down");
    assert_eq!(response.status, 503);
    let text = response.text();
    assert!(
        text.starts_with("upstream connect error or disconnect/reset before headers."),
        "{text}"
    );
    assert!(
        text.contains("reset reason: remote connection failure"),
        "{text}"
    );
    let record = gateway.logged("/down");
    let flags = record["response_flags"].as_str().unwrap_or_default();
    assert!(flags.split(',').any(|flag| flag == "UF"), "{record}");
    // Promise 1: a stable code, and the object that led here.
    assert!(record["reason"].is_string(), "{record}");
    let origin = record["origin"].as_str().unwrap_or_default();
    assert!(
        origin.contains("default/shop") && origin.contains("shop.yaml:"),
        "{record}"
    );
}

#[test]
fn a_backend_that_comes_back_is_used_at_once() {
    let port = Port::reserve();
    let gateway = plain_shop(&[port.number()]);
    assert_eq!(gateway.get(SHOP, "/").status, 503);
    let _origin = Origin::serving_on(port.number(), |exchange| {
        exchange.reply(200, &[], b"back")?;
        Ok(After::Keep)
    });
    assert_eq!(gateway.get(SHOP, "/").text(), "back");
}

#[test]
fn a_service_without_endpoints_is_503_uh() {
    let gateway = plain_shop(&[]);
    let response = gateway.get(SHOP, "/empty");
    assert_eq!(
        (response.status, response.text().as_str()),
        (503, "no healthy upstream")
    );
    assert_eq!(gateway.logged("/empty")["response_flags"], "UH");
}

#[test]
fn a_destination_that_does_not_exist_is_503_nc_with_its_reason() {
    let rules = "\
- match: [{uri: {prefix: /service}}]
  route: [{destination: {host: nowhere}}]
- route: [{destination: {host: shop, port: {number: 9999}}}]
";
    let gateway = shop(rules, &[("shop", &[])]).start();
    for target in ["/service", "/port"] {
        let response = gateway.get(SHOP, target);
        assert_eq!(
            (response.status, response.text().as_str()),
            (503, ""),
            "{target}"
        );
        let record = gateway.logged(target);
        assert_eq!(record["response_flags"], "NC", "{record}");
        assert_eq!(record["response_code_details"], "cluster_not_found");
    }
}

/// The client must not take half a body for a whole one.
#[test]
fn a_backend_that_resets_in_the_middle_of_a_body_is_not_covered_up() {
    let origin = Origin::serving(|exchange| {
        let head: &[u8] = if exchange.request.target() == "/chunked" {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
        } else {
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nfirst"
        };
        exchange.write(head)?;
        Ok(After::Reset)
    });
    let gateway = plain_shop(&[origin.port()]);
    for target in ["/chunked", "/length"] {
        let mut connection = gateway.connect();
        let request = e2e::Request::get(SHOP, target);
        let outcome = connection.send(&request);
        let cut = outcome
            .as_ref()
            .map_or(true, |response| response.status == 503);
        assert!(cut, "{target}: taken for whole: {outcome:?}");
        // The gateway is as well as before, and says so in its log.
        let record = gateway.logged(target);
        assert_ne!(record["response_flags"], "-", "{record}");
    }
    assert_eq!(gateway.get("nobody.test", "/").status, 404);
}

#[test]
fn a_backend_that_speaks_no_http_is_an_error_of_its_own() {
    let origin = Origin::serving(|exchange| {
        exchange.write(b"SSH-2.0-OpenSSH_9.2\r\nnonsense\r\n\r\n")?;
        Ok(After::Close)
    });
    let gateway = plain_shop(&[origin.port()]);
    let status = gateway.get(SHOP, "/ssh").status;
    assert!(status == 502 || status == 503, "{status}");
    assert_ne!(gateway.logged("/ssh")["response_flags"], "-");
}

#[test]
fn all_endpoints_of_a_service_are_used() {
    let origins = [Origin::named("a"), Origin::named("b"), Origin::named("c")];
    let ports = origins.each_ref().map(Origin::port);
    let gateway = plain_shop(&ports);
    let seen: BTreeSet<String> = (0..60).map(|_| gateway.get(SHOP, "/").text()).collect();
    assert_eq!(seen, ["a", "b", "c"].map(String::from).into());
}

/// The duration is longer than any test, so that the newcomer has the least part all the time: a tenth of the
/// other's. In turn, because what is still in flight would decide as well otherwise.
#[test]
fn an_endpoint_that_joins_gets_little_while_it_warms_up() {
    let cases = [
        ("", 180..=220),
        (", warmup: {duration: 24h}", 10..=80),
        (", warmupDurationSecs: 24h", 10..=80),
    ];
    for (warmup, share) in cases {
        let (old, new) = (Origin::named("old"), Origin::named("new"));
        let balancing = format!("{{simple: ROUND_ROBIN{warmup}}}");
        let policy = format!("trafficPolicy: {{loadBalancer: {balancing}}}\n");
        let gateway = shop_with(&policy, &[old.port()]).start();
        assert_eq!(gateway.get(SHOP, "/").text(), "old");
        let both = service("shop", 8000, &[old.port(), new.port()]);
        gateway.write("shop-service.yaml", both);
        eventually("it has joined", || gateway.get(SHOP, "/").text() == "new");
        let before = new.hits();
        (0..400).for_each(|_| assert_eq!(gateway.get(SHOP, "/").status, 200));
        let hits = new.hits() - before;
        assert!(share.contains(&hits), "{balancing}: {hits} of 400");
    }
}
