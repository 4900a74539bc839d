//! What processes of the machine send.

use super::dns::PORT as DNS;
use super::{Chain, Condition, Layout, Protocol, Rule, Scope, Test, Verdict, to_network, to_port};
use crate::options::{OwnerGroups, Selection};
use crate::values::{Interface, Owner};

/// A condition on who sends.
type Who = fn(Test<Owner>) -> Condition;

impl Scope<'_> {
    pub(super) fn outbound(&self) -> Vec<Rule> {
        let mut rules = self.never_captured();
        match self.options.layout {
            Layout::Istio { tunnel_port, .. } => {
                rules.push(Rule::new(
                    [Condition::Source(self.own_source()), on_loopback()],
                    Verdict::Return,
                ));
                for (who, owner) in self.own() {
                    rules.extend(self.of_agent(who, owner, tunnel_port));
                }
            }
            Layout::SinglePort => {
                rules.push(Rule::new(
                    [self.beyond_loopback(), on_loopback()],
                    Verdict::Jump(Chain::Redirect),
                ));
                let own = self.own().map(|(who, owner)| who(Test::Is(owner.clone())));
                rules.extend(own.map(|who| Rule::new([who], Verdict::Return)));
            }
        }
        rules.extend(self.of_groups());
        if self.captures_dns() {
            rules.push(Rule::new([], Verdict::Jump(Chain::OutputDns)));
        }
        rules.extend(self.destinations());
        rules
    }

    fn never_captured(&self) -> Vec<Rule> {
        let devices = self.options.excluded_interfaces.iter();
        let devices = devices.map(|device| Condition::Out(device.clone()));
        let ports = self.options.excluded_outbound_ports.iter();
        let ports = ports.flat_map(|port| {
            [Protocol::Tcp, Protocol::Udp]
                .map(|protocol| Condition::DestinationPort(protocol, Test::Is(*port)))
        });
        let conditions = devices.chain(ports);
        conditions
            .map(|condition| Rule::new([condition], Verdict::Return))
            .collect()
    }

    fn own(&self) -> impl Iterator<Item = (Who, &Owner)> {
        let users = self.options.proxy_users.iter();
        let users = users.map(|user| (Condition::User as Who, user));
        let groups = self.options.proxy_groups.iter();
        users.chain(groups.map(|group| (Condition::Group as Who, group)))
    }

    /// The agent's calls of the machine's own addresses are inbound again; the application's stay on the machine; and
    /// whatever else the agent sends goes its way.
    fn of_agent(&self, who: Who, owner: &Owner, tunnel_port: u16) -> Vec<Rule> {
        let is = || who(Test::Is(owner.clone()));
        let is_not = who(Test::Not(owner.clone()));
        let tcp_but = |ports: Vec<u16>| match *ports {
            [port] => Condition::DestinationPort(Protocol::Tcp, Test::Not(port)),
            _ => Condition::NoDestinationPort(Protocol::Tcp, ports),
        };
        let called = if self.redirects_dns {
            vec![DNS, tunnel_port]
        } else {
            vec![tunnel_port]
        };
        let mut rules = vec![Rule::new(
            [self.beyond_loopback(), on_loopback(), tcp_but(called), is()],
            Verdict::Jump(Chain::InRedirect),
        )];
        if !self.options.captures_loopback() {
            // A name server may be on the machine itself.
            let queries = self.redirects_dns.then(|| tcp_but(vec![DNS]));
            let conditions = [Some(on_loopback()), queries, Some(is_not)];
            let conditions: Vec<Condition> = conditions.into_iter().flatten().collect();
            rules.push(Rule::new(conditions, Verdict::Return));
        }
        rules.push(Rule::new([is()], Verdict::Return));
        rules
    }

    fn of_groups(&self) -> Vec<Rule> {
        match &self.options.owner_groups {
            OwnerGroups::AllBut(groups) => {
                let groups = groups
                    .iter()
                    .map(|group| Condition::Group(Test::Is(group.clone())));
                groups
                    .map(|group| Rule::new([group], Verdict::Return))
                    .collect()
            }
            OwnerGroups::Only(groups) => {
                let groups = groups
                    .iter()
                    .map(|group| Condition::Group(Test::Not(group.clone())));
                vec![Rule::new(groups.collect::<Vec<_>>(), Verdict::Return)]
            }
        }
    }

    fn destinations(&self) -> Vec<Rule> {
        let options = self.options;
        let excluded = self.of_family(&options.excluded_outbound_networks);
        let left_alone = std::iter::once(self.loopback()).chain(excluded);
        let left_alone = left_alone.map(|to| Rule::new([to_network(to)], Verdict::Return));

        let ports = options
            .included_outbound_ports
            .iter()
            .map(|port| vec![to_port(*port)]);
        let networks = match &options.outbound_networks {
            Selection::All => vec![vec![]],
            Selection::These(networks) => self
                .of_family(networks)
                .map(|network| vec![to_network(network)])
                .collect(),
        };
        let captured = ports.chain(networks);
        let captured =
            captured.map(|conditions| Rule::new(conditions, Verdict::Jump(Chain::Redirect)));
        left_alone.chain(captured).collect()
    }

    fn beyond_loopback(&self) -> Condition {
        Condition::Destination(Test::Not(self.loopback()))
    }
}

fn on_loopback() -> Condition {
    Condition::Out(Interface::loopback())
}
