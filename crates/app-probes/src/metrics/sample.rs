//! A line with a sample, as both formats have it.

/// A sample, in pieces of its line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Sample<'a> {
    /// The name, and the labels in their braces.
    pub(super) series: &'a str,
    pub(super) value: &'a str,
    /// Absent: it is of now.
    pub(super) timestamp: Option<&'a str>,
    /// What OpenMetrics has behind ` # `.
    pub(super) exemplar: Option<&'a str>,
}

impl<'a> Sample<'a> {
    /// Reads a line without its end. `None`: it is no sample.
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        let (series, rest) = series(line)?;
        let (rest, exemplar) = match rest.split_once(" # ") {
            Some((rest, exemplar)) => (rest, Some(exemplar)),
            None => (rest, None),
        };
        let mut parts = rest.split([' ', '\t']).filter(|part| !part.is_empty());
        let (value, timestamp) = (parts.next()?, parts.next());
        if parts.next().is_some() || value.parse::<f64>().is_err() {
            return None;
        }
        Some(Self {
            series,
            value,
            timestamp,
            exemplar,
        })
    }
}

/// A series and what is behind it.
fn series(line: &str) -> Option<(&str, &str)> {
    let name = line.find(|c| !is_of_name(c)).unwrap_or(line.len());
    let starts_well = !line.starts_with(|c: char| c.is_ascii_digit());
    match line[name..].chars().next()? {
        // With UTF-8 names, the name is among the labels.
        '{' if starts_well => {
            let end = name + closing_brace(&line[name..])? + 1;
            Some(line.split_at(end))
        }
        ' ' | '\t' if starts_well && name > 0 => {
            let rest = line[name..].trim_start_matches([' ', '\t']);
            match rest.starts_with('{') {
                // Space before the braces is allowed, if unusual.
                true => {
                    let end = line.len() - rest.len() + closing_brace(rest)? + 1;
                    Some(line.split_at(end))
                }
                false => Some(line.split_at(name)),
            }
        }
        _ => None,
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':')
}

/// Where the labels end that begin with a brace: quoted values may hold braces.
fn closing_brace(labels: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in labels.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        for (line, series, value, timestamp, exemplar) in [
            ("up 1", "up", "1", None, None),
            ("up\t1 ", "up", "1", None, None),
            ("a:b_c 1 1700000000", "a:b_c", "1", Some("1700000000"), None),
            (r#"a{b="c"} NaN"#, r#"a{b="c"}"#, "NaN", None, None),
            (r#"a {b="c"} +Inf"#, r#"a {b="c"}"#, "+Inf", None, None),
            (
                r#"a{b="}\"} # "} 1e3"#,
                r#"a{b="}\"} # "}"#,
                "1e3",
                None,
                None,
            ),
            (r#"{"a.b",c="d"} 1"#, r#"{"a.b",c="d"}"#, "1", None, None),
            (
                r#"a_bucket{le="1"} 2 1.5 # {trace_id="x"} 0.7 1.4"#,
                r#"a_bucket{le="1"}"#,
                "2",
                Some("1.5"),
                Some(r#"{trace_id="x"} 0.7 1.4"#),
            ),
        ] {
            let want = Sample {
                series,
                value,
                timestamp,
                exemplar,
            };
            assert_eq!(Sample::parse(line), Some(want), "{line}");
        }
    }

    #[test]
    fn what_is_no_sample_is_told() {
        for line in [
            "",
            "up",
            "up ",
            "up one",
            "up 1 2 3",
            "1up 1",
            "a-b 1",
            "<html>",
            r#"a{b="c" 1"#,
            r#"a{b="c}" 1"#,
            " up 1",
        ] {
            assert_eq!(Sample::parse(line), None, "{line:?}");
        }
    }
}
