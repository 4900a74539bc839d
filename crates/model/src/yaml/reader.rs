//! One document to a tree, within bounds.
//!
//! The tree is built from the parser's events with a stack of its own, not by recursion, so that no
//! nesting can exhaust the thread's stack, and keys keep their places.

use super::{Entry, Node, Value, scalar};
use crate::{At, Limits};
use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, Tag};
use std::collections::{HashMap, HashSet};

/// A document that could not be read.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Unreadable {
    /// `invalid_yaml` or `too_large`.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) at: At,
}

/// Reads one document, before which its file has `lines_before` lines.
pub(crate) fn read(text: &str, lines_before: u32, limits: &Limits) -> Result<Node, Unreadable> {
    let mut builder = Builder::new(lines_before, limits);
    for event in Parser::new_from_str_with_options(text, options(limits)) {
        let (event, span) = event.map_err(|error| builder.scan_error(&error))?;
        builder.take(event, &span)?;
    }
    Ok(builder.root.unwrap_or(Node {
        value: Value::Null,
        at: At {
            line: lines_before + 1,
            column: 1,
        },
    }))
}

fn options(limits: &Limits) -> Options {
    let mut options = Options::default();
    options.emit_comments = false;
    // One more than we allow, so that it is our message that is read.
    options.flow_nesting_limit = limits.nesting + 1;
    options.block_nesting_limit = limits.nesting + 1;
    options
}

struct Builder<'l> {
    limits: &'l Limits,
    lines_before: u32,
    open: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    root: Option<Node>,
}

/// A list or object whose end has not come yet.
struct Frame {
    anchor: usize,
    at: At,
    /// Nodes before it, to know its size at the end.
    nodes_before: usize,
    /// Levels below it.
    depth: usize,
    kind: Kind,
}

enum Kind {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<Entry>,
        key: Option<(String, At)>,
        merged: Vec<Node>,
    },
}

/// A node that aliases can repeat.
struct Anchored {
    node: Node,
    nodes: usize,
    depth: usize,
}

impl<'l> Builder<'l> {
    fn new(lines_before: u32, limits: &'l Limits) -> Self {
        let (open, anchors) = (Vec::new(), HashMap::new());
        Self {
            limits,
            lines_before,
            open,
            anchors,
            nodes: 0,
            root: None,
        }
    }

    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Unreadable> {
        let at = self.place(span.start.line(), span.start.col());
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, 0, at)?;
                self.scalar(&text, style, anchor, tag.as_deref(), at)
            }
            Event::SequenceStart(_, anchor, _) => self.open(anchor, at, Kind::Sequence(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                let kind = Kind::Mapping {
                    entries: Vec::new(),
                    key: None,
                    merged: Vec::new(),
                };
                self.open(anchor, at, kind)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, at),
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        at: At,
    ) -> Result<(), Unreadable> {
        if self.expects_key() {
            return self.key(text.to_owned(), at);
        }
        let quoted = style != ScalarStyle::Plain || tag.is_some_and(is_string_tag);
        let value = if quoted {
            Value::String(text.to_owned())
        } else {
            scalar::plain(text)
        };
        let node = Node { value, at };
        self.remember(anchor, &node, 1, 0);
        self.put(node)
    }

    fn open(&mut self, anchor: usize, at: At, kind: Kind) -> Result<(), Unreadable> {
        self.count(1, 1, at)?;
        if self.expects_key() {
            return Err(invalid("a key must be a string", at));
        }
        self.open.push(Frame {
            anchor,
            at,
            nodes_before: self.nodes - 1,
            depth: 0,
            kind,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Unreadable> {
        let Some(frame) = self.open.pop() else {
            return Ok(());
        };
        let value = match frame.kind {
            Kind::Sequence(items) => Value::Sequence(items),
            Kind::Mapping {
                entries, merged, ..
            } => Value::Mapping(merge(entries, merged)?),
        };
        let node = Node {
            value,
            at: frame.at,
        };
        let depth = frame.depth + 1;
        self.remember(frame.anchor, &node, self.nodes - frame.nodes_before, depth);
        self.deepen(depth);
        self.put(node)
    }

    fn alias(&mut self, anchor: usize, at: At) -> Result<(), Unreadable> {
        if self.expects_key() {
            return match self
                .anchors
                .get(&anchor)
                .map(|anchored| &anchored.node.value)
            {
                Some(Value::String(text)) => self.key(text.clone(), at),
                _ => Err(invalid("a key must be a string", at)),
            };
        }
        let Some(anchored) = self.anchors.get(&anchor) else {
            return Err(invalid("an alias must not stand inside its own anchor", at));
        };
        let (nodes, depth) = (anchored.nodes, anchored.depth);
        self.count(nodes, depth, at)?;
        self.deepen(depth);
        let value = self.anchors[&anchor].node.value.clone();
        self.put(Node { value, at })
    }

    /// Counts nodes that are about to be added `depth` levels below here.
    fn count(&mut self, nodes: usize, depth: usize, at: At) -> Result<(), Unreadable> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > self.limits.nodes {
            return Err(too_large(
                format!("more than {} values in one document", self.limits.nodes),
                at,
            ));
        }
        if self.open.len() + depth > self.limits.nesting {
            return Err(too_large(
                format!("nested more than {} levels deep", self.limits.nesting),
                at,
            ));
        }
        Ok(())
    }

    fn deepen(&mut self, depth: usize) {
        if let Some(parent) = self.open.last_mut() {
            parent.depth = parent.depth.max(depth);
        }
    }

    fn remember(&mut self, anchor: usize, node: &Node, nodes: usize, depth: usize) {
        // Past the bound an alias is reported as one without a target, in a document that is refused.
        if anchor != 0 && self.anchors.len() < self.limits.anchors {
            self.anchors.insert(
                anchor,
                Anchored {
                    node: node.clone(),
                    nodes,
                    depth,
                },
            );
        }
    }

    fn expects_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Frame {
                kind: Kind::Mapping { key: None, .. },
                ..
            })
        )
    }

    fn key(&mut self, text: String, at: At) -> Result<(), Unreadable> {
        if let Some(Frame {
            kind: Kind::Mapping { key, .. },
            ..
        }) = self.open.last_mut()
        {
            *key = Some((text, at));
        }
        Ok(())
    }

    fn put(&mut self, node: Node) -> Result<(), Unreadable> {
        match self.open.last_mut().map(|frame| &mut frame.kind) {
            None => self.root = Some(node),
            Some(Kind::Sequence(items)) => items.push(node),
            Some(Kind::Mapping {
                entries,
                key,
                merged,
            }) => match key.take() {
                Some((key, _)) if key == "<<" => merged.push(node),
                Some((key, at)) => entries.push(Entry {
                    key,
                    at,
                    value: node,
                }),
                None => {}
            },
        }
        Ok(())
    }

    fn scan_error(&self, error: &ScanError) -> Unreadable {
        let at = self.place(error.marker().line(), error.marker().col());
        invalid(&error.kind().to_string(), at)
    }

    fn place(&self, line: usize, column_from_0: usize) -> At {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        At {
            line: number(line).saturating_add(self.lines_before),
            column: number(column_from_0).saturating_add(1),
        }
    }
}

/// Adds what `<<` refers to. Keys that are there already win.
fn merge(mut entries: Vec<Entry>, merged: Vec<Node>) -> Result<Vec<Entry>, Unreadable> {
    if merged.is_empty() {
        return Ok(entries);
    }
    let mut keys: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    for node in merged {
        let sources = match node.value {
            Value::Mapping(_) => vec![node],
            Value::Sequence(items) => items,
            _ => {
                return Err(invalid(
                    "a merge key takes an object or a list of objects",
                    node.at,
                ));
            }
        };
        for source in sources {
            let Value::Mapping(more) = source.value else {
                return Err(invalid(
                    "a merge key takes an object or a list of objects",
                    source.at,
                ));
            };
            entries.extend(
                more.into_iter()
                    .filter(|entry| keys.insert(entry.key.clone())),
            );
        }
    }
    Ok(entries)
}

fn is_string_tag(tag: &Tag) -> bool {
    matches!(
        tag.to_string().as_str(),
        "!" | "!!str" | "tag:yaml.org,2002:str"
    )
}

fn invalid(message: &str, at: At) -> Unreadable {
    Unreadable {
        code: "invalid_yaml",
        message: message.to_owned(),
        at,
    }
}

fn too_large(message: String, at: At) -> Unreadable {
    Unreadable {
        code: "too_large",
        message,
        at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Node {
        read(text, 0, &Limits::default()).unwrap()
    }

    fn refused(text: &str) -> (String, u32, u32) {
        let error = read(text, 0, &Limits::default()).unwrap_err();
        (error.message, error.at.line, error.at.column)
    }

    fn follow<'n>(node: &'n Node, path: &[&str]) -> &'n Node {
        path.iter().fold(node, |node, key| match &node.value {
            Value::Sequence(items) => &items[key.parse::<usize>().unwrap()],
            _ => node.get(key).unwrap(),
        })
    }

    /// Value, line and column of what `path` leads to.
    fn at(text: &str, path: &[&str]) -> (Value, u32, u32) {
        let root = tree(text);
        let node = follow(&root, path);
        (node.value.clone(), node.at.line, node.at.column)
    }

    #[test]
    fn values_know_their_places() {
        let text = "a: {b: 1, c: [x, 'y']}\nd:\n- e: \"q\"\n  f:\n- 1.5\né: ü # c\n";
        let string = |text: &str| Value::String(text.to_owned());
        assert_eq!(at(text, &["a", "b"]), (Value::Int(1), 1, 8));
        assert_eq!(at(text, &["a", "c", "1"]), (string("y"), 1, 18));
        assert_eq!(at(text, &["d", "0", "e"]), (string("q"), 3, 6));
        assert_eq!(at(text, &["d", "0", "f"]).0, Value::Null);
        assert_eq!(at(text, &["d", "1"]), (Value::Float(1.5), 5, 3));
        assert_eq!(at(text, &["é"]), (string("ü"), 6, 4));
        let map = follow(&tree(text), &["d", "0"]).at;
        assert_eq!((map.line, map.column), (3, 3));
    }

    #[test]
    fn keys_know_their_places() {
        let Value::Mapping(entries) = tree("a: 1\nb:\n  c: 2\na: 3\n").value else {
            panic!()
        };
        let places: Vec<_> = entries
            .iter()
            .map(|e| (e.key.as_str(), e.at.line, e.at.column))
            .collect();
        assert_eq!(places, [("a", 1, 1), ("b", 2, 1), ("a", 4, 1)]);
    }

    #[test]
    fn lines_are_those_of_the_file() {
        let node = read("---\na: 1\n", 10, &Limits::default()).unwrap();
        assert_eq!(
            node.get("a").unwrap().at,
            At {
                line: 12,
                column: 4
            }
        );
    }

    #[test]
    fn json_is_yaml() {
        let text = "{\n\t\"a\": [1, {\"b\\n\": null}],\n\t\"c\": \"\\u00e9\\/\"\n}";
        assert_eq!(at(text, &["a", "1", "b\n"]).0, Value::Null);
        assert_eq!(at(text, &["c"]).0, Value::String("é/".to_owned()));
    }

    #[test]
    fn aliases_and_merges_are_expanded() {
        let text = "a: &x {b: 1, e: 1}\nc: *x\nd:\n  <<: *x\n  e: 2\nf: {<<: [*x, {g: 3}]}\n";
        assert_eq!(at(text, &["c", "b"]).0, Value::Int(1));
        assert_eq!(at(text, &["d", "b"]).0, Value::Int(1));
        assert_eq!(at(text, &["d", "e"]).0, Value::Int(2));
        assert_eq!(at(text, &["f", "g"]).0, Value::Int(3));
        assert_eq!(at("a: &k x\n*k : 1\n", &["x"]).0, Value::Int(1));
    }

    #[test]
    fn a_tag_makes_a_string() {
        assert_eq!(at("a: !!str 1\n", &["a"]).0, Value::String("1".to_owned()));
        assert_eq!(at("a: !own 1\n", &["a"]).0, Value::Int(1));
    }

    #[test]
    fn broken_text_is_refused_with_its_place() {
        for (text, line) in [
            ("a: [1\n", 1),
            ("a: b: c\n", 1),
            ("a: \"open\n", 1),
            ("a: *nope\n", 1),
            ("a: &x [*x]\n", 1),
            ("a: 1\n? [k]\n: v\n", 2),
            ("a: 1\n b: 2\n", 2),
            ("<<: 1\n", 1),
        ] {
            assert_eq!(refused(text).1, line, "{text}: {:?}", refused(text));
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let flow = |depth| "[".repeat(depth) + &"]".repeat(depth);
        let block = |depth| {
            (0..depth)
                .map(|i| format!("{}a:\n", " ".repeat(i)))
                .collect::<String>()
        };
        for make in [&flow as &dyn Fn(usize) -> String, &block] {
            assert!(read(&make(64), 0, &Limits::default()).is_ok());
            assert_eq!(refused(&make(65)).0, "nested more than 64 levels deep");
            assert!(read(&make(1_000), 0, &Limits::default()).is_err());
        }
        let through_aliases = format!("a: &a {}\nb: &b [[[*a]]]\nc: [*b]\n", flow(60));
        assert_eq!(
            refused(&through_aliases).0,
            "nested more than 64 levels deep"
        );
    }

    #[test]
    fn aliases_cannot_blow_a_document_up() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb += &format!("a{level}: &a{level} [{aliases}]\n");
        }
        assert_eq!(refused(&bomb).0, "more than 250000 values in one document");
    }

    #[test]
    fn values_are_counted() {
        assert!(read(&"- a\n".repeat(249_999), 0, &Limits::default()).is_ok());
        assert_eq!(
            refused(&"- a\n".repeat(250_000)).0,
            "more than 250000 values in one document"
        );
    }
}
