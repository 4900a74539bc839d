//! What a VirtualService is bound to.

use std::fmt;
use std::sync::Arc;

/// A Gateway by name, or all sidecars. The namespace is resolved already.
///
/// Source: Istio `VirtualService.gateways`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum GatewayRef {
    /// `mesh`: every sidecar.
    Mesh,
    /// A Gateway object.
    Gateway {
        /// Its namespace; the VirtualService's own when the reference names none.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
}

/// How a reference was spelt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GatewayRefForm {
    /// `gw`, `ns/gw`, `./gw` or `mesh`.
    Name,
    /// The deprecated `gw.ns.svc.cluster.local`.
    LegacyFqdn,
}

/// A reference that names no Gateway.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no gateway reference")]
pub struct InvalidGatewayRef(pub String);

impl GatewayRef {
    /// Reads `gw`, `ns/gw`, `./gw`, `mesh`, or the legacy `gw.ns.svc.cluster.local`.
    ///
    /// # Errors
    /// When a part is empty or no DNS name, or there are too many parts.
    pub fn parse(
        text: &str,
        own_namespace: &Arc<str>,
    ) -> Result<(Self, GatewayRefForm), InvalidGatewayRef> {
        let invalid = || InvalidGatewayRef(text.to_owned());
        if text == "mesh" {
            return Ok((Self::Mesh, GatewayRefForm::Name));
        }
        if let Some((namespace, name)) = text.split_once('/') {
            if !super::is_dns_subdomain(name) {
                return Err(invalid());
            }
            let namespace = match namespace {
                "." => own_namespace.clone(),
                named if super::is_dns_label(named) => named.into(),
                _ => return Err(invalid()),
            };
            let name = name.into();
            return Ok((Self::Gateway { namespace, name }, GatewayRefForm::Name));
        }
        if !super::is_dns_subdomain(text) {
            return Err(invalid());
        }
        if let Some((name, namespace)) = legacy_fqdn(text) {
            let (namespace, name) = (namespace.into(), name.into());
            return Ok((
                Self::Gateway { namespace, name },
                GatewayRefForm::LegacyFqdn,
            ));
        }
        let gateway = Self::Gateway {
            namespace: own_namespace.clone(),
            name: text.into(),
        };
        Ok((gateway, GatewayRefForm::Name))
    }
}

impl fmt::Display for GatewayRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mesh => f.write_str("mesh"),
            Self::Gateway { namespace, name } => write!(f, "{namespace}/{name}"),
        }
    }
}

/// `gw.ns.svc.…` as Istio before 1.0 wrote references.
fn legacy_fqdn(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once('.')?;
    let (namespace, rest) = rest.split_once('.')?;
    (rest == "svc" || rest.starts_with("svc.")).then_some((name, namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_reference() {
        let own: Arc<str> = "shop".into();
        let cases = [
            ("mesh", Some("mesh")),
            ("gw", Some("shop/gw")),
            ("./gw", Some("shop/gw")),
            ("istio-system/gw", Some("istio-system/gw")),
            ("gw.infra.svc.cluster.local", Some("infra/gw")),
            ("my.gateway", Some("shop/my.gateway")),
            ("", None),
            ("/gw", None),
            ("a/b/c", None),
            ("*/gw", None),
            ("ns/", None),
        ];
        for (text, want) in cases {
            let got = GatewayRef::parse(text, &own)
                .ok()
                .map(|(r, _)| r.to_string());
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }
}
