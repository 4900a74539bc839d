//! Header values with Envoy's format operators.

use crate::{Facts, HeaderTemplate, Operator, TemplatePart};
use http::{HeaderName, HeaderValue};
use std::borrow::Cow;

/// The longest value a rule may hold, in bytes.
const MAX_TEMPLATE_BYTES: usize = 16 * 1024;

/// The most operators in one value.
const MAX_OPERATORS: usize = 32;

/// How much of one operator's value is used when it names no limit, in bytes.
const MAX_VALUE_BYTES: usize = 8 * 1024;

/// What stands in parentheses behind an operator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Argument {
    /// Nothing.
    None,
    /// A header name, and `?` with another for when the first is absent.
    Headers,
    /// A format, if one likes.
    Format,
}

const OPERATORS: [(&str, Argument); 31] = [
    ("REQ", Argument::Headers),
    ("RESP", Argument::Headers),
    ("START_TIME", Argument::Format),
    ("PROTOCOL", Argument::None),
    ("REQUEST_DURATION", Argument::None),
    ("RESPONSE_DURATION", Argument::None),
    ("DURATION", Argument::None),
    ("RESPONSE_CODE", Argument::None),
    ("RESPONSE_CODE_DETAILS", Argument::None),
    ("RESPONSE_FLAGS", Argument::None),
    ("BYTES_RECEIVED", Argument::None),
    ("BYTES_SENT", Argument::None),
    ("ROUTE_NAME", Argument::None),
    ("HOSTNAME", Argument::None),
    ("CONNECTION_ID", Argument::None),
    ("REQUESTED_SERVER_NAME", Argument::None),
    ("UPSTREAM_CLUSTER", Argument::None),
    ("UPSTREAM_HOST", Argument::None),
    ("UPSTREAM_LOCAL_ADDRESS", Argument::None),
    ("DOWNSTREAM_LOCAL_ADDRESS", Argument::None),
    ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Argument::None),
    ("DOWNSTREAM_LOCAL_PORT", Argument::None),
    ("DOWNSTREAM_REMOTE_ADDRESS", Argument::None),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Argument::None),
    ("DOWNSTREAM_REMOTE_PORT", Argument::None),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", Argument::None),
    (
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
        Argument::None,
    ),
    ("DOWNSTREAM_TLS_VERSION", Argument::None),
    ("DOWNSTREAM_TLS_CIPHER", Argument::None),
    ("DOWNSTREAM_PEER_SUBJECT", Argument::None),
    ("DOWNSTREAM_PEER_URI_SAN", Argument::None),
];

/// The names of all operators a header value may hold.
pub const KNOWN_OPERATORS: [&str; OPERATORS.len()] = {
    let mut names = [""; OPERATORS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = OPERATORS[at].0;
        at += 1;
    }
    names
};

/// Why a header value was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidTemplate {
    /// Longer than 16 KiB.
    #[error("header value of {0} bytes is longer than {MAX_TEMPLATE_BYTES}")]
    TooLong(usize),
    /// More than 32 operators.
    #[error("more than {MAX_OPERATORS} operators in one header value")]
    TooManyOperators,
    /// Control characters.
    #[error("a header value cannot hold control characters")]
    Characters,
    /// A `%` that ends no operator and is not doubled.
    #[error("stray % at byte {0}; a literal percent sign is written %%")]
    StrayPercent(usize),
    /// Not `NAME`, `NAME(argument)` or `NAME(argument):length`.
    #[error("%{0}% is not of the form %NAME%, %NAME(argument)% or %NAME(argument):length%")]
    Form(String),
    /// No such operator.
    #[error("unknown operator %{name}%; known are {}", KNOWN_OPERATORS.join(", "))]
    UnknownOperator {
        /// As written.
        name: String,
    },
    /// `REQ` and `RESP` need a header name, the others take none.
    #[error("%{name}% {needs}")]
    Argument {
        /// The operator.
        name: String,
        /// What it takes.
        needs: &'static str,
    },
}

impl HeaderTemplate {
    /// Reads a header value in which `%NAME%` stands for a fact of the request and `%%` for a percent sign.
    ///
    /// # Errors
    /// When it is too long, not a header value, or holds something that is not an operator.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(InvalidTemplate::TooLong(text.len()));
        }
        HeaderValue::from_bytes(text.as_bytes()).map_err(|_| InvalidTemplate::Characters)?;
        let mut parts = parts(text)?;
        let literal = match parts.as_mut_slice() {
            [] => String::new(),
            [TemplatePart::Literal(literal)] => std::mem::take(literal),
            _ => return Ok(Self::Parts(parts)),
        };
        let value = HeaderValue::from_maybe_shared(bytes::Bytes::from(literal));
        value
            .map(Self::Fixed)
            .map_err(|_| InvalidTemplate::Characters)
    }

    /// The value for one message. Empty: nothing is to be set.
    pub(super) fn value(&self, facts: &impl Facts) -> HeaderValue {
        let parts = match self {
            Self::Fixed(value) => return value.clone(),
            Self::Parts(parts) => parts,
        };
        let mut text = String::new();
        for part in parts {
            match part {
                TemplatePart::Literal(literal) => text.push_str(literal),
                TemplatePart::Operator(operator) => push_value(&mut text, operator, facts),
            }
        }
        text.retain(|char| !char.is_control());
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
            .unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// A fact that is not there prints nothing, as in Envoy's header values (its access log prints `-`).
fn push_value(text: &mut String, operator: &Operator, facts: &impl Facts) {
    let value: Cow<'_, str> = facts.value(operator).unwrap_or_default();
    let limit = operator
        .limit
        .unwrap_or(MAX_VALUE_BYTES)
        .min(MAX_VALUE_BYTES);
    text.push_str(&value[..value.floor_char_boundary(limit)]);
}

impl Operator {
    /// The headers that the argument of `REQ` or `RESP` names, the first choice first. Lower case.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.argument
            .as_deref()
            .unwrap_or_default()
            .split('?')
            .filter(|name| !name.is_empty())
    }
}

fn parts(text: &str) -> Result<Vec<TemplatePart>, InvalidTemplate> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut operators = 0;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        literal.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let stray = InvalidTemplate::StrayPercent(text.len() - after.len() - 1);
        let end = operator_end(after).ok_or(stray)?;
        operators += 1;
        if operators > MAX_OPERATORS {
            return Err(InvalidTemplate::TooManyOperators);
        }
        if !literal.is_empty() {
            parts.push(TemplatePart::Literal(std::mem::take(&mut literal)));
        }
        parts.push(TemplatePart::Operator(operator(&after[..end])?));
        rest = &after[end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(TemplatePart::Literal(literal));
    }
    Ok(parts)
}

/// Where the closing `%` stands: behind the parentheses, which may hold percent signs (`%START_TIME(%s)%`).
fn operator_end(text: &str) -> Option<usize> {
    let end = text.find('%')?;
    match text.find('(') {
        Some(open) if open < end => {
            let close = open + text[open..].find(')')?;
            Some(close + text[close..].find('%')?)
        }
        _ => Some(end),
    }
}

/// Reads what stands between two percent signs.
fn operator(text: &str) -> Result<Operator, InvalidTemplate> {
    let form = || InvalidTemplate::Form(text.to_owned());
    let name_end = text.find(['(', ':']).unwrap_or(text.len());
    let (name, rest) = text.split_at(name_end);
    let (argument, rest) = match rest.strip_prefix('(') {
        Some(rest) => rest
            .split_once(')')
            .map(|(argument, rest)| (Some(argument), rest))
            .ok_or_else(form)?,
        None => (None, rest),
    };
    let limit = match rest.strip_prefix(':') {
        Some(limit) => Some(limit.parse().map_err(|_| form())?),
        None if rest.is_empty() => None,
        None => return Err(form()),
    };
    let argument = checked_argument(name, argument)?;
    Ok(Operator {
        name: name.to_owned(),
        argument,
        limit,
    })
}

fn checked_argument(name: &str, argument: Option<&str>) -> Result<Option<String>, InvalidTemplate> {
    let known = OPERATORS.iter().find(|(known, _)| *known == name);
    let Some((_, kind)) = known else {
        return Err(InvalidTemplate::UnknownOperator {
            name: name.to_owned(),
        });
    };
    let needs = |needs| InvalidTemplate::Argument {
        name: name.to_owned(),
        needs,
    };
    match (kind, argument) {
        (Argument::None, Some(_)) => Err(needs("takes nothing in parentheses")),
        (Argument::Headers, None) => Err(needs("needs a header name in parentheses")),
        (Argument::Headers, Some(names)) if !are_header_names(names) => Err(needs(
            "needs a header name, or two with ? between, in parentheses",
        )),
        (Argument::Headers, Some(names)) => Ok(Some(names.to_ascii_lowercase())),
        (_, argument) => Ok(argument.map(str::to_owned)),
    }
}

fn are_header_names(names: &str) -> bool {
    let is_name = |name: &str| {
        let name = name.strip_prefix(':').unwrap_or(name);
        HeaderName::from_bytes(name.as_bytes()).is_ok()
    };
    match names.split_once('?') {
        Some((first, second)) => is_name(first) && is_name(second),
        None => is_name(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HeadFacts;
    use crate::testing::{headers, request};

    fn rendered(template: &str) -> String {
        let headers = headers(&[("x-user", "jason"), ("x-empty", "")]);
        let head = crate::RequestHead {
            headers: &headers,
            ..request()
        };
        let value = HeaderTemplate::parse(template)
            .unwrap()
            .value(&HeadFacts(&head));
        value.to_str().unwrap().to_owned()
    }

    #[test]
    fn operators_are_replaced_and_doubled_percent_signs_are_one() {
        assert_eq!(rendered("plain"), "plain");
        assert_eq!(rendered("100%%"), "100%");
        assert_eq!(rendered("u=%REQ(X-User)%;"), "u=jason;");
        assert_eq!(rendered("%REQ(:method)% %REQ(:path)%"), "GET /");
        assert_eq!(rendered("%%%REQ(x-user)%%%"), "%jason%");
    }

    #[test]
    fn a_second_header_stands_in_and_length_is_cut() {
        assert_eq!(rendered("%REQ(x-none?x-user)%"), "jason");
        assert_eq!(rendered("%REQ(x-user):3%"), "jas");
        assert_eq!(rendered("a%REQ(x-none)%b"), "ab");
    }

    #[test]
    fn a_format_may_hold_percent_signs() {
        let template = HeaderTemplate::parse("at %START_TIME(%Y-%m-%dT%H:%M:%S)%").unwrap();
        let operator = Operator {
            name: "START_TIME".into(),
            argument: Some("%Y-%m-%dT%H:%M:%S".into()),
            limit: None,
        };
        let want = vec![
            TemplatePart::Literal("at ".into()),
            TemplatePart::Operator(operator),
        ];
        assert_eq!(template, HeaderTemplate::Parts(want));
    }

    #[test]
    fn values_without_operators_are_fixed() {
        let fixed = HeaderValue::from_static("100%");
        assert_eq!(
            HeaderTemplate::parse("100%%"),
            Ok(HeaderTemplate::Fixed(fixed))
        );
        assert_eq!(
            HeaderTemplate::parse(""),
            Ok(HeaderTemplate::Fixed(HeaderValue::from_static("")))
        );
    }

    #[test]
    fn a_stray_percent_sign_is_refused() {
        assert_eq!(
            HeaderTemplate::parse("50% off"),
            Err(InvalidTemplate::StrayPercent(2))
        );
        assert_eq!(
            HeaderTemplate::parse("50%"),
            Err(InvalidTemplate::StrayPercent(2))
        );
        assert_eq!(
            HeaderTemplate::parse("%REQ(x"),
            Err(InvalidTemplate::StrayPercent(0))
        );
    }

    #[test]
    fn an_unknown_operator_is_refused_and_the_known_ones_are_named() {
        let error = HeaderTemplate::parse("%NONSENSE%").unwrap_err().to_string();
        assert!(
            error.contains("%NONSENSE%") && error.contains("DOWNSTREAM_REMOTE_ADDRESS"),
            "{error}"
        );
        assert!(HeaderTemplate::parse("50% off, 20% more").is_err());
    }

    #[test]
    fn arguments_have_to_fit() {
        for text in [
            "%REQ%",
            "%REQ()%",
            "%REQ(a b)%",
            "%PROTOCOL(x)%",
            "%REQ(x):y%",
            "%REQ(x)y%",
        ] {
            assert!(HeaderTemplate::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn length_and_number_of_operators_are_bounded() {
        let long = "a".repeat(MAX_TEMPLATE_BYTES + 1);
        assert_eq!(
            HeaderTemplate::parse(&long),
            Err(InvalidTemplate::TooLong(long.len()))
        );
        let many = "%PROTOCOL%".repeat(MAX_OPERATORS + 1);
        assert_eq!(
            HeaderTemplate::parse(&many),
            Err(InvalidTemplate::TooManyOperators)
        );
        assert_eq!(
            HeaderTemplate::parse("a\nb"),
            Err(InvalidTemplate::Characters)
        );
    }
}
