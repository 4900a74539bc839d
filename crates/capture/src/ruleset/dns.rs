//! DNS queries of applications.
//!
//! Queries over UDP are tracked in two zones: what applications and the agent exchange in one, what the agent and the
//! name servers exchange in the other. Both have the same addresses, and were they in one zone, an answer to the agent
//! could be taken for the answer to an application.

use super::{
    Chain, Condition, Hook, Protocol, Rule, Scope, Table, TableKind, Test, Verdict, to_network,
};
use crate::options::{DNS_PORT as AGENT, DnsCapture};
use ipnet::IpNet;

/// The port of name servers.
pub(super) const PORT: u16 = 53;

/// Where the agent and the name servers are tracked.
const UPSTREAM_ZONE: u16 = 1;

/// Where applications and the agent are tracked.
const DOWNSTREAM_ZONE: u16 = 2;

impl Scope<'_> {
    /// Whether queries of this family are captured.
    pub(super) fn captures_dns(&self) -> bool {
        !self.servers().is_empty()
    }

    pub(super) fn dns_redirects(&self) -> Vec<Rule> {
        let protocols = [Protocol::Tcp, Protocol::Udp].into_iter();
        let rules = protocols.flat_map(|protocol| {
            let servers = self.servers().into_iter();
            let queries = servers.map(move |server| queries_to(server, protocol));
            queries.map(|queries| Rule::new(queries, Verdict::Redirect(AGENT)))
        });
        rules.collect()
    }

    pub(super) fn raw(&self) -> Option<Table> {
        let jump = |chain| Rule::new([], Verdict::Jump(chain));
        self.captures_dns().then(|| Table {
            kind: TableKind::Raw,
            jumps: vec![
                (Hook::Prerouting, jump(Chain::Inbound)),
                (Hook::Output, jump(Chain::OutputDns)),
            ],
            chains: vec![
                (Chain::Inbound, self.zones_of_answers()),
                (Chain::OutputDns, self.zones_of_queries()),
            ],
        })
    }

    fn zones_of_queries(&self) -> Vec<Rule> {
        let users = self
            .options
            .proxy_users
            .iter()
            .cloned()
            .map(Test::Is)
            .map(Condition::User);
        let groups = self
            .options
            .proxy_groups
            .iter()
            .cloned()
            .map(Test::Is)
            .map(Condition::Group);
        let own = users.chain(groups).flat_map(|own| {
            let query = [query(Protocol::Udp), own.clone()];
            let answer = [Condition::SourcePort(Protocol::Udp, AGENT), own];
            [
                Rule::new(query, Verdict::Zone(UPSTREAM_ZONE)),
                Rule::new(answer, Verdict::Zone(DOWNSTREAM_ZONE)),
            ]
        });
        let servers = self.servers().into_iter();
        let others = servers.map(|server| queries_to(server, Protocol::Udp));
        let others = others.map(|queries| Rule::new(queries, Verdict::Zone(DOWNSTREAM_ZONE)));
        own.chain(others).collect()
    }

    fn zones_of_answers(&self) -> Vec<Rule> {
        let answer = Condition::SourcePort(Protocol::Udp, PORT);
        let answers = self.servers().into_iter().map(|server| {
            let conditions = server
                .map(Condition::Source)
                .into_iter()
                .chain([answer.clone()]);
            Rule::new(conditions.collect::<Vec<_>>(), Verdict::Zone(UPSTREAM_ZONE))
        });
        answers.collect()
    }

    /// The servers whose queries are captured; none is any.
    fn servers(&self) -> Vec<Option<IpNet>> {
        match self.options.dns() {
            DnsCapture::Off => Vec::new(),
            DnsCapture::NameServers => self.name_servers.iter().copied().map(Some).collect(),
            DnsCapture::All => vec![None],
        }
    }
}

fn query(protocol: Protocol) -> Condition {
    Condition::DestinationPort(protocol, Test::Is(PORT))
}

fn queries_to(server: Option<IpNet>, protocol: Protocol) -> Vec<Condition> {
    server
        .map(to_network)
        .into_iter()
        .chain([query(protocol)])
        .collect()
}
