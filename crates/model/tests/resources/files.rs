//! Files of many documents, broken ones, and bounds.

use crate::support::{check_told, line, parse, told};
use model::{Defaults, Limits, Outcome, parse_bytes};

const GOOD: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";

fn names(text: &str) -> Vec<(String, bool)> {
    let objects = parse(text).objects;
    objects
        .iter()
        .map(|o| (o.reference.to_string(), o.outcome != Outcome::Refused))
        .collect()
}

fn bytes_told(bytes: &[u8]) -> Vec<String> {
    let parsed = parse_bytes(&"test.yaml".into(), bytes, &Defaults::default());
    assert!(parsed.unidentified && parsed.objects.is_empty());
    parsed.diagnostics.iter().map(line).collect()
}

/// Promise 5: one bad object harms only itself.
#[test]
fn a_broken_document_does_not_hurt_its_neighbours() {
    let broken = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: bad\nspec:\n  hosts: [a\n";
    let text = format!(
        "{GOOD}---\n{broken}---\n{}",
        GOOD.replace("name: a", "name: b")
    );
    let want = [
        ("Namespace a", true),
        ("VirtualService default/bad", false),
        ("Namespace b", true),
    ];
    assert_eq!(
        names(&text),
        want.map(|(name, good)| (name.to_owned(), good))
    );
    check_told(&text, &["error invalid_yaml 10:10 : unclosed bracket '['"]);
    assert!(!parse(&text).unidentified);
}

#[test]
fn a_broken_document_without_identity_is_told_of() {
    let text = format!(
        "{GOOD}---\nkind: [\n---\n{}",
        GOOD.replace("name: a", "name: b")
    );
    let parsed = parse(&text);
    assert_eq!(parsed.objects.len(), 2);
    assert!(parsed.unidentified);
    assert_eq!(
        line(&parsed.diagnostics[0]),
        "error invalid_yaml 5:7 : unclosed bracket '['"
    );
}

#[test]
fn a_document_that_is_no_object_is_told_of() {
    check_told(
        "just text\n",
        &["error not_an_object 1:1 : expected a Kubernetes object, found a string"],
    );
    check_told(
        "- a\n",
        &["error not_an_object 1:1 : expected a Kubernetes object, found a list"],
    );
    check_told(
        "a: 1\n",
        &["error missing_field 1:1 kind: kind is required"],
    );
    check_told(
        "kind: 5\n",
        &["error wrong_type 1:7 kind: expected a string, found an integer"],
    );
    for text in ["just text", "- a", "a: 1", "kind: 5"] {
        assert!(parse(text).unidentified, "{text}");
    }
}

#[test]
fn an_object_without_name_is_told_of() {
    check_told(
        "apiVersion: v1\nkind: Pod\n",
        &["error missing_field 1:1 metadata: metadata is required"],
    );
    check_told(
        "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n",
        &["error missing_field 3:1 metadata.name: name is required"],
    );
    check_told(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a/b}\n",
        &["error invalid_value 3:18 metadata.name: \"a/b\" is no name of an object"],
    );
}

#[test]
fn empty_files_are_fine() {
    for text in ["", "\n", "# nothing\n", "---\n---\n", "---\n# a\n...\n"] {
        assert_eq!(told(text), Vec::<String>::new());
        assert!(!parse(text).unidentified);
    }
}

#[test]
fn lists_are_expanded() {
    let item = "{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {\"name\": \"a\"}}";
    let text = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {item}\n- kind: Pod\n- {}\n",
        item.replace("\"a\"", "\"b\"")
    );
    let parsed = parse(&text);
    let names: Vec<_> = parsed
        .objects
        .iter()
        .map(|o| o.reference.to_string())
        .collect();
    assert_eq!(names, ["Namespace a", "Namespace b"]);
    assert_eq!(
        line(&parsed.diagnostics[0]),
        "error missing_field 5:3 metadata: metadata is required"
    );
    let position = parsed.objects[1]
        .outcome
        .resource()
        .unwrap()
        .meta()
        .position
        .clone()
        .unwrap();
    assert_eq!((position.line, position.column), (6, 3));
}

#[test]
fn an_objects_own_text_parses_to_it_again() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a, labels: {x: '1'}}\nspec:\n  ports:\n  - {port: 80, name: http}\n";
    let list = "kind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: b, labels: {x: '1'}}\n  spec: {ports: [{port: 80}]}\n";
    for object in parse(&format!("{service}---\n{list}")).objects {
        let again = parse(&object.text).objects.remove(0);
        assert_eq!(again.reference, object.reference);
        assert!(again.outcome.resource().is_some(), "{}", object.text);
        assert_eq!(again.outcome.resource().unwrap().meta().labels["x"], "1");
    }
}

#[test]
fn json_is_read() {
    let text = "{\n  \"apiVersion\": \"v1\",\n  \"kind\": \"Namespace\",\n  \"metadata\": {\"name\": 7}\n}\n";
    check_told(
        text,
        &["error wrong_type 4:24 metadata.name: expected a string, found an integer"],
    );
    assert_eq!(
        names(&text.replace('7', "\"a\"")),
        [("Namespace a".to_owned(), true)]
    );
}

#[test]
fn what_is_no_text_is_told_of_once() {
    assert_eq!(
        bytes_told(b"a: 1\nb: \xff\xff"),
        ["error not_text 2:4 : file is not UTF-8"]
    );
    assert_eq!(
        bytes_told(b"a\0b"),
        ["error not_text 1:2 : file has control characters"]
    );
    assert_eq!(
        bytes_told(b"\xff\xfea\0"),
        ["error not_text 1:1 : file is UTF-16"]
    );
    assert_eq!(
        bytes_told(b"\x7fELF\x02\x01"),
        ["error not_text 1:5 : file has control characters"]
    );
}

/// Promise 19: sizes are bounded, and what is too large is said.
#[test]
fn large_files_are_refused_with_one_message() {
    let large = vec![b'#'; 50 << 20];
    assert_eq!(
        bytes_told(&large),
        ["error too_large 1:1 : file is 52428800 bytes, at most 16777216"]
    );
}

#[test]
fn a_large_document_costs_itself() {
    let large = format!(
        "kind: Secret\nmetadata:\n  name: big\ndata:\n  a: {}\n",
        "x".repeat(2 << 20)
    );
    let text = format!("{large}---\n{GOOD}");
    assert_eq!(
        names(&text),
        [
            ("Secret default/big".to_owned(), false),
            ("Namespace a".to_owned(), true)
        ]
    );
    assert!(
        told(&text)[0].starts_with("error too_large 1:1 : document is 2097"),
        "{:?}",
        told(&text)
    );
}

#[test]
fn the_number_of_documents_is_bounded() {
    let limits = Limits {
        documents: 2,
        ..Limits::default()
    };
    let defaults = Defaults {
        limits,
        ..Defaults::default()
    };
    let parsed = model::parse(&"f".into(), &[GOOD; 3].join("---\n"), &defaults);
    assert_eq!(
        line(&parsed.diagnostics[0]),
        "error too_large 1:1 : file has 3 documents, at most 2"
    );
}

#[test]
fn problems_of_one_object_are_bounded() {
    let fields: String = (0..1_000).map(|n| format!("  x{n}: 1\n")).collect();
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: a}}\nspec:\n{fields}"
    );
    let told = told(&text);
    assert_eq!(told.len(), 101);
    assert!(
        told.iter()
            .any(|line| line.contains("more than 100 problems"))
    );
}

#[test]
fn the_default_namespace_is_the_callers() {
    let defaults = Defaults {
        namespace: "shop".into(),
        ..Defaults::default()
    };
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n";
    let parsed = model::parse(&"f".into(), &format!("{pod}---\n{GOOD}"), &defaults);
    assert_eq!(parsed.objects[0].reference.to_string(), "Pod shop/a");
    assert_eq!(parsed.objects[1].reference.to_string(), "Namespace a");
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {key: hush}\n";
    assert!(!format!("{:?}", parse(text)).contains("hush"));
}
