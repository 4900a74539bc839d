//! Istio's `HTTPMatchRequest.queryParams`, compiled.

use super::TextMatch;

/// What the first value of one query parameter has to look like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QueryMatch {
    /// The parameter's name; case counts, nothing is decoded.
    pub name: String,
    /// What its first value has to look like; nothing is decoded.
    pub value: TextMatch,
}

impl QueryMatch {
    /// Whether the query has the parameter and its first value matches.
    pub fn matches(&self, query: Option<&str>) -> bool {
        let value = query.and_then(|query| first_value(query, &self.name));
        value.is_some_and(|value| self.value.matches(value.as_bytes()))
    }
}

/// The first value of a parameter, as written; empty for one without `=`.
pub(crate) fn first_value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query
        .split('&')
        .find_map(|pair| match pair.split_once('=') {
            Some((key, value)) => (key == name).then_some(value),
            None => (pair == name).then_some(""),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pattern;

    #[track_caller]
    fn check(value: TextMatch, cases: &[(Option<&str>, bool)]) {
        let query_match = QueryMatch {
            name: "user".into(),
            value,
        };
        for (query, want) in cases {
            assert_eq!(
                query_match.matches(*query),
                *want,
                "{query_match:?} on {query:?}"
            );
        }
    }

    #[test]
    fn only_the_first_value_counts() {
        let exact = TextMatch::Exact("b".into());
        let cases = [
            ("user=b", true),
            ("user=a&user=b", false),
            ("x=1&user=b", true),
        ];
        check(exact, &cases.map(|(query, want)| (Some(query), want)));
    }

    #[test]
    fn names_and_values_are_not_decoded_and_case_counts() {
        let cases = [
            ("user=a%20b", true),
            ("user=a+b", false),
            ("User=a%20b", false),
            ("us%65r=a%20b", false),
        ];
        check(
            TextMatch::Exact("a%20b".into()),
            &cases.map(|(query, want)| (Some(query), want)),
        );
    }

    #[test]
    fn presence_needs_the_name_only() {
        let cases = [
            (Some("user"), true),
            (Some("user="), true),
            (Some("users=1"), false),
            (None, false),
        ];
        check(TextMatch::Present, &cases);
    }

    #[test]
    fn exact_empty_is_not_presence() {
        let cases = [
            (Some("user="), true),
            (Some("user=a"), false),
            (Some("x=1"), false),
        ];
        check(TextMatch::Exact(String::new()), &cases);
    }

    #[test]
    fn prefix_and_regex_look_at_the_value() {
        check(
            TextMatch::Prefix("ja".into()),
            &[(Some("user=jason"), true), (Some("user=xja"), false)],
        );
        let digits = Pattern::parse("[0-9]+").unwrap();
        check(
            TextMatch::Regex(digits),
            &[(Some("user=12"), true), (Some("user=12x"), false)],
        );
    }
}
