//! A forward proxy: who its clients are, and what each of them reaches.

use super::Outbound;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// What a forward proxy does with its clients.
#[derive(Debug)]
pub struct ForwardProxy {
    /// Clients that are told apart. The first that a client fits is its own.
    pub callers: Vec<Arc<Caller>>,
    /// All others. Absent: they are refused.
    pub others: Option<Arc<Caller>>,
    /// Whether what is not allowed is refused.
    pub mode: EgressMode,
}

/// Clients that see the same.
#[derive(Debug)]
pub struct Caller {
    /// The namespace whose view they have.
    pub namespace: Arc<str>,
    /// Their addresses. Empty: any.
    pub networks: Vec<IpNet>,
    /// Names in their certificates, exact or ending in `*`. Empty: they need none.
    pub principals: Vec<String>,
    /// What they reach.
    pub outbound: Arc<Outbound>,
}

/// Whether what is not allowed is refused.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum EgressMode {
    /// It is.
    #[default]
    Enforce,
    /// It is let through, and what would have been refused is logged and counted.
    Shadow,
    /// As [`Self::Shadow`], and everything that passes is recorded.
    Learn,
}

impl EgressMode {
    /// As it is written in the bootstrap file, and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
            Self::Learn => "learn",
        }
    }
}

impl ForwardProxy {
    /// Who a client is, by its address and by the names in its certificate if it has shown one.
    pub fn caller<'n>(
        &self,
        address: IpAddr,
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> Option<&Arc<Caller>> {
        let address = address.to_canonical();
        let mut callers = self.callers.iter();
        callers
            .find(|caller| caller.is(address, names.clone()))
            .or(self.others.as_ref())
    }
}

impl Caller {
    fn is<'n>(&self, address: IpAddr, mut names: impl Iterator<Item = &'n str>) -> bool {
        let mut networks = self.networks.iter();
        let is_there = self.networks.is_empty() || networks.any(|one| one.contains(&address));
        let is_known = self.principals.is_empty()
            || names.any(|name| self.principals.iter().any(|one| fits(one, name)));
        is_there && is_known
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}
