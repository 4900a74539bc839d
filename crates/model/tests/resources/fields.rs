//! Every field arrives where it belongs.

use crate::support::{accepted, istio, line, parse, silently};
use model::*;
use std::time::Duration;

/// The objects of a file, all accepted.
fn objects(text: &str) -> Vec<Resource> {
    let parsed = parse(text);
    parsed
        .objects
        .into_iter()
        .map(|object| match object.outcome {
            Outcome::Accepted(resource) => resource,
            Outcome::Refused => panic!("{:#?}", object.diagnostics),
        })
        .collect()
}

macro_rules! everything {
    ($name:literal, $kind:ident) => {{
        let text = include_str!(concat!("everything/", $name, ".yaml"));
        match objects(text).swap_remove(0) {
            Resource::$kind(object) => object,
            other => panic!("{other:?}"),
        }
    }};
}

fn at(at: At) -> (u32, u32) {
    (at.line, at.column)
}

fn exact(text: &str) -> StringMatch {
    StringMatch::Exact(text.to_owned())
}

fn text<T: ToString>(values: impl IntoIterator<Item = T>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}

#[test]
fn of_a_virtual_service() {
    let service = everything!("virtual_service", VirtualService);
    assert_eq!(
        service.meta.reference.to_string(),
        "VirtualService shop/everything"
    );
    assert_eq!(
        text(service.hosts.iter().map(|host| &host.value)),
        ["shop.example.com", "*.shop.test"]
    );
    assert_eq!(
        text(service.gateways.iter().map(|g| &g.value)),
        ["shop/edge", "infra/other", "shop/third"]
    );
    assert!(service.export_to.reaches("shop") && service.export_to.reaches("infra"));
    assert!(!service.export_to.reaches("web"));
    assert_eq!(
        (service.http.len(), service.tls.len(), service.tcp.len()),
        (5, 1, 1)
    );
    assert_eq!(at(service.hosts[1].at), (8, 29));
}

#[test]
fn of_an_http_match() {
    let service = everything!("virtual_service", VirtualService);
    let one = &service.http[0].matches[0];
    assert_eq!(at(one.at), (14, 7));
    assert_eq!(one.uri, Some(exact("/a")));
    assert!(one.ignore_uri_case);
    assert_eq!(one.scheme, Some(exact("https")));
    assert!(matches!(&one.method, Some(StringMatch::Regex(regex)) if regex.as_str() == "GET|HEAD"));
    assert_eq!(one.authority, Some(StringMatch::Prefix("shop".to_owned())));
    assert_eq!(one.headers["x-user"], exact(""));
    assert_eq!(one.headers["x-there"], StringMatch::Present);
    assert_eq!(one.headers["x-star"], StringMatch::Present);
    assert_eq!(one.headers[":path"], StringMatch::Prefix("/a".to_owned()));
    assert_eq!(one.headers.len(), 4);
    let claims: Vec<_> = one
        .claims
        .iter()
        .map(|claim| claim.path.join("/"))
        .collect();
    assert_eq!(claims, ["group", "a.b/c"]);
    assert!(matches!(
        &one.without_headers["x-gone"],
        StringMatch::Regex(_)
    ));
    assert_eq!(one.without_headers["x-null"], StringMatch::Present);
    assert_eq!(one.without_claims[0].path, ["blocked"]);
    assert_eq!(one.query_params["there"], StringMatch::Present);
    assert_eq!(
        (one.port, one.source_namespace.as_deref()),
        (Some(80), Some("web"))
    );
    assert_eq!(one.source_labels["app"], "web");
    assert_eq!(
        text(one.gateways.iter().map(|g| &g.value)),
        ["mesh", "shop/edge"]
    );
    assert_eq!(
        service.http[0].matches[1].uri,
        Some(StringMatch::Prefix(String::new()))
    );
}

#[test]
fn headers_about_the_connection_are_left_out_of_operations() {
    let operations =
        "{set: {Content-Length: '5', x-a: '1'}, add: {TE: trailers}, remove: [Connection, x-b]}";
    let service = accepted(&istio(
        "VirtualService",
        &format!(
            "hosts: [a.test]\nhttp:\n- redirect: {{uri: /}}\n  headers: {{request: {operations}, response: {operations}}}"
        ),
    ));
    let Resource::VirtualService(service) = service else {
        panic!()
    };
    let Headers { request, response } = &service.http[0].headers;
    for direction in [request, response] {
        assert_eq!(text(direction.set.keys()), ["x-a"]);
        assert!(direction.add.is_empty());
        assert_eq!(direction.remove, ["x-b"]);
    }
}

#[test]
fn of_an_http_route() {
    let service = everything!("virtual_service", VirtualService);
    let route = &service.http[0];
    let HttpAction::Route(destinations) = &route.action else {
        panic!()
    };
    let first = &destinations[0];
    assert_eq!(
        (first.weight, first.destination.port),
        (Some(75), Some(8080))
    );
    assert_eq!(first.destination.subset.as_deref(), Some("v1"));
    assert_eq!(first.headers.request.set["X-A"], "1");
    assert_eq!(first.headers.request.remove, ["x-d"]);
    assert_eq!(first.headers.response.set["x-e"], "2");
    assert_eq!(route.headers.response.remove, ["server-timing"]);
    assert_eq!(route.timeout, Some(Duration::from_millis(63_500)));
    let rewrite = route.rewrite.as_ref().unwrap();
    assert_eq!(rewrite.authority.as_deref(), Some("cart.test:8080"));
    assert_eq!(rewrite.uri_regex_rewrite.as_ref().unwrap().rewrite, r"/b\1");
    let retries = route.retries.as_ref().unwrap();
    assert_eq!(
        (retries.attempts, retries.per_try_timeout),
        (3, Some(Duration::from_secs(2)))
    );
    let conditions = [
        RetryOn::FiveXx,
        RetryOn::Reset,
        RetryOn::Status(503),
        RetryOn::Unavailable,
    ];
    assert_eq!(retries.retry_on.as_deref(), Some(&conditions[..]));
    assert_eq!(retries.retry_ignore_previous_hosts, Some(false));
    assert_eq!(retries.backoff, Some(Duration::from_millis(50)));
}

#[test]
fn of_faults_mirrors_and_cors() {
    let service = everything!("virtual_service", VirtualService);
    let route = &service.http[0];
    let fault = route.fault.as_ref().unwrap();
    assert_eq!(
        fault.delay.as_ref().unwrap().percentage.parts_per_million(),
        1_000
    );
    let abort = fault.abort.as_ref().unwrap();
    assert_eq!(
        (abort.status, abort.percentage.to_string().as_str()),
        (AbortStatus::Grpc(14), "50%")
    );
    let mirrors: Vec<_> = route
        .mirrors
        .iter()
        .map(|m| (m.path.as_str(), m.percentage.to_string()))
        .collect();
    assert_eq!(
        mirrors,
        [
            ("mirrors[0]", "12.5%".to_owned()),
            ("mirrors[1]", "100%".to_owned())
        ]
    );
    let cors = route.cors_policy.as_ref().unwrap();
    assert_eq!(cors.allow_origins[0], exact("https://a.test"));
    assert_eq!(cors.max_age, Some(Duration::from_secs(86_400)));
    assert_eq!(cors.allow_credentials, Some(false));
    assert_eq!(cors.unmatched_preflights, UnmatchedPreflights::Ignore);
}

#[test]
fn of_other_actions() {
    let service = everything!("virtual_service", VirtualService);
    let HttpAction::Redirect(redirect) = &service.http[1].action else {
        panic!()
    };
    assert_eq!(
        (redirect.port, redirect.redirect_code),
        (RedirectPort::Explicit(8443), 308)
    );
    assert_eq!(redirect.scheme, Some(RedirectScheme::Https));
    assert_eq!(redirect.prefix_rewrite.as_deref(), Some("/new"));
    let HttpAction::Redirect(redirect) = &service.http[2].action else {
        panic!()
    };
    assert_eq!(
        (redirect.port, redirect.redirect_code),
        (RedirectPort::FromRequestPort, 301)
    );
    let HttpAction::DirectResponse(direct) = &service.http[3].action else {
        panic!()
    };
    assert_eq!((direct.status, &direct.body[..]), (418, &b"teapot"[..]));
    let HttpAction::Delegate(delegate) = &service.http[4].action else {
        panic!()
    };
    assert_eq!((&*delegate.name, &*delegate.namespace), ("rest", "other"));
}

#[test]
fn of_tls_and_tcp_routes() {
    let service = everything!("virtual_service", VirtualService);
    let tls = &service.tls[0].matches[0];
    assert_eq!(
        text(&tls.destination_subnets),
        ["10.0.0.0/24", "10.1.1.1/32"]
    );
    assert_eq!(
        (tls.port, tls.sni_hosts[0].value.as_str()),
        (Some(443), "a.shop.test")
    );
    let tcp = &service.tcp[0];
    assert_eq!(text(tcp.matches[0].source_subnet), ["10.0.0.0/8"]);
    assert_eq!(tcp.route[0].weight, Some(1));
}

#[test]
fn of_a_gateway() {
    let gateway = everything!("gateway", Gateway);
    assert_eq!(gateway.selector["istio"], "ingressgateway");
    let kinds: Vec<_> = gateway.servers.iter().map(Server::kind).collect();
    use ServerKind::{Http, Https, Tcp, TlsPassthrough};
    assert_eq!(
        kinds,
        [Http, Https, Https, Https, TlsPassthrough, Http, Tcp]
    );
    let plain = &gateway.servers[0];
    assert!(plain.redirects_to_https());
    assert_eq!(
        text(&plain.hosts),
        [
            "*",
            "infra/own.test",
            "shop/*.shop.test",
            "any.test",
            "10.0.0.1"
        ]
    );
    assert!(plain.hosts[2].admits("shop") && !plain.hosts[2].admits("infra"));
    assert_eq!(plain.bind, Some(Bind::Ip("127.0.0.1".parse().unwrap())));
    assert_eq!((plain.port.number, at(plain.port.at)), (80, (9, 5)));
    let suites = &gateway.servers[1].tls.as_ref().unwrap().cipher_suites;
    assert_eq!(suites[..], ["ECDHE-RSA-AES128-GCM-SHA256"]);
    let mutual = gateway.servers[2].tls.as_ref().unwrap();
    assert_eq!(
        (mutual.mode, mutual.tls_certificates.len()),
        (ServerTlsMode::Mutual, 2)
    );
    assert_eq!(
        mutual.verify_certificate_spki,
        ["LHDhK3oGRvkiefQnx7OOczTY5Tic/xZ6HcMOc/gmtoM="]
    );
    // With and without colons it is the same one.
    let hash = "06298432e8066b29e2223bcc23aa9504b56ae508fabf3435508869b9c3190e22";
    assert_eq!(mutual.verify_certificate_hash, [hash, hash]);
    let secrets = gateway.servers[3].tls.as_ref().unwrap();
    assert_eq!(secrets.credential_names, ["rsa", "ecdsa"]);
    assert_eq!(
        gateway.servers[5].bind,
        Some(Bind::Unix("/run/gateway.sock".to_owned()))
    );
    assert_eq!(gateway.servers[5].port.number, 0);
}

#[test]
fn of_a_destination_rule() {
    let rule = everything!("destination_rule", DestinationRule);
    assert_eq!(rule.export_to, ExportTo::All);
    assert_eq!(rule.workload_selector.as_ref().unwrap()["app"], "web");
    let policy = rule.traffic_policy.as_ref().unwrap();
    let lb = policy.load_balancer.as_ref().unwrap();
    assert_eq!(lb.policy, LoadBalancerPolicy::Simple(SimpleLb::RoundRobin));
    assert_eq!(
        lb.locality_lb_setting.as_ref().unwrap().distribute[0].to["us/*"],
        20
    );
    let warmup = lb.warmup.as_ref().unwrap();
    assert_eq!(
        (
            warmup.minimum_percent.to_string().as_str(),
            warmup.aggression
        ),
        ("5.5%", 2.0)
    );
    let pool = policy.connection_pool.as_ref().unwrap();
    let (tcp, http) = (pool.tcp.as_ref().unwrap(), pool.http.as_ref().unwrap());
    assert_eq!(
        (tcp.max_connections, tcp.idle_timeout),
        (Some(100), Some(Duration::ZERO))
    );
    assert_eq!(tcp.connect_timeout, Some(Duration::from_millis(30)));
    assert_eq!(tcp.tcp_keepalive.unwrap().probes, Some(3));
    assert_eq!(
        (http.h2_upgrade_policy, http.use_client_protocol),
        (H2UpgradePolicy::Upgrade, true)
    );
    assert_eq!(
        (http.max_retries, http.max_concurrent_streams),
        (Some(4), Some(5))
    );
    let outlier = policy.outlier_detection.as_ref().unwrap();
    assert_eq!(
        (outlier.consecutive_5xx_errors, outlier.max_ejection_percent),
        (0, 50)
    );
    assert_eq!(outlier.outlier_detection_http_error_codes, [500, 503]);
    assert_eq!(policy.tls.as_ref().unwrap().mode, ClientTlsMode::Mutual);
    assert_eq!(policy.port_level_settings[0].port, 443);
    assert_eq!(
        policy.port_level_settings[0]
            .outlier_detection
            .as_ref()
            .unwrap()
            .consecutive_5xx_errors,
        5
    );
    assert_eq!(
        policy.tunnel.as_ref().unwrap().protocol,
        TunnelProtocol::Post
    );
    assert_eq!(policy.retry_budget.unwrap().percent, Percent::whole(25));
}

#[test]
fn of_subsets() {
    let rule = everything!("destination_rule", DestinationRule);
    assert_eq!(rule.subsets[0].traffic_policy, None);
    assert_eq!(at(rule.subsets[0].at), (61, 5));
    let hash = |index: usize| {
        let policy = rule.subsets[index].traffic_policy.as_ref().unwrap();
        match &policy.load_balancer.as_ref().unwrap().policy {
            LoadBalancerPolicy::ConsistentHash(hash) => hash,
            other => panic!("{other:?}"),
        }
    };
    let HashKey::HttpCookie(cookie) = &hash(1).key else {
        panic!()
    };
    assert_eq!(
        (cookie.ttl, cookie.attributes.len()),
        (Some(Duration::ZERO), 2)
    );
    assert_eq!(
        hash(1).algorithm,
        HashAlgorithm::Maglev { table_size: 65_537 }
    );
    assert_eq!(hash(2).key, HashKey::HttpHeaderName("x-user".to_owned()));
    assert_eq!(
        hash(2).algorithm,
        HashAlgorithm::RingHash {
            minimum_ring_size: 64
        }
    );
    let policy = rule.subsets[1].traffic_policy.as_ref().unwrap();
    assert_eq!(policy.proxy_protocol, Some(ProxyProtocolVersion::V2));
}

#[test]
fn of_service_and_workload_entries() {
    let found = objects(include_str!("everything/service_entry.yaml"));
    let [
        Resource::ServiceEntry(vms),
        Resource::ServiceEntry(selected),
        Resource::WorkloadEntry(vm),
    ] = &found[..]
    else {
        panic!()
    };
    assert_eq!(
        (vms.location, vms.resolution),
        (Location::MeshInternal, Resolution::Static)
    );
    assert_eq!(text(&vms.addresses), ["10.9.0.0/16", "10.8.0.1/32"]);
    assert_eq!(
        (vms.ports[0].target_port, vms.ports[1].protocol),
        (Some(8080), PortProtocol::Tls)
    );
    let endpoint = &vms.endpoints[0];
    assert_eq!((endpoint.ports["http"], endpoint.weight), (8081, Some(3)));
    assert_eq!(endpoint.locality.as_deref(), Some("eu/a/1"));
    assert_eq!(
        vms.endpoints[1].address,
        Some(WorkloadAddress::Unix("/run/a.sock".to_owned()))
    );
    assert_eq!(vms.export_to, ExportTo::Nobody);
    assert_eq!(selected.workload_selector.as_ref().unwrap()["app"], "vm");
    assert_eq!(vm.workload.labels, vm.meta.labels);
    assert_eq!(
        (
            vm.workload.labels["app"].as_str(),
            vm.workload.labels["team"].as_str()
        ),
        ("vm", "a")
    );
}

#[test]
fn of_a_sidecar() {
    let sidecar = everything!("sidecar", Sidecar);
    assert_eq!(sidecar.egress[0].capture_mode, CaptureMode::None);
    let hosts = &sidecar.egress[1].hosts;
    let named = |name: &str| EgressNamespace::Named(name.into());
    let namespaces: Vec<_> = hosts
        .iter()
        .map(|host| (host.exclude, host.namespace.clone()))
        .collect();
    let want = [
        (false, named("shop")),
        (false, named("istio-system")),
        (true, named("other")),
        (true, EgressNamespace::Any),
        (false, EgressNamespace::Any),
    ];
    assert_eq!(namespaces, want);
    assert_eq!(
        sidecar.ingress[0].default_endpoint,
        Some(DefaultEndpoint::Loopback {
            v6: false,
            port: 8080
        })
    );
    assert_eq!(
        sidecar.ingress[1].default_endpoint,
        Some(DefaultEndpoint::Unix("/run/app.sock".to_owned()))
    );
    let policy = sidecar.outbound_traffic_policy.as_ref().unwrap();
    assert_eq!(policy.mode, OutboundMode::AllowAny);
    assert_eq!(policy.egress_proxy.as_ref().unwrap().port, Some(8080));
}

#[test]
fn an_empty_outbound_policy_is_registry_only_and_an_absent_one_is_the_meshs() {
    let sidecar = |spec: &str| match accepted(&istio("Sidecar", spec)) {
        Resource::Sidecar(sidecar) => sidecar
            .outbound_traffic_policy
            .as_ref()
            .map(|policy| policy.mode),
        other => panic!("{other:?}"),
    };
    assert_eq!(sidecar("{}"), None);
    assert_eq!(
        sidecar("outboundTrafficPolicy: {}"),
        Some(OutboundMode::RegistryOnly)
    );
}

#[test]
fn without_gateways_it_is_the_mesh() {
    let spec = "hosts: [a.test]\nhttp: [{redirect: {uri: /}}]";
    let Resource::VirtualService(service) = silently(&istio("VirtualService", spec)) else {
        panic!()
    };
    assert_eq!(service.gateways[0].value, GatewayRef::Mesh);
    let spec = "http: [{redirect: {uri: /}}]";
    let Resource::VirtualService(service) = silently(&istio("VirtualService", spec)) else {
        panic!()
    };
    assert!(service.is_delegate() && service.gateways.is_empty());
}

#[test]
fn what_is_absent_is_told_from_what_is_nothing() {
    let spec = "hosts: [a.test]\nhttp:\n- route: [{destination: {host: a}}]\n- route: [{destination: {host: a}, weight: 0}]\n  mirror: {host: b}\n  mirrorPercentage: {value: 0}\n  corsPolicy: {}\n  retries: {attempts: 0}";
    let Resource::VirtualService(service) = silently(&istio("VirtualService", spec)) else {
        panic!()
    };
    let weight = |index: usize| match &service.http[index].action {
        HttpAction::Route(route) => route[0].weight,
        other => panic!("{other:?}"),
    };
    assert_eq!((weight(0), weight(1)), (None, Some(0)));
    assert_eq!(service.http[1].mirrors[0].percentage, Percent::ZERO);
    assert!(service.http[0].cors_policy.is_none() && service.http[1].cors_policy.is_some());
    assert!(
        service.http[0].retries.is_none()
            && service.http[1].retries.as_ref().unwrap().attempts == 0
    );
}

#[test]
fn what_is_not_honoured_yet_is_said_field_by_field() {
    let parsed = parse(include_str!("everything/virtual_service.yaml"));
    let told: Vec<String> = parsed.all_diagnostics().map(line).collect();
    let paths: Vec<&str> = told
        .iter()
        .map(|line| line.split(' ').nth(3).unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "spec.http[0].match[0].headers[\"@request.auth.claims.group\"]:",
            "spec.http[0].match[0].headers[\"@request.auth.claims[a.b][c]\"]:",
            "spec.http[0].match[0].withoutHeaders[\"@request.auth.claims.blocked\"]:",
            "spec.http[0].match[0].statPrefix:",
        ],
    );
}

#[test]
fn an_origin_points_into_the_file() {
    let service = everything!("virtual_service", VirtualService);
    let origin = service
        .meta
        .origin("spec.http[1].redirect".to_owned(), service.http[1].at);
    assert_eq!(
        origin.to_string(),
        "VirtualService shop/everything spec.http[1].redirect (test.yaml:81:5)"
    );
    let unknown = service.meta.origin(String::new(), At::default());
    assert_eq!(
        unknown.to_string(),
        "VirtualService shop/everything (test.yaml:2:1)"
    );
}

#[test]
fn of_a_peer_authentication() {
    let policy = everything!("peer_authentication", PeerAuthentication);
    assert_eq!(policy.selector["app"], "reviews");
    let mtls = policy.mtls.unwrap();
    assert_eq!((at(mtls.at), mtls.mode), ((7, 3), PeerTlsMode::Strict));
    let ports: Vec<_> = policy
        .port_level_mtls
        .iter()
        .map(|(port, tls)| (*port, tls.at.line, tls.mode))
        .collect();
    assert_eq!(
        ports,
        [
            (8080, 9, PeerTlsMode::Disable),
            (8081, 10, PeerTlsMode::Permissive),
            (9090, 11, PeerTlsMode::Unset),
            (9091, 12, PeerTlsMode::Unset),
        ]
    );
}

/// `a, b; not c`
fn written<T: ToString>(values: &Values<T>) -> String {
    let list = |values: &[T]| text(values.iter().map(T::to_string)).join(", ");
    match values.not_values.is_empty() {
        true => list(&values.values),
        false => format!("{}; not {}", list(&values.values), list(&values.not_values)),
    }
}

#[test]
fn of_an_authorization_policy() {
    let policy = everything!("authorization_policy", AuthorizationPolicy);
    assert_eq!(policy.selector["app"], "reviews");
    assert_eq!(policy.target_refs, []);
    assert_eq!(policy.action.value, AuthorizationAction::Custom);
    assert_eq!(at(policy.action.at), (10, 11));
    assert_eq!(policy.provider.as_deref(), Some("authorizer"));
    assert!(policy.dry_run);
    let [rule, empty] = &policy.rules[..] else {
        panic!("{:?}", policy.rules)
    };
    assert_eq!((at(rule.at), at(empty.at)), ((13, 5), (57, 5)));
    assert_eq!(
        (empty.from.len(), empty.to.len(), empty.when.len()),
        (0, 0, 0)
    );
    assert_eq!(
        (rule.from.len(), rule.to.len(), rule.when.len()),
        (2, 1, 16)
    );
}

#[test]
fn of_a_source() {
    let policy = everything!("authorization_policy", AuthorizationPolicy);
    let source = &policy.rules[0].from[0];
    assert_eq!(at(source.at), (14, 7));
    assert_eq!(
        written(&source.principals),
        "cluster.local/ns/shop/sa/web, cluster.local/ns/shop/*, */sa/web, *; not cluster.local/ns/shop/sa/bad"
    );
    assert_eq!(
        written(&source.request_principals),
        "issuer/subject; not issuer/*"
    );
    assert_eq!(
        written(&source.namespaces),
        "shop, shop-*, *-shop, a-*-b; not bad"
    );
    assert_eq!(written(&source.trust_domains), "cluster.local; not old-*");
    assert_eq!(
        written(&source.ip_blocks),
        "10.1.2.3/32, 10.0.0.0/8; not 2001:db8::/32"
    );
    assert_eq!(
        written(&source.remote_ip_blocks),
        "192.0.2.0/24; not 192.0.2.9/32"
    );
    assert!(source.service_accounts.is_empty());
    let second = &policy.rules[0].from[1];
    assert_eq!(
        written(&second.service_accounts),
        "web/front, shop/front; not bad/front"
    );
}

#[test]
fn of_an_operation() {
    let policy = everything!("authorization_policy", AuthorizationPolicy);
    let operation = &policy.rules[0].to[0];
    assert_eq!(at(operation.at), (31, 7));
    assert_eq!(
        written(&operation.hosts),
        "shop.example.com, shop.example.com:*, *.shop.test; not bad.test"
    );
    assert_eq!(written(&operation.ports), "8080; not 9090, 0");
    assert_eq!(written(&operation.methods), "GET, P*; not DELETE");
    assert_eq!(
        written(&operation.paths),
        "/a, /b/*, *.html, *, /c/{*}/d, /e/{**}; not /admin"
    );
    let is_template: Vec<_> = operation
        .paths
        .values
        .iter()
        .map(|path| matches!(path, PathValue::Template(_)))
        .collect();
    assert_eq!(is_template, [false, false, false, false, true, true]);
}

#[test]
fn of_conditions() {
    let policy = everything!("authorization_policy", AuthorizationPolicy);
    let told = |condition: &Condition| match &condition.attribute {
        Attribute::RequestHeader { name, values } => format!("header {name}: {}", written(values)),
        Attribute::SourceIp(values) => format!("source ip: {}", written(values)),
        Attribute::RemoteIp(values) => format!("remote ip: {}", written(values)),
        Attribute::SourceNamespace(values) => format!("namespace: {}", written(values)),
        Attribute::SourcePrincipal(values) => format!("principal: {}", written(values)),
        Attribute::SourceServiceAccount(values) => format!("account: {}", written(values)),
        Attribute::SourceTrustDomain(values) => format!("domain: {}", written(values)),
        Attribute::RequestPrincipal(values) => format!("request: {}", written(values)),
        Attribute::RequestAudiences(values) => format!("audiences: {}", written(values)),
        Attribute::RequestPresenter(values) => format!("presenter: {}", written(values)),
        Attribute::RequestClaim { path, values } => {
            format!("claim {}: {}", path.join("/"), written(values))
        }
        Attribute::DestinationIp(values) => format!("destination: {}", written(values)),
        Attribute::DestinationPort(values) => format!("port: {}", written(values)),
        Attribute::Sni(values) => format!("sni: {}", written(values)),
        Attribute::EnvoyFilter {
            filter,
            key,
            values,
        } => format!("filter {filter} {key}: {}", written(values)),
    };
    let conditions = &policy.rules[0].when;
    assert_eq!(
        text(conditions.iter().map(told)),
        [
            "header X-User: jason, j*; not bob",
            "source ip: 10.0.0.1/32",
            "remote ip: ; not 10.0.0.0/8",
            "namespace: shop",
            "principal: *",
            "account: shop/web",
            "domain: cluster.local",
            "request: *",
            "audiences: a",
            "presenter: b",
            "claim iss: c",
            "claim a/b.c: ; not d",
            "destination: 10.0.0.0/8",
            "port: 80; not 81",
            "sni: *.shop.test",
            "filter envoy.filters.network.mysql_proxy shop.users: [select]",
        ]
    );
    assert_eq!(conditions[1].key, "source.ip");
    assert_eq!(at(conditions[1].at), (42, 7));
}

#[test]
fn of_targets() {
    let policy = silently(&istio(
        "AuthorizationPolicy",
        "targetRefs: [{kind: Service, group: core, name: a}, {kind: Gateway, group: gateway.networking.k8s.io, name: b, namespace: ''}]",
    ));
    let Resource::AuthorizationPolicy(policy) = policy else {
        panic!()
    };
    let targets: Vec<_> = policy
        .target_refs
        .iter()
        .map(|one| (one.group.as_str(), one.kind.as_str(), one.name.as_str()))
        .collect();
    assert_eq!(
        targets,
        [
            ("", "Service", "a"),
            ("gateway.networking.k8s.io", "Gateway", "b")
        ]
    );
    let policy = silently(&istio(
        "AuthorizationPolicy",
        "targetRef: {kind: Service, name: a}",
    ));
    assert!(
        matches!(policy, Resource::AuthorizationPolicy(policy) if policy.target_refs.len() == 1)
    );
}

#[test]
fn of_the_dry_run_annotation() {
    for (value, dry_run, is_told) in [
        ("true", true, false),
        ("1", true, false),
        ("False", false, false),
        ("yes", false, true),
        ("", false, true),
    ] {
        let text = format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: a, annotations: {{istio.io/dry-run: '{value}'}}}}\nspec: {{}}\n"
        );
        let Resource::AuthorizationPolicy(policy) = accepted(&text) else {
            panic!()
        };
        assert_eq!(policy.dry_run, dry_run, "{value}");
        let told: Vec<_> = parse(&text).all_diagnostics().map(line).collect();
        let want = format!(
            "warning invalid_value 1:1 metadata.annotations[\"istio.io/dry-run\"]: {value:?} is neither true nor false: the policy is in force"
        );
        assert_eq!(told, if is_told { vec![want] } else { vec![] });
    }
}
