//! Where endpoints are.

use super::Workloads;
use model::Pod;
use std::sync::Arc;

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";

/// The Pod's own word. Dots stand for slashes, which labels do not hold.
const OF_POD: &str = "istio-locality";

impl Workloads<'_> {
    /// Where a Pod is: what its label says, else its node's labels.
    pub(super) fn locality_of_pod(&self, pod: &Pod) -> Arc<str> {
        self.locality(Some(pod), pod.node_name.as_deref(), None)
    }

    /// The same of an endpoint whose node and zone an EndpointSlice knows. The zone counts where nothing else does.
    pub(super) fn locality(
        &self,
        pod: Option<&Pod>,
        node: Option<&str>,
        zone: Option<&str>,
    ) -> Arc<str> {
        if let Some(label) = pod.and_then(|pod| pod.meta.labels.get(OF_POD)) {
            return label.replace('.', "/").into();
        }
        let node = node.or_else(|| pod.and_then(|pod| pod.node_name.as_deref()));
        let node = node.and_then(|name| self.nodes.get(name));
        let of_node = |label| node.and_then(|node| node.meta.labels.get(label).map(String::as_str));
        let parts = [of_node(REGION), of_node(ZONE).or(zone), of_node(SUBZONE)];
        if parts.iter().all(Option::is_none) {
            return "".into();
        }
        parts.map(Option::unwrap_or_default).join("/").into()
    }
}
