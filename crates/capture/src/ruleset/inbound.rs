//! What comes from outside.

use super::{Chain, Condition, Layout, Protocol, Rule, Scope, Verdict, to_network, to_port};
use crate::options::Selection;

impl Scope<'_> {
    /// Istio puts the rules about devices into the kernel's chains. Here they are in ours, where nobody can take them
    /// for another's, and they mean the same.
    pub(super) fn inbound(&self) -> Vec<Rule> {
        let mut rules = self.rerouted();
        for device in &self.options.excluded_interfaces {
            rules.push(Rule::new([Condition::In(device.clone())], Verdict::Return));
        }
        if let Layout::Istio { tunnel_port, .. } = self.options.layout {
            rules.push(Rule::new([to_port(tunnel_port)], Verdict::Return));
        }
        rules.extend(self.inbound_ports());
        rules
    }

    /// Outbound for a machine behind the device, so that it goes where outbound connections go.
    fn rerouted(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        for device in &self.options.rerouted_interfaces {
            let from = || Condition::In(device.clone());
            match &self.options.outbound_networks {
                Selection::All => {
                    rules.push(Rule::new([from()], Verdict::Jump(Chain::Redirect)));
                }
                Selection::These(networks) => {
                    let networks = self.of_family(networks);
                    let captured = networks.map(|network| {
                        let conditions = [to_network(network), from()];
                        Rule::new(conditions, Verdict::Jump(Chain::Redirect))
                    });
                    rules.extend(captured);
                }
            }
            rules.push(Rule::new([from()], Verdict::Return));
        }
        rules
    }

    fn inbound_ports(&self) -> Vec<Rule> {
        match &self.options.inbound_ports {
            Selection::All => {
                let excluded = self.options.excluded_inbound_ports.iter();
                let excluded = excluded.map(|port| Rule::new([to_port(*port)], Verdict::Return));
                let tcp = Condition::Protocol(Protocol::Tcp);
                let rest = Rule::new([tcp], Verdict::Jump(Chain::InRedirect));
                excluded.chain([rest]).collect()
            }
            Selection::These(ports) => {
                let captured = ports.iter().map(|port| to_port(*port));
                let rule = |condition| Rule::new([condition], Verdict::Jump(Chain::InRedirect));
                captured.map(rule).collect()
            }
        }
    }
}
