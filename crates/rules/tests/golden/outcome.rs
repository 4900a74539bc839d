//! What became of a request, compared with what was wanted.

use crate::case::{Call, Want};
use http::{HeaderMap, HeaderName, HeaderValue};
use rules::{
    Answer, Cluster, ClusterKey, ClusterTarget, Decision, Endpoints, Forward, HeadFacts,
    ListenerKey, RequestHead, ServicePort, Table,
};
use std::collections::BTreeMap;

/// What became of a request, in the words of `want`.
pub(crate) struct Outcome {
    got: BTreeMap<&'static str, String>,
    headers: BTreeMap<String, String>,
    response_headers: BTreeMap<String, String>,
}

type Lines = Vec<(HeaderName, HeaderValue)>;

impl Outcome {
    pub(crate) fn of(call: &Call, table: &Table, endpoints: &Endpoints) -> Self {
        let mut outcome = Self {
            got: BTreeMap::new(),
            headers: BTreeMap::new(),
            response_headers: BTreeMap::new(),
        };
        let target = call.target();
        let mut headers = HeaderMap::new();
        for (name, value) in &call.headers {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let head = RequestHead {
            method: &target.method,
            scheme: &target.scheme,
            authority: &target.authority,
            path: &target.path,
            query: target.query.as_deref(),
            headers: &headers,
        };
        let listener = table.listeners.get(&ListenerKey {
            bind: None,
            port: target.port,
        });
        let Some(hosts) = listener.and_then(|listener| listener.virtual_hosts()) else {
            outcome.got.insert("error", "no_listener".into());
            return outcome;
        };
        let decision = hosts.decide(&head, &mut call.draw.dice());
        outcome.record(&decision, &head, endpoints);
        outcome
    }

    fn record(&mut self, decision: &Decision<'_>, head: &RequestHead<'_>, endpoints: &Endpoints) {
        if let Some(host) = decision.virtual_host {
            self.got.insert("virtual_host", host.name.to_string());
        }
        if let Some(route) = decision.route {
            let origin = &route.origin;
            let resource = &origin.resource;
            self.got.insert("route", route.name.to_string());
            self.got.insert(
                "rule",
                format!("{}/{} {}", resource.namespace, resource.name, origin.path),
            );
        }
        if let Some(delay) = decision.delay {
            self.got.insert("delay", format!("{delay:?}"));
        }
        match &decision.outcome {
            rules::Outcome::Answer(answer) => self.record_answer(answer),
            rules::Outcome::Forward(forward) => self.record_forward(forward, head, endpoints),
        }
    }

    fn record_answer(&mut self, answer: &Answer) {
        self.got
            .insert("status", answer.status.as_u16().to_string());
        self.got.insert("error", answer.reason.code().into());
        self.got
            .insert("body", String::from_utf8_lossy(&answer.body).into_owned());
        if let Some(status) = answer.grpc_status {
            self.got.insert("grpc_status", status.to_string());
        }
        self.headers = texts(&answer.headers);
        if let Some(location) = self.headers.get("location") {
            self.got.insert("location", location.clone());
        }
    }

    fn record_forward(
        &mut self,
        forward: &Forward<'_>,
        head: &RequestHead<'_>,
        endpoints: &Endpoints,
    ) {
        let action = forward.action;
        match &action.destinations[forward.destination].cluster {
            ClusterTarget::Cluster(cluster) => self.record_cluster(cluster, endpoints),
            ClusterTarget::Missing(missing) => {
                self.got.insert("error", "no_cluster".into());
                self.got.insert("cluster", short(&missing.key));
                self.got.insert("reason", missing.reason.to_string());
            }
        }
        let unchanged = || match head.query {
            Some(query) => format!("{}?{query}", head.path),
            None => head.path.to_owned(),
        };
        let rewrite = action.path_rewrite.as_ref();
        let path = rewrite.map_or_else(unchanged, |rewrite| rewrite.apply(head.path, head.query));
        self.got.insert("path", path);
        let authority = action.authority_for(forward.destination);
        let authority = authority.map_or(head.authority, |value| value.to_str().unwrap());
        self.got.insert("authority", authority.into());
        let retry = &action.retry;
        self.got.insert("retries", retry.attempts.to_string());
        self.got.insert(
            "retry_on",
            retry
                .retry_on
                .iter_names()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
                .join(" | "),
        );
        self.got.insert("timeout", format!("{:?}", action.timeout));
        self.got
            .insert("per_try", format!("{:?}", retry.per_try_timeout));
        let mirrors = forward
            .mirrors
            .iter()
            .map(|mirror| short_of(&action.mirrors[*mirror].cluster));
        self.got
            .insert("mirrors", format!("{:?}", mirrors.collect::<Vec<_>>()));
        self.record_headers(forward, head);
    }

    fn record_cluster(&mut self, cluster: &Cluster, endpoints: &Endpoints) {
        self.got.insert("cluster", short(&cluster.key));
        let port = ServicePort {
            host: cluster.key.host.clone(),
            port: cluster.key.port,
        };
        let all = endpoints
            .services
            .get(&port)
            .into_iter()
            .flat_map(|list| list.iter());
        let own = all.filter(|one| model::selects(&cluster.subset_labels, &one.labels));
        let own: Vec<_> = own.map(|one| one.address.to_string()).collect();
        self.got.insert("endpoints", format!("{own:?}"));
        self.got
            .insert("protocol", snake(&format!("{:?}", cluster.protocol)));
        self.got
            .insert("balancing", snake(&format!("{:?}", cluster.load_balancing)));
        self.got
            .insert("connect_timeout", format!("{:?}", cluster.connect_timeout));
    }

    fn record_headers(&mut self, forward: &Forward<'_>, head: &RequestHead<'_>) {
        let (action, destination) = (forward.action, forward.destination);
        let mut request: Lines = head
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        action
            .request_operations(destination)
            .unwrap()
            .apply(&mut request, &HeadFacts(head));
        self.headers = texts(&request);
        let mut response: Lines = forward.cors_headers.clone();
        action
            .response_operations(destination)
            .unwrap()
            .apply(&mut response, &HeadFacts(head));
        self.response_headers = texts(&response);
    }

    /// What is not as wanted.
    pub(crate) fn differences(&self, want: &Want) -> impl Iterator<Item = String> {
        let list = |list: &Option<Vec<String>>| list.as_ref().map(|list| format!("{list:?}"));
        let duration = |text: &Option<String>| match text.as_deref() {
            None => None,
            Some("none") => Some("None".to_owned()),
            Some(text) => Some(format!("Some({text})")),
        };
        let wanted = [
            ("status", want.status.map(|status| status.to_string())),
            ("cluster", want.cluster.clone()),
            ("route", want.route.clone()),
            ("error", want.error.clone()),
            ("virtual_host", want.virtual_host.clone()),
            ("rule", want.rule.clone()),
            ("location", want.location.clone()),
            ("body", want.body.clone()),
            ("path", want.path.clone()),
            ("authority", want.authority.clone()),
            ("delay", want.delay.clone()),
            ("timeout", duration(&want.timeout)),
            ("per_try", duration(&want.per_try)),
            ("retries", want.retries.map(|retries| retries.to_string())),
            ("retry_on", want.retry_on.clone()),
            ("mirrors", list(&want.mirrors)),
            ("endpoints", list(&want.endpoints)),
            ("protocol", want.protocol.clone()),
            ("balancing", want.balancing.clone()),
            (
                "grpc_status",
                want.grpc_status.map(|status| status.to_string()),
            ),
            ("connect_timeout", want.connect_timeout.clone()),
        ];
        let mut differences = Vec::new();
        for (name, wanted) in wanted
            .into_iter()
            .filter_map(|(name, wanted)| Some((name, wanted?)))
        {
            let got = self.got.get(name).map_or("nothing", String::as_str);
            if got != wanted {
                differences.push(format!(
                    "{name}: wanted {wanted}, got {got}; all: {:?}",
                    self.got
                ));
            }
        }
        if let Some(reason) = &want.reason
            && !self
                .got
                .get("reason")
                .is_some_and(|got| got.contains(reason))
        {
            differences.push(format!(
                "reason: wanted {reason:?}, got {:?}",
                self.got.get("reason")
            ));
        }
        differences.extend(differing("headers", &want.headers, &self.headers));
        differences.extend(differing(
            "response_headers",
            &want.response_headers,
            &self.response_headers,
        ));
        differences.into_iter()
    }
}

fn differing<'d>(
    what: &'d str,
    want: &'d BTreeMap<String, String>,
    got: &'d BTreeMap<String, String>,
) -> impl Iterator<Item = String> + 'd {
    want.iter().filter_map(move |(name, value)| {
        let found = got.get(name).map_or("", String::as_str);
        (found != value).then(|| format!("{what}: {name}: wanted {value:?}, got {found:?}"))
    })
}

/// Several values of one name are joined with a comma.
fn texts(lines: &Lines) -> BTreeMap<String, String> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in lines {
        let value = value.to_str().unwrap();
        let text = texts.entry(name.to_string());
        text.and_modify(|text| *text = format!("{text},{value}"))
            .or_insert_with(|| value.to_owned());
    }
    texts
}

fn short_of(target: &ClusterTarget) -> String {
    match target {
        ClusterTarget::Cluster(cluster) => short(&cluster.key),
        ClusterTarget::Missing(missing) => short(&missing.key),
    }
}

fn short(key: &ClusterKey) -> String {
    let host = key
        .host
        .strip_suffix(".svc.cluster.local")
        .unwrap_or(&key.host);
    let host = host.strip_suffix(".default").unwrap_or(host);
    match &key.subset {
        Some(subset) => format!("{host}:{}/{subset}", key.port),
        None => format!("{host}:{}", key.port),
    }
}

fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}
