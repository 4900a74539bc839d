//! The command with its flags and files.

use clap::{Args, CommandFactory, Parser};
use inject::{InjectArgs, InjectFailure, InjectOptions};
use std::fs;
use tempfile::TempDir;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: InjectArgs,
}

const POD: &str =
    "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a}]}\n";

fn args(flags: &[&str]) -> InjectArgs {
    let program = ["inject"].iter().chain(flags);
    Cli::try_parse_from(program)
        .unwrap_or_else(|error| panic!("{error}"))
        .args
}

/// Standard output and error of a command, and whether it went well.
fn run(flags: &[&str], stdin: &str) -> (String, String, Result<(), InjectFailure>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let result = args(flags).run(&mut stdin.as_bytes(), &mut out, &mut err);
    (
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
        result,
    )
}

fn file(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
    InjectArgs::augment_args(clap::Command::new("inject")).debug_assert();
}

#[test]
fn a_file_is_named() {
    assert!(Cli::try_parse_from(["inject"]).is_err());
}

#[test]
fn without_flags_there_are_defaults() {
    assert_eq!(
        args(&["-f", "x"]).options().unwrap(),
        InjectOptions::default()
    );
}

#[test]
fn flags_win_over_the_file_of_options() {
    let folder = tempfile::tempdir().unwrap();
    let text = "image = 'of-file'\nnamespace = 'of-file'\nrequests = { cpu = '1m', memory = '1Mi' }\nresources = ['of-file']";
    let config = file(&folder, "inject.toml", text);
    let flags = [
        "-f",
        "x",
        "--config",
        &config,
        "--image",
        "of-flag",
        "--cpu",
        "2m",
        "--resources",
        "a,b",
        "--resources",
        "c",
        "--annotation",
        "sidecar.istio.io/logLevel=debug",
        "--native-sidecar",
        "true",
        "--hold-application",
        "false",
        "--dns-capture",
        "true",
        "--identity",
        "secret=s",
        "--bootstrap",
        "m/k",
        "--image-pull-policy",
        "Never",
        "--image-pull-secret",
        "p",
        "--trust-domain",
        "t",
        "--cluster-id",
        "c",
        "--sidecar-log-level",
        "off",
        "--memory-limit",
        "3Mi",
        "--cpu-limit",
        "3m",
    ];
    let options = args(&flags).options().unwrap();
    let want: InjectOptions = toml::from_str(
        "image = 'of-flag'\nnamespace = 'of-file'\nresources = ['a', 'b', 'c']\nnative-sidecar = 'true'\nhold-application = false\n\
         dns-capture = true\nidentity = 'secret=s'\nbootstrap = 'm/k'\nimage-pull-policy = 'Never'\nimage-pull-secrets = ['p']\n\
         trust-domain = 't'\ncluster-id = 'c'\nlog-level = 'off'\nrequests = { cpu = '2m', memory = '1Mi' }\n\
         limits = { cpu = '3m', memory = '3Mi' }\nannotations = { 'sidecar.istio.io/logLevel' = 'debug' }",
    )
    .unwrap();
    assert_eq!(options, want);
    assert!(
        args(&["-f", "x", "--resources", ""])
            .options()
            .unwrap()
            .resources
            .is_empty()
    );
}

#[test]
fn options_are_refused_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(&folder, "inject.toml", "imge = 'x'\n");
    let failure = args(&["-f", "x", "--config", &config])
        .options()
        .unwrap_err()
        .to_string();
    assert!(
        failure.contains("unknown field `imge`") && failure.contains("line 1"),
        "{failure}"
    );
    let missing = args(&["-f", "x", "--config", "/nowhere/x.toml"])
        .options()
        .unwrap_err()
        .to_string();
    assert_eq!(missing, "cannot read the options /nowhere/x.toml");
    for flags in [
        ["--identity", "magic"],
        ["--cpu", "much"],
        ["--native-sidecar", "perhaps"],
        ["--annotation", "x"],
    ] {
        assert!(
            Cli::try_parse_from(["inject", "-f", "x"].iter().chain(&flags)).is_err(),
            "{flags:?}"
        );
    }
}

#[test]
fn the_standard_streams_are_the_default() {
    let (out, err, result) = run(&["-f", "-"], POD);
    result.unwrap();
    assert!(out.contains("istio-proxy") && err.is_empty(), "{err}");
}

#[test]
fn several_files_become_documents_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let first = file(&folder, "a.yaml", "a: 1");
    let second = file(&folder, "b.yaml", "\u{feff}--- # b\nb: 2\n");
    let (out, _, result) = run(&["-f", &first, "-f", &second, "-f", "-"], "c: 3\n");
    result.unwrap();
    assert_eq!(out, "a: 1\n--- # b\nb: 2\n---\nc: 3\n");
}

#[test]
fn a_file_is_written_over_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "a.yaml", POD);
    let (out, _, result) = run(&["-f", &path, "-o", &path], "");
    result.unwrap();
    let written = fs::read_to_string(&path).unwrap();
    assert!(out.is_empty() && written.contains("istio-proxy"));
    let (_, err, result) = run(&["-f", &path, "-o", &path], "");
    result.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), written);
    assert!(err.ends_with("Pod default/a gets no sidecar: it has a sidecar already (annotation sidecar.istio.io/status)\n"), "{err}");
}

#[test]
fn nothing_is_written_when_anything_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (
        file(&folder, "good.yaml", POD),
        file(&folder, "bad.yaml", "a: [\n---\nb: [\n"),
    );
    let target = folder.path().join("out.yaml");
    let (out, err, result) = run(
        &["-f", &good, "-f", &bad, "-o", target.to_str().unwrap()],
        "",
    );
    assert_eq!(
        result.unwrap_err().to_string(),
        "nothing was written because of 2 errors"
    );
    assert!(out.is_empty() && !target.exists());
    assert_eq!(err.lines().count(), 2, "{err}");
    assert!(
        err.starts_with(&format!("{bad}:1:4: error: document 1: ")),
        "{err}"
    );
}

#[test]
fn what_cannot_be_read_or_written_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("binary");
    fs::write(&path, b"a: \xff").unwrap();
    for (flags, want) in [
        (
            vec!["-f", path.to_str().unwrap()],
            "is not UTF-8 from byte 3 on",
        ),
        (vec!["-f", "/nowhere/x.yaml"], "cannot read /nowhere/x.yaml"),
        (
            vec!["-f", "-", "-o", "/nowhere/x.yaml"],
            "cannot write /nowhere/x.yaml",
        ),
    ] {
        let failure = run(&flags, POD).2.unwrap_err().to_string();
        assert!(failure.contains(want), "{failure}");
    }
}
