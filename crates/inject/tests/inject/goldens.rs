//! Golden files: `NAME.want.yaml` is what comes of `NAME.yaml`, `NAME.want.txt` what is told about it.

use crate::support::{Case, cases, check_golden};
use inject::Finding;

#[test]
fn files_come_out_as_golden_files_have_them() {
    for case in cases("") {
        let injected = match case.inject() {
            Ok(injected) => injected,
            Err(findings) => panic!("{}: {}", case.name, lines(&findings)),
        };
        let extension = case.path.extension().unwrap().to_str().unwrap();
        check_golden(
            &case.path.with_extension(format!("want.{extension}")),
            &injected.text,
        );
        let skipped = injected.workloads.iter().filter_map(|workload| {
            let why = workload.skipped.as_ref()?;
            Some(format!("{}: {why}\n", workload.object))
        });
        let told = lines(&injected.warnings) + &skipped.collect::<String>();
        check_golden(&case.path.with_extension("want.txt"), &told);
    }
}

#[test]
fn problems_are_told_as_golden_files_have_them() {
    for case in cases("problems") {
        let findings = case.inject().unwrap_err();
        assert!(findings.iter().any(Finding::is_error), "{}", case.name);
        check_golden(&case.path.with_extension("want.txt"), &lines(&findings));
    }
}

#[test]
fn what_was_injected_is_left_alone() {
    for case in cases("") {
        let once = case.inject().unwrap();
        let again = Case {
            text: once.text.clone(),
            ..case
        };
        let twice = again.inject().unwrap();
        assert_eq!(twice.text, once.text, "{}", again.name);
        assert!(
            twice
                .workloads
                .iter()
                .all(|workload| workload.skipped.is_some())
        );
    }
}

#[test]
fn json_stays_json() {
    for case in cases("").iter().filter(|case| case.name.ends_with(".json")) {
        let out = case.inject().unwrap().text;
        serde_json::from_str::<serde_json::Value>(&out).unwrap();
    }
}

#[test]
fn comments_stay() {
    for case in cases("") {
        let out = case.inject().unwrap().text;
        for line in case
            .text
            .lines()
            .filter(|line| line.trim_start().starts_with('#'))
        {
            assert!(
                out.lines().any(|other| other == line),
                "{}: {line}",
                case.name
            );
        }
    }
}

fn lines(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|finding| format!("{finding}\n"))
        .collect()
}
