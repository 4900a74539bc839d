//! What is read and checked, but has no effect in this version.
//!
//! One line each, so that a feature that comes takes its line away.

use crate::decode::Cursor;
use crate::yaml::Value;

/// A field without effect.
struct Note {
    /// Keys joined by dots; `[]` stands for every item of a list, `*` at the end for any rest of a key.
    /// `BLOCKS` stands for the traffic policies of a DestinationRule and of its subsets, and for each of their
    /// `portLevelSettings`.
    path: &'static str,
    /// Empty: the field is not honoured yet.
    says: &'static str,
}

const fn field(path: &'static str) -> Note {
    Note { path, says: "" }
}

const fn note(path: &'static str, says: &'static str) -> Note {
    Note { path, says }
}

const GATEWAY: &[Note] = &[note(
    "spec.servers[].defaultEndpoint",
    "defaultEndpoint has no effect, as in Istio",
)];

const VIRTUAL_SERVICE: &[Note] = &[
    note("spec.http[].match[].headers.@request.auth.claims*", CLAIMS),
    note(
        "spec.http[].match[].withoutHeaders.@request.auth.claims*",
        CLAIMS,
    ),
    note(
        "spec.http[].match[].statPrefix",
        "statPrefix has no effect on Istio's metrics",
    ),
];

const CLAIMS: &str = "claims of a JWT are not honoured yet, since no token is validated";

const DESTINATION_RULE: &[Note] = &[
    note(
        "BLOCKS.connectionPool.http.http2KeepAlive.timeout",
        "the timeout of http2KeepAlive is not honoured: a ping has 5 s to be answered",
    ),
    note(
        "BLOCKS.loadBalancer.zoneAwareLbSetting",
        "zoneAwareLbSetting is not honoured yet: with outlierDetection nearer endpoints come first, otherwise all are alike",
    ),
];

const SERVICE: &[Note] = &[field("spec.trafficDistribution")];

const BLOCKS: &[&str] = &[
    "spec.trafficPolicy",
    "spec.trafficPolicy.portLevelSettings[]",
    "spec.subsets[].trafficPolicy",
    "spec.subsets[].trafficPolicy.portLevelSettings[]",
];

/// Warns of every field of the object that has no effect.
pub(crate) fn warn(root: &Cursor<'_>, kind: &str) {
    let notes = match kind {
        "Gateway" => GATEWAY,
        "VirtualService" => VIRTUAL_SERVICE,
        "DestinationRule" => DESTINATION_RULE,
        "Service" => SERVICE,
        _ => &[],
    };
    for note in notes {
        for path in note.paths() {
            note.warn_at(root, &path);
        }
    }
}

impl Note {
    fn paths(&self) -> Vec<String> {
        let under = |parents: &[&str], rest| {
            parents
                .iter()
                .map(|parent| format!("{parent}{rest}"))
                .collect()
        };
        match self.path.strip_prefix("BLOCKS") {
            Some(rest) => under(BLOCKS, rest),
            None => vec![self.path.to_owned()],
        }
    }

    fn warn_at(&self, root: &Cursor<'_>, path: &str) {
        let path = path.replace("[]", ".[]");
        // The name of a claim has dots of its own.
        let keys: Vec<&str> = match path.find("@request") {
            Some(claim) => path[..claim - 1]
                .split('.')
                .chain([&path[claim..]])
                .collect(),
            None => path.split('.').collect(),
        };
        self.visit(root, &keys);
    }

    fn visit(&self, cursor: &Cursor<'_>, keys: &[&str]) {
        let Some((key, rest)) = keys.split_first() else {
            return self.check(cursor);
        };
        match &cursor.node.value {
            Value::Sequence(_) if *key == "[]" => {
                cursor
                    .items()
                    .iter()
                    .for_each(|item| self.visit(item, rest));
            }
            Value::Mapping(entries) => {
                for entry in entries.iter().filter(|entry| is_key(&entry.key, key)) {
                    self.visit(&cursor.child(entry), rest);
                }
            }
            _ => {}
        }
    }

    fn check(&self, cursor: &Cursor<'_>) {
        if !cursor.is_null() {
            self.report(cursor);
        }
    }

    fn report(&self, cursor: &Cursor<'_>) {
        let field = self.path.rsplit(['.', ']']).next().unwrap_or_default();
        match self.says {
            "" => cursor.warning("not_honoured", format!("{field} is not honoured yet")),
            says => cursor.warning("not_honoured", says),
        };
    }
}

fn is_key(key: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => key.starts_with(prefix),
        None => key == pattern,
    }
}
