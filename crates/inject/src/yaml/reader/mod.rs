//! One document to a tree, within bounds.
//!
//! The tree is built from the parser's events with a stack of its own, so that no nesting can exhaust the thread's.

mod spans;

use super::node::{Entry, Form, Mapping, Node, Origin, Scalar, Value};
use model::Limits;
use serde_saphyr::granit_parser::{
    Event, Options, Parser, ScalarStyle, ScanError, Span, StructureStyle, Tag,
};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// A document that could not be read.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Unreadable {
    /// `invalid_yaml`, `duplicate_key` or `too_large`.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// The byte of the document that it is about.
    pub(crate) at: usize,
}

/// Reads one document. A key that stands twice in an object is no reason to refuse it: [`Read::duplicate`] tells.
pub(crate) fn read(text: &str, limits: &Limits) -> Result<Read, Unreadable> {
    let mut builder = Builder::new(text, limits);
    for event in Parser::new_from_str_with_options(text, options(limits)) {
        let (event, span) = event.map_err(|error| scan_error(text, &error))?;
        builder.take(event, &span)?;
    }
    let root = builder.root.unwrap_or_else(|| empty(0..0, 0));
    Ok(Read {
        root,
        duplicate: builder.duplicate,
    })
}

/// A document that was read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) root: Node,
    /// The first key that stands twice in an object, which no tool of Kubernetes takes.
    pub(crate) duplicate: Option<Unreadable>,
}

fn options(limits: &Limits) -> Options {
    let mut options = Options::default();
    options.emit_comments = false;
    // One more than we allow, so that it is our message that is read.
    options.flow_nesting_limit = limits.nesting + 1;
    options.block_nesting_limit = limits.nesting + 1;
    options
}

struct Builder<'t> {
    text: &'t str,
    limits: &'t Limits,
    open: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    documents: usize,
    duplicate: Option<Unreadable>,
    root: Option<Node>,
}

/// A list or object whose end has not come yet.
struct Frame {
    origin: Origin,
    /// Nodes before it, to know its size at the end.
    nodes_before: usize,
    /// Levels below it.
    depth: usize,
    kind: Kind,
}

enum Kind {
    Sequence(Vec<Node>),
    Mapping {
        mapping: Mapping,
        keys: HashSet<String>,
        key: Option<(String, Range<usize>)>,
    },
}

/// A node that aliases can repeat.
struct Anchored {
    node: Node,
    nodes: usize,
    depth: usize,
}

impl<'t> Builder<'t> {
    fn new(text: &'t str, limits: &'t Limits) -> Self {
        let (open, anchors) = (Vec::new(), HashMap::new());
        Self {
            text,
            limits,
            open,
            anchors,
            nodes: 0,
            documents: 0,
            duplicate: None,
            root: None,
        }
    }

    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Unreadable> {
        let range = span.byte_range().unwrap_or(0..0);
        let column = span.start.col();
        match event {
            Event::DocumentStart(..) => self.document(range.start),
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, 0, range.start)?;
                let is_string = tag.as_deref().is_some_and(is_string_tag);
                let scalar = Scalar {
                    text: text.into_owned(),
                    is_plain: style == ScalarStyle::Plain && !is_string,
                };
                let form = match style {
                    ScalarStyle::Literal | ScalarStyle::Folded => Form::BlockScalar,
                    _ => Form::Inline,
                };
                self.scalar(
                    scalar,
                    Origin {
                        range,
                        column,
                        form,
                        anchor,
                    },
                )
            }
            Event::SequenceStart(style, anchor, _) => {
                let mut origin = Origin {
                    range,
                    column,
                    form: form(style),
                    anchor,
                };
                self.find_dash(&mut origin);
                self.open(origin, Kind::Sequence(Vec::new()))
            }
            Event::MappingStart(style, anchor, _) => {
                let origin = Origin {
                    range,
                    column,
                    form: form(style),
                    anchor,
                };
                let (mapping, keys) = (Mapping::default(), HashSet::new());
                self.open(
                    origin,
                    Kind::Mapping {
                        mapping,
                        keys,
                        key: None,
                    },
                )
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(range.end),
            Event::Alias(anchor) => self.alias(Origin {
                range,
                column,
                form: Form::Alias,
                anchor,
            }),
            _ => Ok(()),
        }
    }

    /// Documents were told apart before; a parser that sees more than one reads the text in another way.
    fn document(&mut self, at: usize) -> Result<(), Unreadable> {
        self.documents += 1;
        if self.documents > 1 {
            return Err(invalid(
                "a document ends here without a line of its own that says so",
                at,
            ));
        }
        Ok(())
    }

    fn scalar(&mut self, scalar: Scalar, mut origin: Origin) -> Result<(), Unreadable> {
        if self.expects_key() {
            self.key(scalar.text, origin.range);
            return Ok(());
        }
        match origin.form {
            Form::BlockScalar => {
                origin.range.end = self.block_scalar_end(&scalar.text, &origin.range)
            }
            _ if origin.range.is_empty() => origin.range = self.behind_colon(&origin.range),
            _ => {}
        }
        let node = Node {
            value: Value::Scalar(scalar),
            origin: Some(origin),
        };
        self.remember(&node, 1, 0);
        self.put(node)
    }

    fn open(&mut self, origin: Origin, kind: Kind) -> Result<(), Unreadable> {
        self.count(1, 1, origin.range.start)?;
        if self.expects_key() {
            return Err(invalid("a key must be a string", origin.range.start));
        }
        self.open.push(Frame {
            origin,
            nodes_before: self.nodes - 1,
            depth: 0,
            kind,
        });
        Ok(())
    }

    fn close(&mut self, end: usize) -> Result<(), Unreadable> {
        let Some(Frame {
            mut origin,
            nodes_before,
            depth,
            kind,
        }) = self.open.pop()
        else {
            return Ok(());
        };
        let value = match kind {
            Kind::Sequence(items) => Value::Sequence(items),
            Kind::Mapping { mapping, .. } => Value::Mapping(merge(mapping)?),
        };
        origin.range.end = if origin.form == Form::Flow {
            end
        } else {
            spans::last_end(&value, origin.range.start)
        };
        let node = Node {
            value,
            origin: Some(origin),
        };
        self.remember(&node, self.nodes - nodes_before, depth + 1);
        self.deepen(depth + 1);
        self.put(node)
    }

    fn alias(&mut self, origin: Origin) -> Result<(), Unreadable> {
        let at = origin.range.start;
        let Some(anchored) = self.anchors.get(&origin.anchor) else {
            return Err(invalid("an alias must not stand inside its own anchor", at));
        };
        if self.expects_key() {
            let Value::Scalar(scalar) = &anchored.node.value else {
                return Err(invalid("a key must be a string", at));
            };
            let text = scalar.text.clone();
            self.key(text, origin.range);
            return Ok(());
        }
        let (value, nodes, depth) = (anchored.node.value.clone(), anchored.nodes, anchored.depth);
        self.count(nodes, depth, at)?;
        self.deepen(depth);
        self.put(Node {
            value,
            origin: Some(origin),
        })
    }

    /// Counts nodes that are about to be added `depth` levels below here.
    fn count(&mut self, nodes: usize, depth: usize, at: usize) -> Result<(), Unreadable> {
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

    fn remember(&mut self, node: &Node, nodes: usize, depth: usize) {
        let anchor = node.origin.as_ref().map_or(0, |origin| origin.anchor);
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

    fn has_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Frame {
                kind: Kind::Mapping { key: Some(_), .. },
                ..
            })
        )
    }

    fn key(&mut self, text: String, at: Range<usize>) {
        let Some(Frame {
            kind: Kind::Mapping { key, keys, .. },
            ..
        }) = self.open.last_mut()
        else {
            return;
        };
        if text != "<<" && !keys.insert(text.clone()) && self.duplicate.is_none() {
            let message = format!("the key `{text}` stands twice in one object");
            self.duplicate = Some(Unreadable {
                code: "duplicate_key",
                message,
                at: at.start,
            });
        }
        *key = Some((text, at));
    }

    fn put(&mut self, node: Node) -> Result<(), Unreadable> {
        match self.open.last_mut().map(|frame| &mut frame.kind) {
            None => self.root = Some(node),
            Some(Kind::Sequence(items)) => items.push(node),
            Some(Kind::Mapping { mapping, key, .. }) => match key.take() {
                Some((key, _)) if key == "<<" => mapping.merges.push(node),
                Some((key, at)) => mapping.entries.push(Entry {
                    key,
                    key_at: Some(at),
                    is_renamed: false,
                    was: node.origin.clone(),
                    is_merged: false,
                    value: node,
                }),
                None => {}
            },
        }
        Ok(())
    }
}

/// Adds what `<<` refers to. Keys that are there already win.
fn merge(mut mapping: Mapping) -> Result<Mapping, Unreadable> {
    let mut keys: HashSet<String> = mapping
        .entries
        .iter()
        .map(|entry| entry.key.clone())
        .collect();
    let mut merged = Vec::new();
    for node in &mapping.merges {
        let sources = match &node.value {
            Value::Sequence(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        for source in sources {
            if !source.is_mapping() {
                let at = source.start().unwrap_or_default();
                return Err(invalid(
                    "a merge key takes an object or a list of objects",
                    at,
                ));
            }
            let more = source
                .entries()
                .iter()
                .filter(|entry| keys.insert(entry.key.clone()));
            merged.extend(more.map(|entry| Entry {
                is_merged: true,
                ..entry.clone()
            }));
        }
    }
    mapping.entries.extend(merged);
    Ok(mapping)
}

fn empty(range: Range<usize>, column: usize) -> Node {
    let scalar = Scalar {
        text: String::new(),
        is_plain: true,
    };
    let origin = Origin {
        range,
        column,
        form: Form::Inline,
        anchor: 0,
    };
    Node {
        value: Value::Scalar(scalar),
        origin: Some(origin),
    }
}

fn form(style: StructureStyle) -> Form {
    match style {
        StructureStyle::Block => Form::Block,
        StructureStyle::Flow => Form::Flow,
    }
}

fn is_string_tag(tag: &Tag) -> bool {
    matches!(
        tag.to_string().as_str(),
        "!" | "!!str" | "tag:yaml.org,2002:str"
    )
}

fn scan_error(text: &str, error: &ScanError) -> Unreadable {
    let at = error
        .marker()
        .byte_offset()
        .filter(|at| text.is_char_boundary(*at));
    invalid(&error.kind().to_string(), at.unwrap_or_default())
}

fn invalid(message: &str, at: usize) -> Unreadable {
    Unreadable {
        code: "invalid_yaml",
        message: message.to_owned(),
        at,
    }
}

fn too_large(message: String, at: usize) -> Unreadable {
    Unreadable {
        code: "too_large",
        message,
        at,
    }
}
