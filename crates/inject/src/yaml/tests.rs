use super::{Node, Written, list, map, number, read, text, written};
use model::Limits;

fn tree(text: &str) -> Node {
    read(text, &Limits::default()).unwrap().root
}

/// The text after a change in place.
#[track_caller]
fn edited(text: &str, change: impl Fn(&mut Node)) -> String {
    let mut root = tree(text);
    change(&mut root);
    match written(text, &root) {
        Written::Edited(text) => text,
        Written::Anew(text) => panic!("written anew:\n{text}"),
    }
}

/// Changes that cover what the injector does, and their result.
#[track_caller]
fn check(change: impl Fn(&mut Node), cases: &[(&str, &str)]) {
    for (text, want) in cases {
        assert_eq!(edited(text, &change), *want, "{text}");
    }
}

#[test]
fn nothing_changed_is_nothing_edited() {
    for text in [
        "a: 1 # c\n",
        "{a: [1, {b: ~}]}",
        "- *x\n",
        "? a\n: b\n",
        "a: &x {b: 1}\nc: *x\n<<: *x\n",
    ] {
        if let Ok(read) = read(text, &Limits::default()) {
            assert_eq!(written(text, &read.root), Written::Edited(text.to_owned()));
        }
    }
}

#[test]
fn a_key_is_added_behind_the_last_one() {
    let change = |root: &mut Node| root.object("a").set("new", text("v"));
    check(
        change,
        &[
            ("a:\n  b: 1\nc: 2\n", "a:\n  b: 1\n  new: v\nc: 2\n"),
            ("a:\n    b: 1 # c", "a:\n    b: 1 # c\n    new: v"),
            ("a:\n  b: 1\n\n\nc: 2\n", "a:\n  b: 1\n  new: v\n\n\nc: 2\n"),
            (
                "a:\r\n  b: 1\r\nc: 2\r\n",
                "a:\r\n  b: 1\r\n  new: v\r\nc: 2\r\n",
            ),
            ("a:\r  b: 1\rc: 2\r", "a:\r  b: 1\r  new: v\rc: 2\r"),
            (
                "a:\n  b:\n  - 1\n  # of a\n# of c\nc: 2\n",
                "a:\n  b:\n  - 1\n  # of a\n  new: v\n# of c\nc: 2\n",
            ),
            (
                "a:\n  b: 1\n\n  # of a\n\n# of c\nc: 2\n",
                "a:\n  b: 1\n\n  # of a\n  new: v\n\n# of c\nc: 2\n",
            ),
            (
                "a:\n  b: |\n    x\n\nc: 2\n",
                "a:\n  b: |\n    x\n  new: v\n\nc: 2\n",
            ),
            (
                "a:\n  b: |+\n    x\n\nc: 2\n",
                "a:\n  b: |+\n    x\n\n  new: v\nc: 2\n",
            ),
            (
                "a:\n  b: |-\n    x\n    # text\n  # c\nc: 2\n",
                "a:\n  b: |-\n    x\n    # text\n  # c\n  new: v\nc: 2\n",
            ),
            ("a:\n  b: |", "a:\n  b: |\n  new: v"),
            ("a:\n  b: >\n    x", "a:\n  b: >\n    x\n  new: v"),
            (
                "a:\n  b: \"x\n    y\" # c\n",
                "a:\n  b: \"x\n    y\" # c\n  new: v\n",
            ),
            ("a:\n  b:\n", "a:\n  b:\n  new: v\n"),
            ("a:\n  ? b\n  : 1\n", "a:\n  ? b\n  : 1\n  new: v\n"),
            ("a: &x\n  b: 1\n", "a: &x\n  b: 1\n  new: v\n"),
        ],
    );
}

#[test]
fn a_key_is_added_where_there_was_nothing() {
    let change = |root: &mut Node| root.object("a").set("new", text("v"));
    check(
        change,
        &[
            ("a:\nc: 2\n", "a:\n  new: v\nc: 2\n"),
            ("a: # c\nc: 2\n", "a: # c\n  new: v\nc: 2\n"),
            ("a: ~\nc: 2\n", "a:\n  new: v\nc: 2\n"),
            ("a: {} # c\nc: 2\n", "a: # c\n  new: v\nc: 2\n"),
            ("a: {\n}\nc: 2\n", "a:\n  new: v\nc: 2\n"),
            ("a: &x {}\nc: 2\n", "a: &x\n  new: v\nc: 2\n"),
            ("c: 2\n", "c: 2\na:\n  new: v\n"),
            ("c: 2", "c: 2\na:\n  new: v"),
        ],
    );
}

#[test]
fn brackets_stay_brackets() {
    let change = |root: &mut Node| {
        root.object("a")
            .set("new", map([("x", list([text("1"), number(2)]))]))
    };
    check(
        change,
        &[
            ("a: {b: 1} # c\n", "a: {b: 1, new: {x: [\"1\", 2]}} # c\n"),
            ("a: {b: 1,}\n", "a: {b: 1, new: {x: [\"1\", 2]},}\n"),
            ("a: {b}\n", "a: {b, new: {x: [\"1\", 2]}}\n"),
            ("a: {b: }\n", "a: {b: , new: {x: [\"1\", 2]} }\n"),
            ("{a: {b: 1}}", "{a: {b: 1, \"new\": {\"x\": [\"1\", 2]}}}"),
            (
                "{\"a\":{\"b\":1}}",
                "{\"a\":{\"b\":1, \"new\": {\"x\": [\"1\", 2]}}}",
            ),
            ("{a: {}}", "{a: {\"new\": {\"x\": [\"1\", 2]}}}"),
            ("{a: null}", "{a: {\"new\": {\"x\": [\"1\", 2]}}}"),
            ("{a: }", "{a: {\"new\": {\"x\": [\"1\", 2]}} }"),
            ("{a}", "{a: {\"new\": {\"x\": [\"1\", 2]}}}"),
            ("{b: 1}", "{b: 1, \"a\": {\"new\": {\"x\": [\"1\", 2]}}}"),
        ],
    );
}

#[test]
fn json_in_lines_stays_json_in_lines() {
    let change = |root: &mut Node| {
        root.object("a")
            .set("new", map([("x", list([text("1"), list([])]))]))
    };
    check(
        change,
        &[
            (
                "{\n    \"a\": {\n        \"b\": 1\n    }\n}\n",
                "{\n    \"a\": {\n        \"b\": 1,\n        \"new\": {\n            \"x\": [\n                \"1\",\n                []\n            ]\n        }\n    }\n}\n",
            ),
            (
                "{\n\t\"a\": {}\n}",
                "{\n\t\"a\": {\n\t\t\"new\": {\n\t\t\t\"x\": [\n\t\t\t\t\"1\",\n\t\t\t\t[]\n\t\t\t]\n\t\t}\n\t}\n}",
            ),
        ],
    );
}

#[test]
fn items_go_first_and_last() {
    let first = |root: &mut Node| {
        root.list("a")
            .insert(0, map([("x", number(1)), ("z", number(2))]))
    };
    check(
        first,
        &[
            ("a:\n- b: 1\n", "a:\n- x: 1\n  z: 2\n- b: 1\n"),
            ("a:\n  - b: 1\n", "a:\n  - x: 1\n    z: 2\n  - b: 1\n"),
            (
                "a: # c\n# of b\n\n- b: 1\n",
                "a: # c\n- x: 1\n  z: 2\n# of b\n\n- b: 1\n",
            ),
            (
                "a:\r\n- # c\r\n  b: 1\r\n",
                "a:\r\n- x: 1\r\n  z: 2\r\n- # c\r\n  b: 1\r\n",
            ),
            ("a: &x\n- b\n", "a: &x\n- x: 1\n  z: 2\n- b\n"),
            ("a: [b] # c\n", "a: [{x: 1, z: 2}, b] # c\n"),
            (
                "a: [\n  b\n]\n",
                "a: [\n  {\n    x: 1,\n    z: 2\n  },\n  b\n]\n",
            ),
            ("a: []\n", "a:\n- x: 1\n  z: 2\n"),
            (
                "a: [] # c\nb:\n  - 1\n",
                "a: # c\n  - x: 1\n    z: 2\nb:\n  - 1\n",
            ),
            ("a:\n", "a:\n- x: 1\n  z: 2\n"),
        ],
    );
    let last = |root: &mut Node| {
        root.list("a")
            .push(map([("x", number(1)), ("z", list([]))]))
    };
    check(
        last,
        &[
            ("a:\n- b: 1\nc: 2\n", "a:\n- b: 1\n- x: 1\n  z: []\nc: 2\n"),
            (
                "a:\n- b: 1\n  # of b\n# of c\nc: 2\n",
                "a:\n- b: 1\n  # of b\n- x: 1\n  z: []\n# of c\nc: 2\n",
            ),
            (
                "a:\n  - b\n  # - c\nc: 2\n",
                "a:\n  - b\n  # - c\n  - x: 1\n    z: []\nc: 2\n",
            ),
            ("a:\n-\n", "a:\n-\n- x: 1\n  z: []\n"),
            (
                "a: [b,\n  c]\n",
                "a: [b,\n  c,\n  {\n    x: 1,\n    z: []\n  }]\n",
            ),
            ("a:\n- - b\n", "a:\n- - b\n- x: 1\n  z: []\n"),
        ],
    );
}

#[test]
fn values_are_replaced_in_their_places() {
    let change = |root: &mut Node| root.set("a", text("new"));
    check(
        change,
        &[
            ("a: old # c\n", "a: new # c\n"),
            ("a: 'old'\n", "a: new\n"),
            ("a: |\n  old\n\nb: 1\n", "a: new\n\nb: 1\n"),
            ("a: \"x\n  y\" # c\nb: 1\n", "a: new # c\nb: 1\n"),
            ("a:\nb: 1\n", "a: new\nb: 1\n"),
            ("a: {b: 1}\n", "a: new\n"),
            ("{a: old}", "{a: \"new\"}"),
            ("{a}", "{a: \"new\"}"),
            ("a: !!str 5\n", "a: !!str new\n"),
        ],
    );
}

#[test]
fn keys_are_renamed_and_removed() {
    let change = |root: &mut Node| {
        root.rename("a", "new");
        root.remove("b");
    };
    check(
        change,
        &[
            ("a: 1\nb: 2\nc: 3\n", "new: 1\nc: 3\n"),
            ("b: 2\na: 1\n", "new: 1\n"),
            ("a: 1\nb: 2", "new: 1"),
            ("a: 1\nb: 2 # why\nc: 3\n", "new: 1\n# why\nc: 3\n"),
            ("a: 1\n# c\nb: 2\n# d\n", "new: 1\n# c\n# d\n"),
            ("{\"a\": 1, \"b\": 2, \"c\": 3}", "{\"new\": 1, \"c\": 3}"),
            ("{a: 1, b: 2}", "{new: 1}"),
            ("{b: 2, a: 1}", "{new: 1}"),
            ("a:\n  x: 1\nb: 2\n", "new:\n  x: 1\n"),
        ],
    );
    let and_added = |root: &mut Node| {
        root.remove("b");
        root.set("c", number(3));
    };
    check(
        and_added,
        &[
            ("a: 1\nb: 2\n", "a: 1\nc: 3\n"),
            ("a: 1\nb: 2 # why\n", "a: 1\n# why\nc: 3\n"),
            ("b: 2\na: 1", "a: 1\nc: 3"),
            ("{a: 1, b: 2}", "{a: 1, \"c\": 3}"),
            ("{b: 2, a: 1}", "{a: 1, \"c\": 3}"),
        ],
    );
}

#[test]
fn an_alias_that_means_something_else_is_written_out() {
    let change = |root: &mut Node| root.object("b").set("new", number(2));
    check(
        change,
        &[
            (
                "a: &x\n  k: 1\nb: *x # c\n",
                "a: &x\n  k: 1\nb: # c\n  k: 1\n  new: 2\n",
            ),
            (
                "{a: &x {k: 1}, b: *x}",
                "{a: &x {k: 1}, b: {\"k\": 1, \"new\": 2}}",
            ),
            (
                "a: &x {k: '1', l: 010, m: .inf}\nb: *x\n",
                "a: &x {k: '1', l: 010, m: .inf}\nb:\n  k: \"1\"\n  l: 010\n  m: .inf\n  new: 2\n",
            ),
        ],
    );
    let item = |root: &mut Node| root.get_mut("b").unwrap().items_mut()[0].set("new", number(2));
    check(
        item,
        &[
            (
                "a: &x {k: 1}\nb:\n- *x\n",
                "a: &x {k: 1}\nb:\n- k: 1\n  new: 2\n",
            ),
            (
                "a: &x {k: 1}\nb: [*x]\n",
                "a: &x {k: 1}\nb: [{k: 1, new: 2}]\n",
            ),
        ],
    );
}

#[test]
fn aliases_of_what_was_changed_keep_their_meaning() {
    let change = |root: &mut Node| root.object("a").set("new", number(2));
    check(
        change,
        &[
            (
                "a: &x\n  k: 1\nb: *x\n",
                "a: &x\n  k: 1\n  new: 2\nb:\n  k: 1\n",
            ),
            (
                "a: &x {k: 1}\nb: {<<: *x, c: 3}\n",
                "a: &x {k: 1, new: 2}\nb: {<<: {k: 1}, c: 3}\n",
            ),
            (
                "a: &x\n  k: &y 1\nb: *y\n",
                "a: &x\n  k: &y 1\n  new: 2\nb: *y\n",
            ),
            (
                "z: &z {a: &x {k: 1}}\na: *x\nb: *x\n",
                "z: &z {a: &x {k: 1}}\na:\n  k: 1\n  new: 2\nb: *x\n",
            ),
        ],
    );
    let replaced = |root: &mut Node| root.set("a", number(2));
    check(replaced, &[("a: &x 1\nb: *x\n", "a: &x 2\nb: 1\n")]);
    let removed = |root: &mut Node| root.remove("a");
    check(removed, &[("a: &x 1\nb: *x\n", "b: 1\n")]);
}

#[test]
fn what_comes_from_a_merge_is_written_beside_it() {
    let change = |root: &mut Node| root.object("b").object("k").set("new", number(2));
    check(
        change,
        &[
            (
                "a: &x\n  k: {l: 1}\nb:\n  <<: *x\n",
                "a: &x\n  k: {l: 1}\nb:\n  <<: *x\n  k:\n    l: 1\n    new: 2\n",
            ),
            (
                "a: &x {k: {l: 1}}\nb: {<<: [*x]}\n",
                "a: &x {k: {l: 1}}\nb: {<<: [*x], k: {l: 1, new: 2}}\n",
            ),
        ],
    );
}

#[test]
fn what_cannot_be_edited_is_written_anew() {
    let text = "# before\n? a\n: {k: [x: 1]}\nb: &y\n  - 1\n# behind\n";
    let mut root = tree(text);
    root.get_mut("a").unwrap().get_mut("k").unwrap().items_mut()[0].set("new", number(2));
    let want = "# before\na:\n  k:\n    - x: 1\n      new: 2\nb:\n  - 1\n# behind\n";
    assert_eq!(written(text, &root), Written::Anew(want.to_owned()));
}

#[test]
fn strings_are_quoted_where_any_yaml_would_misread_them() {
    let values = [
        "yes",
        "1",
        "a b",
        "a: b",
        "{\"a\":1}",
        "it's \"x\"",
        "é\u{85}\n",
        "*",
        "",
    ];
    let change = |root: &mut Node| root.set("a", list(values.map(text)));
    let got = edited("a:\n", change);
    let want = "a:\n- \"yes\"\n- \"1\"\n- \"a b\"\n- \"a: b\"\n- '{\"a\":1}'\n- \"it's \\\"x\\\"\"\n- \"é\\u0085\\n\"\n- \"*\"\n- \"\"\n";
    assert_eq!(got, want);
}

#[test]
fn json_has_json_only() {
    let root = tree("{a: 0x1F, b: yes, c: ~, d: 'x\"', e: [1.50, .inf], f: 010}");
    assert_eq!(
        super::json(&root),
        r#"{"a":31,"b":true,"c":null,"d":"x\"","e":[1.5,".inf"],"f":"010"}"#
    );
}

#[test]
fn keys_that_stand_twice_are_told() {
    let duplicate = |text: &str| {
        read(text, &Limits::default())
            .unwrap()
            .duplicate
            .map(|why| (why.message, why.at))
    };
    assert_eq!(duplicate("a: 1\nb: {a: 1}\n"), None);
    assert_eq!(
        duplicate("a: 1\nb: 2\na: 3\n"),
        Some(("the key `a` stands twice in one object".to_owned(), 10))
    );
    assert_eq!(duplicate("<<: {a: 1}\n<<: {b: 1}\n"), None);
}

#[test]
fn broken_text_is_refused_with_its_place() {
    for (text, at) in [
        ("a: [1\n", 3),
        ("é: *nope\n", 4),
        ("a: &x [*x]\n", 7),
        ("a: 1\n? [k]\n: v\n", 7),
        ("<<: 1\n", 4),
        ("{a: 1}\n{b: 2}\n", 7),
    ] {
        let why = read(text, &Limits::default()).unwrap_err();
        assert_eq!((why.code, why.at), ("invalid_yaml", at), "{text}: {why:?}");
    }
}

#[test]
fn documents_are_bounded() {
    let refused = |text: &str| read(text, &Limits::default()).unwrap_err().message;
    let flow = |depth| "[".repeat(depth) + &"]".repeat(depth);
    assert!(read(&flow(64), &Limits::default()).is_ok());
    assert_eq!(refused(&flow(65)), "nested more than 64 levels deep");
    let through_aliases = format!("a: &a {}\nb: &b [[[*a]]]\nc: [*b]\n", flow(60));
    assert_eq!(refused(&through_aliases), "nested more than 64 levels deep");
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb += &format!("a{level}: &a{level} [{aliases}]\n");
    }
    assert_eq!(refused(&bomb), "more than 250000 values in one document");
}
