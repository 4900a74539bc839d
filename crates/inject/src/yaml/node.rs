//! The tree of a document: read from text, changed, and compared with the text again.

use super::scalar;
use std::ops::Range;

/// A value, and where it stands when it was read rather than added.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) origin: Option<Origin>,
}

/// A YAML value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Mapping),
}

/// A scalar as the text has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Not quoted, so that it may be something other than a string.
    pub(crate) is_plain: bool,
}

/// An object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mapping {
    /// In document order, those of merge keys last, those that were added behind them.
    pub(crate) entries: Vec<Entry>,
    /// The values of `<<`.
    pub(crate) merges: Vec<Node>,
    /// What the text has and the tree no longer.
    pub(crate) removed: Vec<Entry>,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: Node,
    /// Where the key stands. Absent: it was added.
    pub(crate) key_at: Option<Range<usize>>,
    /// The key is another than the text has there.
    pub(crate) is_renamed: bool,
    /// The value that stands in the text, though another may be in the tree.
    pub(crate) was: Option<Origin>,
    /// It comes from a merge key and stands elsewhere.
    pub(crate) is_merged: bool,
}

/// Where a node stands, and how it is written there.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// Its bytes, without anchor and tag. A collection in block style ends with its last child; an empty value is
    /// behind the colon.
    pub(crate) range: Range<usize>,
    /// Of its first character, from 0.
    pub(crate) column: usize,
    pub(crate) form: Form,
    /// Identifies its anchor in the document. 0: none; of an alias, the one that is meant.
    pub(crate) anchor: usize,
}

/// How a node is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// A plain or quoted scalar.
    Inline,
    /// A scalar behind `|` or `>`.
    BlockScalar,
    /// A collection by indentation.
    Block,
    /// A collection in brackets.
    Flow,
    /// `*name`. What is below it stands elsewhere.
    Alias,
}

/// A string.
pub(crate) fn text(text: impl Into<String>) -> Node {
    Node::added(Value::Scalar(Scalar {
        text: text.into(),
        is_plain: false,
    }))
}

/// A whole number.
pub(crate) fn number(number: impl Into<i64>) -> Node {
    Node::added(Value::Scalar(Scalar {
        text: number.into().to_string(),
        is_plain: true,
    }))
}

/// Nothing.
pub(crate) fn null() -> Node {
    Node::added(Value::Scalar(Scalar {
        text: "null".to_owned(),
        is_plain: true,
    }))
}

/// A list.
pub(crate) fn list(items: impl IntoIterator<Item = Node>) -> Node {
    Node::added(Value::Sequence(items.into_iter().collect()))
}

/// An object.
pub(crate) fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Node)>) -> Node {
    let entries = entries
        .into_iter()
        .map(|(key, value)| Entry::added(key.into(), value))
        .collect();
    Node::added(Value::Mapping(Mapping {
        entries,
        ..Mapping::default()
    }))
}

impl From<&str> for Node {
    fn from(string: &str) -> Self {
        text(string)
    }
}

impl From<String> for Node {
    fn from(string: String) -> Self {
        text(string)
    }
}

impl From<bool> for Node {
    fn from(truth: bool) -> Self {
        Self::added(Value::Scalar(Scalar {
            text: truth.to_string(),
            is_plain: true,
        }))
    }
}

impl Entry {
    fn added(key: String, value: Node) -> Self {
        Self {
            key,
            value,
            key_at: None,
            is_renamed: false,
            was: None,
            is_merged: false,
        }
    }

    /// The byte behind its last one in the text, when it stands there.
    pub(super) fn end(&self) -> Option<usize> {
        let key = self.key_at.as_ref()?;
        Some(
            self.was
                .as_ref()
                .map_or(key.end, |was| was.range.end.max(key.end)),
        )
    }
}

impl Mapping {
    /// The entries that the text has here.
    pub(super) fn written(&self) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(|entry| entry.key_at.is_some() && !entry.is_merged)
    }
}

impl Node {
    fn added(value: Value) -> Self {
        Self {
            value,
            origin: None,
        }
    }

    /// Where it begins in the document, as far as it is known.
    pub(crate) fn start(&self) -> Option<usize> {
        self.origin.as_ref().map(|origin| origin.range.start)
    }

    /// The entries of an object, none of anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Mapping(mapping) => &mapping.entries,
            _ => &[],
        }
    }

    /// The items of a list, none of anything else.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Value::Sequence(items) => items,
            _ => &[],
        }
    }

    /// The same, to change them.
    pub(crate) fn items_mut(&mut self) -> &mut [Self] {
        match &mut self.value {
            Value::Sequence(items) => items,
            _ => &mut [],
        }
    }

    /// The entry of a key.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value of a key, unless it is null.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key)
            .map(|entry| &entry.value)
            .filter(|value| !value.is_null())
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        let Value::Mapping(mapping) = &mut self.value else {
            return None;
        };
        let entry = mapping.entries.iter_mut().find(|entry| entry.key == key)?;
        Some(&mut entry.value).filter(|value| !value.is_null())
    }

    /// What keys that follow each other lead to.
    pub(crate) fn follow(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The same, to change it.
    pub(crate) fn follow_mut(&mut self, path: &[&str]) -> Option<&mut Self> {
        path.iter().try_fold(self, |node, key| node.get_mut(key))
    }

    /// A string.
    pub(crate) fn as_str(&self) -> Option<&str> {
        self.scalar()
            .filter(|scalar| scalar.is_string())
            .map(|scalar| scalar.text.as_str())
    }

    /// A truth value, by the words of any YAML.
    pub(crate) fn as_bool(&self) -> Option<bool> {
        let scalar = self.scalar().filter(|scalar| scalar.is_plain)?;
        scalar::as_bool(&scalar.text)
    }

    /// A whole number.
    pub(crate) fn as_int(&self) -> Option<i64> {
        let scalar = self.scalar().filter(|scalar| scalar.is_plain)?;
        scalar::as_number(&scalar.text)?.parse().ok()
    }

    /// Whether it is nothing.
    pub(crate) fn is_null(&self) -> bool {
        self.scalar().is_some_and(Scalar::is_null)
    }

    pub(crate) fn is_mapping(&self) -> bool {
        matches!(self.value, Value::Mapping(_))
    }

    pub(crate) fn is_sequence(&self) -> bool {
        matches!(self.value, Value::Sequence(_))
    }

    /// The scalar that it is.
    pub(crate) fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// Gives a key a value, in the place of the one it has or as the last.
    pub(crate) fn set(&mut self, key: &str, value: Self) {
        let entries = &mut self.mapping().entries;
        match entries.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => entry.value = value,
            None => entries.push(Entry::added(key.to_owned(), value)),
        }
    }

    /// The object of a key, an empty one when there is none.
    pub(crate) fn object(&mut self, key: &str) -> &mut Self {
        self.child(key, || map::<&str>([]))
    }

    /// The list of a key, an empty one when there is none.
    pub(crate) fn list(&mut self, key: &str) -> &mut Self {
        self.child(key, || list([]))
    }

    fn child(&mut self, key: &str, empty: impl Fn() -> Self) -> &mut Self {
        let entries = &mut self.mapping().entries;
        let index = entries
            .iter()
            .position(|entry| entry.key == key)
            .unwrap_or_else(|| {
                entries.push(Entry::added(key.to_owned(), empty()));
                entries.len() - 1
            });
        let value = &mut entries[index].value;
        if value.is_null() {
            *value = empty();
        }
        value
    }

    /// Puts an item into a list.
    pub(crate) fn insert(&mut self, index: usize, item: Self) {
        if !self.is_sequence() {
            *self = list([]);
        }
        if let Value::Sequence(items) = &mut self.value {
            items.insert(index.min(items.len()), item);
        }
    }

    /// Puts an item at the end of a list.
    pub(crate) fn push(&mut self, item: Self) {
        self.insert(usize::MAX, item);
    }

    /// Takes a key out, if it is there.
    pub(crate) fn remove(&mut self, key: &str) {
        let mapping = self.mapping();
        if let Some(index) = mapping.entries.iter().position(|entry| entry.key == key) {
            let entry = mapping.entries.remove(index);
            mapping.removed.push(entry);
        }
    }

    /// Gives the value of a key another key.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        let mut entries = self.mapping().entries.iter_mut();
        if let Some(entry) = entries.find(|entry| entry.key == from) {
            to.clone_into(&mut entry.key);
            entry.is_renamed = true;
        }
    }

    /// The same value without a place: what is added to a text cannot have one.
    pub(crate) fn without_origin(&self) -> Self {
        match &self.value {
            Value::Scalar(_) => Self::added(self.value.clone()),
            Value::Sequence(items) => list(items.iter().map(Self::without_origin)),
            Value::Mapping(mapping) => map(mapping
                .entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.without_origin()))),
        }
    }

    /// Whether both mean the same, whatever the order of keys and the way they are written.
    pub(crate) fn means(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Scalar(one), Value::Scalar(other)) => one.means(other),
            (Value::Sequence(one), Value::Sequence(other)) => {
                one.len() == other.len()
                    && one.iter().zip(other).all(|(one, other)| one.means(other))
            }
            (Value::Mapping(one), Value::Mapping(_)) => {
                one.entries.len() == other.entries().len()
                    && one.entries.iter().all(|entry| {
                        other
                            .entry(&entry.key)
                            .is_some_and(|other| entry.value.means(&other.value))
                    })
            }
            _ => false,
        }
    }

    /// This as an object, which it becomes if it is none.
    fn mapping(&mut self) -> &mut Mapping {
        if !self.is_mapping() {
            *self = map::<&str>([]);
        }
        match &mut self.value {
            Value::Mapping(mapping) => mapping,
            _ => unreachable!("it was just made one"),
        }
    }
}

impl Scalar {
    /// Whether it is a string: quoted, or plain and nothing else.
    pub(super) fn is_string(&self) -> bool {
        !self.is_plain
            || !(self.is_null()
                || scalar::as_bool(&self.text).is_some()
                || scalar::as_number(&self.text).is_some())
    }

    fn is_null(&self) -> bool {
        self.is_plain && scalar::is_null(&self.text)
    }

    fn means(&self, other: &Self) -> bool {
        let both_null = self.is_null() && other.is_null();
        both_null || (self.is_string() == other.is_string() && self.text == other.text)
    }
}
