//! Which object a text that is no YAML was meant to be.

use crate::ResourceRef;
use crate::decode::{is_cluster_wide, is_known};
use std::sync::Arc;

/// Reads kind, namespace and name off the lines of a block mapping. Nothing when any of them is not
/// plain to see, or there twice.
pub(super) fn guess(text: &str, default_namespace: &Arc<str>) -> Option<ResourceRef> {
    let kind = only(text.lines().filter_map(|line| value(line, "kind")))?;
    let metadata: Vec<&str> = metadata(text);
    let inner = indentation(metadata.first()?);
    let of = |key| {
        let lines = metadata.iter().filter(|line| indentation(line) == inner);
        lines
            .filter_map(|line| value(line.trim_start(), key))
            .collect::<Vec<_>>()
    };
    let name = only(of("name").into_iter())?;
    let namespace = match &of("namespace")[..] {
        _ if is_cluster_wide(kind) => "".into(),
        [] => default_namespace.clone(),
        [one] => Arc::from(*one),
        _ => return None,
    };
    let valid = is_known(kind)
        && crate::is_dns_subdomain(name)
        && (namespace.is_empty() || crate::is_dns_label(&namespace));
    valid.then(|| ResourceRef {
        kind: kind.into(),
        namespace,
        name: name.into(),
    })
}

fn only<'a>(mut values: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    values.next().filter(|_| values.next().is_none())
}

/// The lines that are indented below `metadata:`.
fn metadata(text: &str) -> Vec<&str> {
    let after = text
        .lines()
        .skip_while(|line| line.trim_end() != "metadata:")
        .skip(1);
    after
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .take_while(|line| indentation(line) > 0)
        .collect()
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn value<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    let value = line.strip_prefix(key)?.strip_prefix(':')?;
    let value = value.split(" #").next().unwrap_or_default().trim();
    let quoted = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guessed(text: &str) -> Option<String> {
        guess(text, &"default".into()).map(|reference| reference.to_string())
    }

    #[test]
    fn a_broken_document_may_tell_its_identity() {
        let text = "---\nkind: VirtualService # c\nmetadata:\n  labels:\n    name: other\n  name: 'a'\n  namespace: shop\nspec: [\n";
        assert_eq!(guessed(text).as_deref(), Some("VirtualService shop/a"));
        let text = "kind: Gateway\nmetadata:\n  name: a\nspec:\n\t\tx: {\n";
        assert_eq!(guessed(text).as_deref(), Some("Gateway default/a"));
    }

    #[test]
    fn doubt_is_no_identity() {
        for text in [
            "kind: Deployment\nmetadata:\n  name: a\n",
            "kind: Gateway\nkind: Pod\nmetadata:\n  name: a\n",
            "kind: Gateway\nmetadata:\n  name: a\n  name: b\n",
            "kind: Gateway\nmetadata:\n  labels: {name: a}\n",
            "kind: Gateway\nmetadata: {name: a}\n",
            "kind: Gateway\n  metadata:\n  name: a\n",
            "kind: Gateway\nmetadata:\n  name: a b\n",
            "\u{0}\u{1}",
            "",
        ] {
            assert_eq!(guessed(text), None, "{text}");
        }
    }
}
