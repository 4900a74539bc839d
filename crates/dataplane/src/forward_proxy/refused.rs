//! What is refused, or would be, and how that is counted.

use rules::{Denial, EgressMode};
use telemetry::Metrics;

/// Why a client does not get through, or would not if that were enforced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// It may not reach what it asks for.
    Denied(Denial),
    /// The name in its TLS is not the one that it asked for.
    SniMismatch,
    /// It does not speak TLS, where nothing else may be spoken.
    NotTls,
}

impl Refused {
    /// Stable, for the log and the counter.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.code(),
            Self::SniMismatch => "sni_mismatch",
            Self::NotTls => "not_tls",
        }
    }

    /// What the registry has against it. Absent: it is about what is in the tunnel.
    pub(crate) fn denial(self) -> Option<Denial> {
        match self {
            Self::Denied(denial) => Some(denial),
            Self::SniMismatch | Self::NotTls => None,
        }
    }

    /// As [`Self::code`], where it is let through.
    pub(crate) fn would_be_code(self) -> &'static str {
        match self {
            Self::Denied(denial) => match denial {
                Denial::NotInRegistry => "would_refuse_not_in_registry",
                Denial::Port => "would_refuse_port_not_in_registry",
                Denial::Protocol => "would_refuse_protocol_not_in_registry",
                Denial::NotVisible => "would_refuse_not_visible",
                Denial::Client => "would_refuse_unknown_client",
                Denial::Address => "would_refuse_forbidden_address",
                Denial::Mismatch => "would_refuse_host_mismatch",
                Denial::Itself => "would_refuse_proxy_loop",
            },
            Self::SniMismatch => "would_refuse_sni_mismatch",
            Self::NotTls => "would_refuse_not_tls",
        }
    }

    /// Counts it.
    pub(crate) fn count(self, mode: EgressMode, metrics: &Metrics) {
        let mode = mode.as_str();
        metrics.own().egress_refusals(self.code(), mode).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_refused_is_called_after_what_is() {
        let denied = Denial::ALL.map(Refused::Denied);
        for refused in denied
            .into_iter()
            .chain([Refused::SniMismatch, Refused::NotTls])
        {
            let would_be = format!("would_refuse_{}", refused.code());
            assert_eq!(refused.would_be_code(), would_be);
        }
    }
}
