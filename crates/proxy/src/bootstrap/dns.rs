//! `[dns]`: how names among endpoints, and those that requests ask for, are resolved.

use ipnet::IpNet;
use rules::ForbiddenNetworks;
use serde::{Deserialize, Deserializer};
use source_dns::{LookupFamily, Settings};
use std::net::SocketAddr;
use std::time::Duration;

/// Names would be looked up all the time.
const SHORTEST_REFRESH: Duration = Duration::from_millis(10);

/// How names among endpoints, and those that requests ask for, are resolved.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "Written")]
pub struct Dns {
    /// How names are resolved.
    pub settings: Settings,
    /// Addresses that no name may stand for.
    pub forbidden_networks: ForbiddenNetworks,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Written {
    /// Who is asked. Empty: the servers of the system.
    servers: Vec<SocketAddr>,
    /// Which addresses are wanted.
    #[serde(deserialize_with = "family")]
    lookup_family: LookupFamily,
    /// How long an answer counts at least.
    #[serde(deserialize_with = "super::duration")]
    refresh_min: Duration,
    /// How long an answer counts at most.
    #[serde(deserialize_with = "super::duration")]
    refresh_max: Duration,
    /// How long a look-up may take.
    #[serde(deserialize_with = "super::duration")]
    timeout: Duration,
    /// How long it counts at most that a name does not exist. Absent: the default, or `refresh_min` if that is more.
    #[serde(deserialize_with = "super::duration_or_none")]
    negative_max: Option<Duration>,
    /// How long addresses are used after their time. Zero: not at all.
    #[serde(deserialize_with = "super::duration")]
    stale_max: Duration,
    /// How many names that requests asked for are remembered.
    cache_size: usize,
    /// Addresses that no name may stand for. Absent: those of machines themselves.
    forbidden_networks: Option<Vec<IpNet>>,
}

impl Default for Written {
    fn default() -> Self {
        let Settings {
            servers,
            family,
            refresh_min,
            refresh_max,
            timeout,
            negative_max: _,
            stale_max,
            cache_size,
        } = Settings::default();
        Self {
            servers,
            lookup_family: family,
            refresh_min,
            refresh_max,
            timeout,
            negative_max: None,
            stale_max,
            cache_size,
            forbidden_networks: None,
        }
    }
}

impl TryFrom<Written> for Dns {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, &'static str> {
        if written.refresh_min < SHORTEST_REFRESH {
            return Err("`refresh-min` must be at least 10ms");
        }
        if written.refresh_max < written.refresh_min {
            return Err("`refresh-max` must not be shorter than `refresh-min`");
        }
        if written.timeout.is_zero() {
            return Err("`timeout` must be at least 1ms");
        }
        let default = Settings::default().negative_max.max(written.refresh_min);
        let negative_max = written.negative_max.unwrap_or(default);
        if negative_max < written.refresh_min {
            return Err("`negative-max` must not be shorter than `refresh-min`");
        }
        if written.cache_size == 0 {
            return Err("`cache-size` must be at least 1");
        }
        let settings = Settings {
            servers: written.servers,
            family: written.lookup_family,
            refresh_min: written.refresh_min,
            refresh_max: written.refresh_max,
            timeout: written.timeout,
            negative_max,
            stale_max: written.stale_max,
            cache_size: written.cache_size,
        };
        let forbidden = written.forbidden_networks.map(ForbiddenNetworks::new);
        Ok(Self {
            settings,
            forbidden_networks: forbidden.unwrap_or_default(),
        })
    }
}

fn family<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LookupFamily, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(match &*text {
        "auto" => LookupFamily::Auto,
        "v4-only" => LookupFamily::V4Only,
        "v6-only" => LookupFamily::V6Only,
        "v4-preferred" => LookupFamily::V4Preferred,
        "all" => LookupFamily::All,
        _ => {
            let expected = &["auto", "v4-only", "v6-only", "v4-preferred", "all"];
            return Err(serde::de::Error::unknown_variant(&text, expected));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(text: &str, want: &str) {
        let refused = toml::from_str::<Dns>(text).unwrap_err().to_string();
        assert!(refused.contains(want), "{refused}");
    }

    #[test]
    fn what_cannot_be_is_a_mistake() {
        check_refused("server = '127.0.0.1:53'", "unknown field `server`");
        check_refused("servers = ['dns.test:53']", "invalid socket address");
        check_refused("lookup-family = 'V4_ONLY'", "unknown variant `V4_ONLY`");
        check_refused("refresh-min = '0s'", "at least 10ms");
        check_refused("refresh-min = '10m'", "must not be shorter");
        check_refused("timeout = '0s'", "at least 1ms");
        check_refused(
            "negative-max = '500ms'",
            "`negative-max` must not be shorter",
        );
        check_refused("stale-max = '-1s'", "must not be negative");
        check_refused("cache-size = 0", "`cache-size` must be at least 1");
        check_refused("cache-size = -1", "invalid value");
    }

    #[test]
    fn every_key_is_read() {
        let text = "servers = ['192.0.2.53:53', '[2001:db8::53]:5353']\n\
                    lookup-family = 'v4-preferred'\n\
                    refresh-min = '2s'\n\
                    refresh-max = '1m'\n\
                    timeout = '3s'\n\
                    negative-max = '4s'\n\
                    stale-max = '0s'\n\
                    cache-size = 5";
        let Dns { settings, .. } = toml::from_str(text).unwrap();
        assert_eq!(settings.servers.len(), 2);
        assert_eq!(settings.family, LookupFamily::V4Preferred);
        let times = [settings.refresh_min, settings.refresh_max, settings.timeout];
        assert_eq!(times.map(|time| time.as_secs()), [2, 60, 3]);
        let of_requests = [settings.negative_max, settings.stale_max];
        assert_eq!(of_requests.map(|time| time.as_secs()), [4, 0]);
        assert_eq!(settings.cache_size, 5);
    }

    #[test]
    fn the_default_of_negative_max_is_not_less_than_what_counts_at_least() {
        for (text, want) in [("", 30), ("refresh-min = '1m'", 60)] {
            let Dns { settings, .. } = toml::from_str(text).unwrap();
            assert_eq!(settings.negative_max.as_secs(), want);
        }
    }

    #[test]
    fn networks_that_are_written_are_all() {
        let forbids = |text: &str, address: &str| {
            let dns: Dns = toml::from_str(text).unwrap();
            dns.forbidden_networks.forbid(address.parse().unwrap())
        };
        assert!(forbids("", "127.0.0.1") && !forbids("", "10.0.0.1"));
        let own = "forbidden-networks = ['10.0.0.0/8']";
        assert!(!forbids(own, "127.0.0.1") && forbids(own, "10.0.0.1"));
        assert!(!forbids("forbidden-networks = []", "169.254.169.254"));
    }

    #[test]
    fn nothing_written_is_the_defaults() {
        let Dns { settings, .. } = toml::from_str("").unwrap();
        assert!(settings.servers.is_empty());
        assert_eq!(settings.refresh_max, Duration::from_secs(300));
        assert_eq!(settings.stale_max, Duration::from_secs(24 * 60 * 60));
        assert_eq!(settings.cache_size, 10_000);
    }
}
