//! Metrics as applications have them.

use super::{open_metrics, text};
use bytes::Bytes;

fn checked(body: &'static str) -> Result<String, usize> {
    let text = text::checked(Bytes::from_static(body.as_bytes()))?;
    Ok(String::from_utf8(text.to_vec()).unwrap())
}

fn rewritten(body: &'static str) -> Result<String, usize> {
    let text = open_metrics::as_text(&Bytes::from_static(body.as_bytes()))?;
    Ok(String::from_utf8(text.to_vec()).unwrap())
}

#[test]
fn text_stays_as_it_is() {
    let body = "# HELP a_total Of \"a\".\n# TYPE a_total counter\na_total{b=\"c d\"} 1 1700000000000\n\n# x\nup 1\n";
    assert_eq!(checked(body).as_deref(), Ok(body));
    assert_eq!(checked(""), Ok(String::new()));
}

#[test]
fn the_last_line_gets_its_end() {
    assert_eq!(checked("up 1").as_deref(), Ok("up 1\n"));
}

/// Nothing may follow the end of OpenMetrics, also where the text format is promised.
#[test]
fn an_end_is_no_part_of_it() {
    assert_eq!(checked("up 1\n# EOF\n").as_deref(), Ok("up 1\n"));
    assert_eq!(checked("up 1\n# EOF\nrest\n").as_deref(), Ok("up 1\n"));
    assert_eq!(rewritten("up 1\n# EOF\n").as_deref(), Ok("up 1\n"));
    assert_eq!(rewritten("# EOF").as_deref(), Ok(""));
}

/// A scraper would refuse the sidecar's metrics with them.
#[test]
fn lines_that_are_none_are_told() {
    assert_eq!(checked("up 1\n<html>\n"), Err(2));
    assert_eq!(checked("up 1\n\nup 1 1.5\n"), Err(3));
    assert_eq!(checked("up 1 # {a=\"b\"} 1\n"), Err(1));
    assert_eq!(rewritten("up 1\nup one\n"), Err(2));
    assert_eq!(rewritten("# TYPE a matrix\n"), Err(1));
    assert_eq!(rewritten("a 1 soon\n"), Err(1));
    assert_eq!(rewritten("a 1 1e300\n"), Err(1));
    let broken = Bytes::from_static(b"up 1\n\xff 1\n");
    assert_eq!(text::checked(broken.clone()), Err(2));
    assert_eq!(open_metrics::as_text(&broken), Err(2));
}

#[test]
fn open_metrics_become_text() {
    let body = r#"# TYPE requests counter
# UNIT requests requests
# HELP requests Of \"all\" kinds.
requests_total{code="200"} 7.0 1700000000.123 # {trace_id="a b"} 1 1699999999
requests_created{code="200"} 1.7e9
# HELP build What it is.
# TYPE build info
build_info{version="1 # 2"} 1
# TYPE mode stateset
mode{mode="a"} 1
# TYPE size gaugehistogram
size_bucket{le="+Inf"} 3
# TYPE wait_seconds histogram
wait_seconds_bucket{le="1"} 2 # {} 0.5
wait_seconds_count 2
# TYPE odd unknown
odd NaN
plain 1 -1
# EOF
"#;
    let want = r#"# HELP requests_total Of "all" kinds.
# TYPE requests_total counter
requests_total{code="200"} 7.0 1700000000123
requests_created{code="200"} 1.7e9
# HELP build_info What it is.
# TYPE build_info gauge
build_info{version="1 # 2"} 1
# TYPE mode gauge
mode{mode="a"} 1
# TYPE size untyped
size_bucket{le="+Inf"} 3
# TYPE wait_seconds histogram
wait_seconds_bucket{le="1"} 2
wait_seconds_count 2
# TYPE odd untyped
odd NaN
plain 1 -1000
"#;
    assert_eq!(rewritten(body).as_deref(), Ok(want));
}

/// What is rewritten is of the text format.
#[test]
fn what_is_rewritten_passes_the_check() {
    proptest::proptest!(|(lines in proptest::collection::vec(line(), 0..20))| {
        let body = Bytes::from(lines.concat());
        if let Ok(text) = open_metrics::as_text(&body) {
            assert_eq!(text::checked(text.clone()), Ok(text));
        }
    });
}

fn line() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    prop_oneof![
        r#"[a-z_]{1,4}(\{[a-z]="[^\n]{0,6}"\})? [0-9.NaIfe+-]{1,5}( [0-9.]{1,6})?( # \{\} 1)?"#
            .prop_map(|line| line + "\n"),
        "# (TYPE|HELP|UNIT) [a-z]{1,3} (counter|info|gauge|unknown|text)\n",
        "[ -~]{0,20}\n",
    ]
}
