//! A radix tree over the bytes of paths.

/// Whether ASCII case counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Case {
    /// `/a` is not `/A`.
    Counts,
    /// Keys are kept in lower case.
    Ignored,
}

/// Values kept under whole paths and under beginnings of paths.
///
/// Nodes live in one vector, so neither building nor dropping recurses, however long keys are.
#[derive(Debug)]
pub(super) struct PathTrie<T> {
    case: Case,
    nodes: Vec<Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    /// The bytes on the way from the parent to here.
    label: Box<[u8]>,
    /// The first byte of each child's label, sorted, and its place in `nodes`.
    children: Vec<(u8, usize)>,
    /// What is kept for every path that begins with this node's key.
    prefix: Option<T>,
    /// What is kept for the path that is this node's key.
    exact: Option<T>,
}

impl<T> Node<T> {
    fn new(label: &[u8]) -> Self {
        Self {
            label: label.into(),
            children: Vec::new(),
            prefix: None,
            exact: None,
        }
    }
}

impl<T> PathTrie<T> {
    /// An empty tree.
    pub(super) fn new(case: Case) -> Self {
        Self {
            case,
            nodes: vec![Node::new(b"")],
        }
    }

    /// The place of what is kept for paths beginning with `key`.
    pub(super) fn prefix(&mut self, key: &[u8]) -> &mut Option<T> {
        let node = self.node_for(key);
        &mut self.nodes[node].prefix
    }

    /// The place of what is kept for the path `key`.
    pub(super) fn exact(&mut self, key: &[u8]) -> &mut Option<T> {
        let node = self.node_for(key);
        &mut self.nodes[node].exact
    }

    /// The same tree with other values.
    pub(super) fn map<U>(self, mut change: impl FnMut(T) -> U) -> PathTrie<U> {
        let nodes = self.nodes.into_iter().map(|node| Node {
            label: node.label,
            children: node.children,
            prefix: node.prefix.map(&mut change),
            exact: node.exact.map(&mut change),
        });
        PathTrie {
            case: self.case,
            nodes: nodes.collect(),
        }
    }

    /// Visits what is kept for `path` and for each of its beginnings, the shortest first.
    pub(super) fn visit<'t>(&'t self, path: &str, mut visit: impl FnMut(&'t T)) {
        let mut rest = path.as_bytes();
        let mut node = &self.nodes[0];
        loop {
            if let Some(value) = &node.prefix {
                visit(value);
            }
            let Some(&first) = rest.first() else {
                if let Some(value) = &node.exact {
                    visit(value);
                }
                return;
            };
            let Some(child) = self.child(node, self.folded(first)) else {
                return;
            };
            let Some((start, end)) = rest.split_at_checked(child.label.len()) else {
                return;
            };
            if !self.same(start, &child.label) {
                return;
            }
            node = child;
            rest = end;
        }
    }

    fn child(&self, node: &Node<T>, first: u8) -> Option<&Node<T>> {
        let slot = node
            .children
            .binary_search_by_key(&first, |child| child.0)
            .ok()?;
        self.nodes.get(node.children[slot].1)
    }

    fn folded(&self, byte: u8) -> u8 {
        match self.case {
            Case::Counts => byte,
            Case::Ignored => byte.to_ascii_lowercase(),
        }
    }

    fn same(&self, text: &[u8], label: &[u8]) -> bool {
        match self.case {
            Case::Counts => text == label,
            Case::Ignored => text.eq_ignore_ascii_case(label),
        }
    }

    /// The node of `key`, made when there is none.
    fn node_for(&mut self, key: &[u8]) -> usize {
        match self.case {
            Case::Counts => self.node_for_folded(key),
            Case::Ignored => self.node_for_folded(&key.to_ascii_lowercase()),
        }
    }

    fn node_for_folded(&mut self, key: &[u8]) -> usize {
        let (mut at, mut rest) = (0, key);
        while let Some(&first) = rest.first() {
            match self.nodes[at]
                .children
                .binary_search_by_key(&first, |child| child.0)
            {
                Err(slot) => return self.grow(at, slot, rest),
                Ok(slot) => {
                    let child = self.nodes[at].children[slot].1;
                    let common = common_length(&self.nodes[child].label, rest);
                    at = self.split(at, slot, common);
                    rest = &rest[common..];
                }
            }
        }
        at
    }

    /// Hangs a new leaf under `parent`.
    fn grow(&mut self, parent: usize, slot: usize, label: &[u8]) -> usize {
        let leaf = self.nodes.len();
        self.nodes.push(Node::new(label));
        self.nodes[parent].children.insert(slot, (label[0], leaf));
        leaf
    }

    /// The child in `slot` cut so that its label has `common` bytes.
    fn split(&mut self, parent: usize, slot: usize, common: usize) -> usize {
        let (first, child) = self.nodes[parent].children[slot];
        if common == self.nodes[child].label.len() {
            return child;
        }
        let upper = self.nodes.len();
        let label = std::mem::take(&mut self.nodes[child].label);
        let (start, end) = label.split_at(common);
        let mut node = Node::new(start);
        node.children.push((end[0], child));
        self.nodes[child].label = end.into();
        self.nodes.push(node);
        self.nodes[parent].children[slot] = (first, upper);
        upper
    }
}

fn common_length(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trie(case: Case) -> PathTrie<&'static str> {
        let mut trie = PathTrie::new(case);
        *trie.prefix(b"") = Some("every");
        *trie.prefix(b"/api") = Some("/api*");
        *trie.prefix(b"/apple") = Some("/apple*");
        *trie.exact(b"/ap") = Some("=/ap");
        *trie.exact(b"/api/v1") = Some("=/api/v1");
        trie
    }

    fn visited(trie: &PathTrie<&'static str>, path: &str) -> Vec<&'static str> {
        let mut seen = Vec::new();
        trie.visit(path, |value| seen.push(*value));
        seen
    }

    #[test]
    fn a_path_meets_its_beginnings_and_itself() {
        let trie = trie(Case::Counts);
        assert_eq!(visited(&trie, "/api/v1"), ["every", "/api*", "=/api/v1"]);
        assert_eq!(visited(&trie, "/api/v2"), ["every", "/api*"]);
        assert_eq!(visited(&trie, "/ap"), ["every", "=/ap"]);
        assert_eq!(visited(&trie, "/applet"), ["every", "/apple*"]);
        assert_eq!(visited(&trie, "/API"), ["every"]);
        assert_eq!(visited(&trie, ""), ["every"]);
    }

    #[test]
    fn case_can_be_ignored() {
        let trie = trie(Case::Ignored);
        assert_eq!(visited(&trie, "/API/v1"), ["every", "/api*", "=/api/v1"]);
    }

    #[test]
    fn a_key_may_be_very_long() {
        let mut trie = PathTrie::new(Case::Counts);
        for length in 1..5_000 {
            *trie.exact("/".repeat(length).as_bytes()) = Some(length);
        }
        let mut seen = Vec::new();
        trie.visit(&"/".repeat(4_000), |length| seen.push(*length));
        assert_eq!(seen, [4_000]);
    }
}
