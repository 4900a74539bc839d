//! Envoy's response flags.

use bitflags::bitflags;
use std::fmt;

bitflags! {
    /// What went wrong with a request, or was done to it on purpose, in Envoy's letters.
    ///
    /// The order of the bits is the order in which they are printed.
    #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
    pub struct ResponseFlags: u32 {
        /// `LH`: the local service failed its health check.
        const LH = 1;
        /// `UH`: no healthy upstream.
        const UH = 1 << 1;
        /// `UT`: the upstream did not answer in time.
        const UT = 1 << 2;
        /// `LR`: the connection was reset here.
        const LR = 1 << 3;
        /// `UR`: the upstream reset the stream.
        const UR = 1 << 4;
        /// `URX`: retries (HTTP) or connection attempts (TCP) used up; printed before its cause.
        const URX = 1 << 5;
        /// `UF`: no connection to the upstream.
        const UF = 1 << 6;
        /// `UC`: the upstream closed the connection.
        const UC = 1 << 7;
        /// `UO`: a connection-pool limit was hit.
        const UO = 1 << 8;
        /// `NR`: no route, or no filter chain.
        const NR = 1 << 9;
        /// `DI`: a delay was injected.
        const DI = 1 << 10;
        /// `FI`: an abort was injected.
        const FI = 1 << 11;
        /// `RL`: rate limited.
        const RL = 1 << 12;
        /// `UAEX`: refused by the external authorisation service.
        const UAEX = 1 << 13;
        /// `RLSE`: the rate-limit service failed.
        const RLSE = 1 << 14;
        /// `DC`: the client went away.
        const DC = 1 << 15;
        /// `SI`: the stream was idle for too long.
        const SI = 1 << 16;
        /// `IH`: a strictly checked `x-envoy-*` header was invalid.
        const IH = 1 << 17;
        /// `DPE`: the client broke the protocol.
        const DPE = 1 << 18;
        /// `UMSDR`: the upstream stream reached its maximum duration.
        const UMSDR = 1 << 19;
        /// `RFCF`: answered from a cache.
        const RFCF = 1 << 20;
        /// `NFCF`: no filter configuration was found.
        const NFCF = 1 << 21;
        /// `DT`: the connection or request reached its maximum duration.
        const DT = 1 << 22;
        /// `UPE`: the upstream broke the protocol.
        const UPE = 1 << 23;
        /// `NC`: the route's cluster does not exist.
        const NC = 1 << 24;
        /// `OM`: refused because the proxy is overloaded.
        const OM = 1 << 25;
        /// `DF`: the upstream's name did not resolve.
        const DF = 1 << 26;
        /// `DO`: dropped because the upstream is overloaded.
        const DO = 1 << 27;
    }
}

impl ResponseFlags {
    /// Envoy's text: letters joined by commas, `-` for none, appended to `out`.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        if self.is_empty() {
            out.push(b'-');
            return;
        }
        for (position, (name, _)) in self.iter_names().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            out.extend_from_slice(name.as_bytes());
        }
    }
}

impl fmt::Display for ResponseFlags {
    /// As Envoy's `%RESPONSE_FLAGS%`: `URX,UF`, and `-` for none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (position, (name, _)) in self.iter_names().enumerate() {
            let comma = if position > 0 { "," } else { "" };
            write!(f, "{comma}{name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn print_as_envoy_does() {
        let cases = [
            (ResponseFlags::empty(), "-"),
            (ResponseFlags::NR, "NR"),
            (ResponseFlags::UF | ResponseFlags::URX, "URX,UF"),
            (ResponseFlags::DI | ResponseFlags::FI, "DI,FI"),
        ];
        for (flags, want) in cases {
            let mut bytes = Vec::new();
            flags.write(&mut bytes);
            assert_eq!(
                (flags.to_string().as_str(), bytes.as_slice()),
                (want, want.as_bytes())
            );
        }
    }

    #[test]
    fn every_flag_of_envoy_has_its_letters() {
        let letters: Vec<_> = ResponseFlags::all()
            .iter_names()
            .map(|(name, _)| name)
            .collect();
        let mut sorted = letters.clone();
        sorted.sort_unstable();
        let want = "DC DF DI DO DPE DT FI IH LH LR NC NFCF NR OM RFCF RL RLSE SI UAEX UC UF UH UMSDR UO UPE UR URX UT";
        assert_eq!(sorted.join(" "), want);
    }
}
