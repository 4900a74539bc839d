//! Checked values, read at a cursor. Each reports what is wrong and returns nothing then.

use super::{Cursor, Fields};
use crate::yaml::Value;
use crate::{
    At, ExportTo, HostPattern, Hostname, Labels, Located, Percent, RegexSource, StringMatch,
    duration,
};
use base64::Engine;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

impl<'a> Cursor<'a> {
    pub(crate) fn str(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::String(text) => return Some(text),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                self.wrong_type("a string").help("put it in quotes");
            }
            _ => drop(self.wrong_type("a string")),
        }
        None
    }

    pub(crate) fn string(&self) -> Option<String> {
        self.str().map(str::to_owned)
    }

    /// A string that is not empty.
    pub(crate) fn text(&self) -> Option<String> {
        let text = self.str()?;
        if text.is_empty() {
            self.error("invalid_value", "must not be empty");
            return None;
        }
        Some(text.to_owned())
    }

    /// `yes` and its like count too, as in the YAML that Kubernetes reads.
    pub(crate) fn bool(&self) -> Option<bool> {
        match &self.node.value {
            Value::Bool(value) => Some(*value),
            Value::String(text) if matches!(text.to_ascii_lowercase().as_str(), "yes" | "on") => {
                Some(true)
            }
            Value::String(text) if matches!(text.to_ascii_lowercase().as_str(), "no" | "off") => {
                Some(false)
            }
            _ => {
                self.wrong_type("true or false");
                None
            }
        }
    }

    pub(crate) fn integer(&self, range: RangeInclusive<i128>) -> Option<i128> {
        let Value::Int(value) = self.node.value else {
            self.wrong_type("an integer");
            return None;
        };
        if !range.contains(&value) {
            let (low, high) = (range.start(), range.end());
            self.error(
                "out_of_range",
                format!("{value} is not in range {low}..{high}"),
            );
            return None;
        }
        Some(value)
    }

    pub(crate) fn u32(&self) -> Option<u32> {
        self.integer(0..=u32::MAX.into())
            .and_then(|value| value.try_into().ok())
    }

    /// A number that Istio keeps as a signed one; 0 is as good as absent.
    pub(crate) fn limit(&self) -> Option<u32> {
        let value = self.integer(0..=i32::MAX as i128)?;
        u32::try_from(value).ok().filter(|value| *value > 0)
    }

    pub(crate) fn u16_in(&self, range: RangeInclusive<u16>) -> Option<u16> {
        let range = i128::from(*range.start())..=i128::from(*range.end());
        self.integer(range).and_then(|value| value.try_into().ok())
    }

    /// 1 to 65535.
    pub(crate) fn port(&self) -> Option<u16> {
        self.u16_in(1..=u16::MAX)
    }

    /// `{number: 80}`, or the `{name: http}` of old, which cannot be resolved here.
    pub(crate) fn port_selector(&self) -> Option<u16> {
        self.object(|fields| {
            if let Some(name) = fields.field("name") {
                name.error(
                    "removed_field",
                    "a port cannot be selected by name any more",
                )
                .help("write number with the service's port number");
                fields.field("number");
                return None;
            }
            fields.required("number")?.port()
        })
    }

    /// 0 to 100.
    pub(crate) fn percent_integer(&self) -> Option<u8> {
        self.integer(0..=100)
            .and_then(|value| value.try_into().ok())
    }

    pub(crate) fn float(&self) -> Option<f64> {
        match self.node.value {
            Value::Float(value) => Some(value),
            Value::Int(value) => Some(value as f64),
            _ => {
                self.wrong_type("a number");
                None
            }
        }
    }

    pub(crate) fn percent_number(&self) -> Option<Percent> {
        let value = self.float()?;
        Percent::try_from(value)
            .map_err(|error| drop(self.error("out_of_range", error.to_string())))
            .ok()
    }

    /// `{value: 12.5}`; an empty object is 0 as in protobuf.
    pub(crate) fn percent(&self) -> Option<Percent> {
        self.object(|fields| match fields.field("value") {
            Some(value) => value.percent_number(),
            None => Some(Percent::ZERO),
        })
    }

    /// At least 1 ms, and a multiple of it.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let duration = self.duration_or_zero()?;
        if duration.is_zero() {
            self.error("invalid_duration", "must be at least 1ms");
            return None;
        }
        Some(duration)
    }

    /// Zero, or at least 1 ms and a multiple of it.
    pub(crate) fn duration_or_zero(&self) -> Option<Duration> {
        let Value::String(text) = &self.node.value else {
            self.wrong_type("a duration")
                .help("write it with its unit, such as 3s or 100ms");
            return None;
        };
        let duration = match duration::parse(text) {
            Ok(duration) => duration,
            Err(error) => {
                self.error("invalid_duration", format!("{text:?} {error}"))
                    .help("write a number with its unit, such as 1h30m, 3s, 0.5s or 100ms");
                return None;
            }
        };
        if !duration.is_zero() && duration < Duration::from_millis(1) {
            self.error("invalid_duration", "must be at least 1ms");
            return None;
        }
        if duration.subsec_nanos() % 1_000_000 != 0 {
            self.error("invalid_duration", "must be a multiple of 1ms");
            return None;
        }
        Some(duration)
    }

    /// One of the names, case-sensitive.
    pub(crate) fn one_of<T: Copy>(&self, names: &[(&str, T)]) -> Option<T> {
        let text = self.str()?;
        if let Some((_, value)) = names.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let allowed: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        let problem = self.error("invalid_enum", format!("unknown value {text:?}"));
        problem.help(format!("one of {}", allowed.join(", ")));
        None
    }

    pub(crate) fn host(&self) -> Option<HostPattern> {
        let text = self.str()?;
        HostPattern::try_from(text)
            .map_err(|error| drop(self.error("invalid_host", error.to_string())))
            .ok()
    }

    pub(crate) fn located_host(&self) -> Option<Located<HostPattern>> {
        self.host().map(|value| Located {
            value,
            at: self.at(),
        })
    }

    pub(crate) fn hostname(&self) -> Option<Hostname> {
        let text = self.str()?;
        Hostname::try_from(text)
            .map_err(|error| drop(self.error("invalid_host", error.to_string())))
            .ok()
    }

    pub(crate) fn ip(&self) -> Option<IpAddr> {
        let text = self.str()?;
        text.parse()
            .map_err(|_| drop(self.error("invalid_value", format!("{text:?} is no IP address"))))
            .ok()
    }

    /// A network or a single address. Host bits may be set.
    pub(crate) fn network(&self) -> Option<IpNet> {
        let text = self.str()?;
        let network = match text.parse::<IpAddr>() {
            Ok(address) => Some(IpNet::from(address)),
            Err(_) => text.parse::<IpNet>().ok(),
        };
        if network.is_none() {
            self.error(
                "invalid_value",
                format!("{text:?} is no IP address or network"),
            )
            .help("write an address such as 10.0.0.1, or a network such as 10.0.0.0/8");
        }
        network.map(|network| network.trunc())
    }

    pub(crate) fn dns_label(&self) -> Option<String> {
        let text = self.text()?;
        if !crate::is_dns_label(&text) {
            self.error("invalid_value", format!("{text:?} is no DNS label"))
                .help("letters, digits and hyphens inside, 63 characters at most");
            return None;
        }
        Some(text)
    }

    pub(crate) fn regex(&self) -> Option<RegexSource> {
        let text = self.str()?;
        if self.cx.is_full() {
            return None; // compiling is slow, and the object is refused already
        }
        RegexSource::try_from(text)
            .map_err(|error| drop(self.error("invalid_regex", error.to_string())))
            .ok()
    }

    pub(crate) fn base64(&self) -> Option<Vec<u8>> {
        // Block scalars break the text over lines.
        let text: String = self.str()?.split_ascii_whitespace().collect();
        let decoded = base64::engine::general_purpose::STANDARD.decode(text).ok();
        if decoded.is_none() {
            self.error("invalid_value", "is no base64");
        }
        decoded
    }

    pub(crate) fn strings(&self) -> Vec<String> {
        self.items().iter().filter_map(Cursor::string).collect()
    }

    pub(crate) fn labels(&self) -> Labels {
        self.string_map()
    }

    pub(crate) fn string_map(&self) -> BTreeMap<String, String> {
        let entries = self.entries().into_iter();
        entries
            .filter_map(|(key, value)| Some((key.to_owned(), value.string()?)))
            .collect()
    }

    /// `exact`, `prefix` or `regex`, and nothing else.
    pub(crate) fn string_match(&self) -> Option<StringMatch> {
        self.object(|fields| {
            let found = fields.string_match_kind()?;
            if found.is_none() {
                self.error("invalid_value", "exact, prefix or regex is required");
            }
            found
        })
    }

    /// As [`Self::string_match`], of what can be absent: `{}` and `regex: "*"` ask whether it is there.
    pub(crate) fn presence_or_match(&self) -> Option<StringMatch> {
        self.object(|fields| {
            let star = fields
                .field("regex")
                .is_some_and(|regex| regex.node.as_str() == Some("*"));
            if star {
                fields.field("exact");
                fields.field("prefix");
                return Some(StringMatch::Present);
            }
            fields
                .string_match_kind()
                .map(|found| found.unwrap_or(StringMatch::Present))
        })
    }

    pub(crate) fn export_to(&self, nobody: NobodyAllowed) -> ExportTo {
        let items = self.items();
        let mut namespaces = BTreeSet::new();
        let mut wide = None;
        for item in &items {
            let Some(text) = item.str() else { continue };
            match text {
                "*" => wide = Some(ExportTo::All),
                "~" if nobody == NobodyAllowed::Yes => wide = Some(ExportTo::Nobody),
                "." => item.insert_namespace(&mut namespaces, self.cx.namespace()),
                _ if crate::is_dns_label(text) => {
                    item.insert_namespace(&mut namespaces, text.into())
                }
                _ => drop(item.error(
                    "invalid_value",
                    format!("{text:?} is no namespace, \".\" or \"*\""),
                )),
            }
        }
        match wide {
            Some(_) if items.len() > 1 => {
                self.error(
                    "exclusive_fields",
                    "\"*\" and \"~\" cannot be combined with others",
                );
                ExportTo::All
            }
            Some(wide) => wide,
            None if namespaces.is_empty() => ExportTo::MeshDefault,
            None => ExportTo::Namespaces(namespaces),
        }
    }

    fn insert_namespace(&self, namespaces: &mut BTreeSet<Arc<str>>, namespace: Arc<str>) {
        if !namespaces.insert(namespace.clone()) {
            self.error(
                "duplicate_name",
                format!("namespace {namespace} is there twice"),
            );
        }
    }
}

/// Whether `exportTo: ["~"]` is allowed.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum NobodyAllowed {
    Yes,
    No,
}

impl<'a> Fields<'a> {
    pub(crate) fn string(&self, name: &'static str) -> Option<String> {
        self.field(name)?.string().filter(|text| !text.is_empty())
    }

    pub(crate) fn bool(&self, name: &'static str) -> Option<bool> {
        self.field(name)?.bool()
    }

    pub(crate) fn flag(&self, name: &'static str) -> bool {
        self.bool(name).unwrap_or(false)
    }

    pub(crate) fn duration(&self, name: &'static str) -> Option<Duration> {
        self.field(name)?.duration()
    }

    pub(crate) fn labels(&self, name: &'static str) -> Labels {
        self.field(name)
            .map(|cursor| cursor.labels())
            .unwrap_or_default()
    }

    pub(crate) fn strings(&self, name: &'static str) -> Vec<String> {
        self.field(name)
            .map(|cursor| cursor.strings())
            .unwrap_or_default()
    }

    pub(crate) fn export_to(&self, nobody: NobodyAllowed) -> ExportTo {
        self.field("exportTo")
            .map(|cursor| cursor.export_to(nobody))
            .unwrap_or_default()
    }

    /// The items of a list; none when it is absent.
    pub(crate) fn items(&self, name: &'static str) -> Vec<Cursor<'a>> {
        self.field(name)
            .map(|cursor| cursor.items())
            .unwrap_or_default()
    }

    /// The items of a list by their place, to report at what was decoded from them.
    pub(crate) fn items_by_place(&self, name: &'static str) -> HashMap<At, Cursor<'a>> {
        self.items(name)
            .into_iter()
            .map(|item| (item.at(), item))
            .collect()
    }

    /// The items of a list, each decoded.
    pub(crate) fn each<T>(
        &self,
        name: &'static str,
        decode: impl Fn(&Cursor<'a>) -> Option<T>,
    ) -> Vec<T> {
        let mut list: Vec<T> = self.items(name).iter().filter_map(decode).collect();
        // It grew to have room for four at once, and most lists hold one.
        list.shrink_to_fit();
        list
    }

    /// The field decoded, when it is there.
    pub(crate) fn maybe<T>(
        &self,
        name: &'static str,
        decode: impl FnOnce(&Cursor<'a>) -> Option<T>,
    ) -> Option<T> {
        decode(&self.field(name)?)
    }

    /// The outer nothing: an error was reported. The inner one: none of the three is there.
    fn string_match_kind(&self) -> Option<Option<StringMatch>> {
        self.exclusive(&["exact", "prefix", "regex"]);
        let exact = self.field("exact");
        let prefix = self.field("prefix");
        let regex = self.field("regex");
        let found = match (exact, prefix, regex) {
            (Some(exact), ..) => StringMatch::Exact(exact.string()?),
            (_, Some(prefix), _) => StringMatch::Prefix(prefix.string()?),
            (.., Some(regex)) => StringMatch::Regex(regex.regex()?),
            _ => return Some(None),
        };
        Some(Some(found))
    }
}
