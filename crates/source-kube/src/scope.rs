//! Which objects of a kind are followed together.

use crate::kinds::Kind;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the names of all that is told begin with.
pub(crate) const PREFIX: &str = "kubernetes:";

/// Objects that are followed together, by one watch.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Scope {
    pub(crate) kind: Kind,
    /// In this namespace alone. Absent: in all, or the kind has none.
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) names: Names,
}

/// Which of them.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Names {
    All,
    /// Nothing else is asked for, so that a permission for this one is enough.
    One(Arc<str>),
    /// Others are asked for, and dropped.
    Among(Arc<BTreeSet<String>>),
}

impl Scope {
    /// All objects of a kind, in one namespace or in all.
    pub(crate) fn all(kind: Kind, namespace: Option<Arc<str>>) -> Self {
        Self {
            kind,
            namespace,
            names: Names::All,
        }
    }

    /// What its objects are told below. That of a single object is the object's own file.
    pub(crate) fn folder(&self) -> Arc<str> {
        let kind = self.kind.name;
        match (&self.namespace, &self.names) {
            (Some(namespace), Names::One(name)) => file(kind, Some(namespace), name),
            (None, Names::One(name)) => file(kind, None, name),
            (Some(namespace), _) => format!("{PREFIX}{kind}/{namespace}").into(),
            (None, _) => format!("{PREFIX}{kind}").into(),
        }
    }

    /// What an object of it is told as.
    pub(crate) fn file(&self, namespace: Option<&str>, name: &str) -> Arc<str> {
        file(self.kind.name, namespace, name)
    }

    /// Whether a file is of an object that is followed here.
    pub(crate) fn covers(&self, file: &str) -> bool {
        let own = file.strip_prefix(PREFIX);
        let own = own.and_then(|rest| rest.strip_prefix(self.kind.name)?.strip_prefix('/'));
        let Some(rest) = own else {
            return false;
        };
        let (namespace, name) = match rest.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, rest),
        };
        let is_there = self.namespace.is_none() || self.namespace.as_deref() == namespace;
        is_there && self.has(name)
    }

    /// Whether an object of this name is followed.
    pub(crate) fn has(&self, name: &str) -> bool {
        match &self.names {
            Names::All => true,
            Names::One(one) => **one == *name,
            Names::Among(names) => names.contains(name),
        }
    }

    /// Whether it is one object, known by name.
    pub(crate) fn is_single(&self) -> bool {
        matches!(self.names, Names::One(_))
    }
}

fn file(kind: &str, namespace: Option<&str>, name: &str) -> Arc<str> {
    match namespace {
        Some(namespace) => format!("{PREFIX}{kind}/{namespace}/{name}").into(),
        None => format!("{PREFIX}{kind}/{name}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{KINDS, NODES, SECRETS};

    #[test]
    fn a_scope_covers_what_it_follows() {
        let services = Scope::all(KINDS[0], Some("shop".into()));
        assert_eq!(&*services.folder(), "kubernetes:Service/shop");
        assert!(services.covers("kubernetes:Service/shop/cart"));
        for other in [
            "kubernetes:Service/bank/cart",
            "kubernetes:ServiceEntry/shop/cart",
            "kubernetes:Service",
            "other.yaml",
        ] {
            assert!(!services.covers(other), "{other}");
        }
        assert!(Scope::all(KINDS[0], None).covers("kubernetes:Service/bank/cart"));
        assert!(Scope::all(NODES, None).covers("kubernetes:Node/one"));
        let secret = Scope {
            names: Names::One("web".into()),
            ..Scope::all(SECRETS, Some("shop".into()))
        };
        assert_eq!(&*secret.folder(), "kubernetes:Secret/shop/web");
        assert!(secret.covers(&secret.folder()));
        assert!(!secret.covers("kubernetes:Secret/shop/other"));
    }
}
