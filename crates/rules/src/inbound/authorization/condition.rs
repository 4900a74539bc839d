//! One condition of a rule.

use super::asked::Asked;
use crate::matching::shortened;
use crate::{HeaderKey, RequestHead};
use ipnet::IpNet;
use model::{NamePattern, PathValue, ServiceAccountRef, ValueMatch, Values};
use std::borrow::Cow;
use std::fmt::Display;
use std::net::IpAddr;

/// How many values are told at most, the first ones.
const MAX_TOLD: usize = 5;

/// A field of a source or operation, or a further condition, with its `not` form.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    /// `principals`, or the key of a further condition.
    pub(super) name: Box<str>,
    /// `notPrincipals`. Absent: further conditions have one name.
    pub(super) not_name: Option<&'static str>,
    pub(super) test: Test,
}

/// What is compared with what.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Principal(Values<ValueMatch>),
    Namespace(Values<NamePattern>),
    ServiceAccount(Values<ServiceAccountRef>),
    TrustDomain(Values<NamePattern>),
    SourceIp(Values<IpNet>),
    RemoteIp(Values<IpNet>),
    DestinationIp(Values<IpNet>),
    Port(Values<u16>),
    /// Case does not count, since it does not in names.
    Sni(Values<ValueMatch>),
    Host(Values<ValueMatch>),
    Method(Values<ValueMatch>),
    Path(Values<PathValue>),
    Header(HeaderKey, Values<ValueMatch>),
    /// What only a validated token says. No token is validated here, so nobody has any.
    Token(Values<ValueMatch>),
    /// What only Envoy knows.
    Unknowable,
}

impl Condition {
    /// Whether only requests have it.
    pub(super) fn is_for_requests(&self) -> bool {
        matches!(
            self.test,
            Test::Host(_) | Test::Method(_) | Test::Path(_) | Test::Header(..) | Test::Token(_)
        )
    }

    /// Whether nothing has it.
    pub(super) fn is_unknowable(&self) -> bool {
        matches!(self.test, Test::Unknowable)
    }

    /// Whether it holds. What cannot be asked for holds.
    pub(super) fn holds(&self, asked: &Asked<'_>) -> bool {
        self.check(asked).is_ok()
    }

    fn check(&self, asked: &Asked<'_>) -> Result<(), Unmet> {
        match &self.test {
            Test::Principal(values) => {
                compare(values, |want| asked.is(|identity| identity.is(want)))
            }
            Test::Namespace(values) => compare(values, |want| {
                asked.is(|identity| identity.is_of_namespace(want))
            }),
            Test::ServiceAccount(values) => compare(values, |want| {
                asked.is(|identity| identity.is_service_account(want))
            }),
            Test::TrustDomain(values) => compare(values, |want| {
                asked.is(|identity| identity.is_of_trust_domain(want))
            }),
            Test::SourceIp(values) => compare(values, |net| net.contains(&asked.source)),
            Test::RemoteIp(values) => compare(values, |net| net.contains(&asked.remote)),
            Test::DestinationIp(values) => compare(values, |net| net.contains(&asked.destination)),
            Test::Port(values) => compare(values, |port| *port == asked.port),
            Test::Sni(values) => compare(values, |want| {
                want.matches_ignore_case(asked.sni.as_bytes())
            }),
            Test::Unknowable => Ok(()),
            _ => asked.head.map_or(Ok(()), |head| self.check_request(head)),
        }
    }

    fn check_request(&self, head: &RequestHead<'_>) -> Result<(), Unmet> {
        match &self.test {
            Test::Host(values) => {
                let authority = head.authority.as_bytes();
                compare(values, |want| want.matches_ignore_case(authority))
            }
            Test::Method(values) => compare(values, |want| want.matches(head.method.as_bytes())),
            Test::Path(values) => compare(values, |want| match want {
                PathValue::Text(text) => text.matches(head.path.as_bytes()),
                PathValue::Template(template) => template.matches(head.path),
            }),
            Test::Header(key, values) => {
                let value = key.value(head);
                compare(values, |want| is_header(want, value.as_deref()))
            }
            Test::Token(values) => compare(values, |_| false),
            _ => Ok(()),
        }
    }

    /// Why it does not hold, in a line: `principals: wants "a" or "b*", has none`.
    pub(super) fn explain(&self, asked: &Asked<'_>) -> String {
        let (name, verb, unmet) = match self.check(asked) {
            Err(Unmet::RuledOut) => (
                self.not_name.unwrap_or(&self.name),
                "rules out",
                Unmet::RuledOut,
            ),
            _ => (&*self.name, "wants", Unmet::Wanted),
        };
        let values = self.test.told(unmet);
        if let Test::Token(_) = self.test {
            return format!("{name}: {verb} {values}, but no token is validated here");
        }
        match self.found(asked) {
            Some(found) => format!("{name}: {verb} {values}, has {:?}", shortened(&found)),
            None => format!("{name}: {verb} {values}, has none"),
        }
    }

    /// What there is instead.
    fn found<'a>(&self, asked: &Asked<'a>) -> Option<Cow<'a, str>> {
        let of_address = |address: IpAddr| Some(Cow::Owned(address.to_string()));
        let head = asked.head;
        match &self.test {
            Test::Principal(_)
            | Test::Namespace(_)
            | Test::ServiceAccount(_)
            | Test::TrustDomain(_) => asked.identity.map(|identity| Cow::Borrowed(identity.0)),
            Test::SourceIp(_) => of_address(asked.source),
            Test::RemoteIp(_) => of_address(asked.remote),
            Test::DestinationIp(_) => of_address(asked.destination),
            Test::Port(_) => Some(Cow::Owned(asked.port.to_string())),
            Test::Sni(_) => (!asked.sni.is_empty()).then_some(Cow::Borrowed(asked.sni)),
            Test::Host(_) => head.map(|head| Cow::Borrowed(head.authority)),
            Test::Method(_) => head.map(|head| Cow::Borrowed(head.method)),
            Test::Path(_) => head.map(|head| Cow::Borrowed(head.path)),
            Test::Header(key, _) => {
                let value = key.value(head?)?;
                Some(Cow::Owned(String::from_utf8_lossy(&value).into_owned()))
            }
            Test::Token(_) | Test::Unknowable => None,
        }
    }
}

/// Why a condition does not hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unmet {
    /// None of the values matches.
    Wanted,
    /// One matches of those that must not.
    RuledOut,
}

fn compare<T>(values: &Values<T>, matches: impl Fn(&T) -> bool) -> Result<(), Unmet> {
    if !values.values.is_empty() && !values.values.iter().any(&matches) {
        return Err(Unmet::Wanted);
    }
    match values.not_values.iter().any(&matches) {
        true => Err(Unmet::RuledOut),
        false => Ok(()),
    }
}

/// A header that is there but empty is there.
fn is_header(want: &ValueMatch, value: Option<&[u8]>) -> bool {
    match want {
        ValueMatch::Present => value.is_some(),
        _ => value.is_some_and(|value| want.matches(value)),
    }
}

impl Test {
    fn told(&self, unmet: Unmet) -> String {
        match self {
            Self::Principal(values)
            | Self::Sni(values)
            | Self::Host(values)
            | Self::Method(values)
            | Self::Header(_, values)
            | Self::Token(values) => told(values, unmet),
            Self::Namespace(values) | Self::TrustDomain(values) => told(values, unmet),
            Self::ServiceAccount(values) => told(values, unmet),
            Self::SourceIp(values) | Self::RemoteIp(values) | Self::DestinationIp(values) => {
                told(values, unmet)
            }
            Self::Port(values) => told(values, unmet),
            Self::Path(values) => told(values, unmet),
            Self::Unknowable => "metadata of Envoy".to_owned(),
        }
    }
}

/// `"a", "b" or 3 others`
fn told<T: Display>(values: &Values<T>, unmet: Unmet) -> String {
    let values = match unmet {
        Unmet::Wanted => &values.values,
        Unmet::RuledOut => &values.not_values,
    };
    let first = values.iter().take(MAX_TOLD);
    let mut all: Vec<String> = first
        .map(|value| format!("{:?}", shortened(&value.to_string())))
        .collect();
    match values.len().checked_sub(MAX_TOLD) {
        None | Some(0) => {}
        Some(others) => all.push(format!("{others} others")),
    }
    match all.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
        None => String::new(),
    }
}
