//! Who may see an object.

use std::collections::BTreeSet;
use std::sync::Arc;

/// The namespaces an object is visible in; `.` is already the object's own namespace.
///
/// Source: Istio `exportTo`, and the annotation `networking.istio.io/exportTo` of a Service.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ExportTo {
    /// Absent or empty: the mesh's default, which is all namespaces unless set otherwise.
    #[default]
    MeshDefault,
    /// `*`
    All,
    /// `~`: nobody. ServiceEntry and Service only.
    Nobody,
    /// These namespaces and no other. Never empty.
    Namespaces(BTreeSet<Arc<str>>),
}

impl ExportTo {
    /// Whether objects of `namespace` see it, with the mesh's default being everybody.
    pub fn reaches(&self, namespace: &str) -> bool {
        match self {
            Self::MeshDefault | Self::All => true,
            Self::Nobody => false,
            Self::Namespaces(namespaces) => namespaces.contains(namespace),
        }
    }

    /// Whether it is visible in `own`, its own namespace, and nowhere else.
    pub fn is_only_for(&self, own: &str) -> bool {
        matches!(self, Self::Namespaces(namespaces) if namespaces.len() == 1 && namespaces.contains(own))
    }

    /// Whether it is visible in `own`, its own namespace, by name and not because everybody sees it.
    pub fn is_private_to(&self, own: &str) -> bool {
        matches!(self, Self::Namespaces(namespaces) if namespaces.contains(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaches_the_named_namespaces_only() {
        let some = ExportTo::Namespaces([Arc::from("a"), Arc::from("b")].into());
        assert!(some.reaches("a") && !some.reaches("c"));
        assert!(ExportTo::MeshDefault.reaches("c") && ExportTo::All.reaches("c"));
        assert!(!ExportTo::Nobody.reaches("c"));
        assert!(some.is_private_to("a") && !ExportTo::All.is_private_to("a"));
        let own = ExportTo::Namespaces([Arc::from("a")].into());
        assert!(own.is_only_for("a") && !own.is_only_for("b") && !some.is_only_for("a"));
    }
}
