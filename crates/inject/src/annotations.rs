//! The annotations of a pod, with those that count where it has none.

use crate::catalogue::{self, Meaning};
use crate::finding::Report;
use crate::pod::{Pairs, Pod};
use std::collections::BTreeMap;

/// The annotations that count for a pod.
#[derive(Debug)]
pub(crate) struct Annotations<'n> {
    own: &'n Pairs<'n>,
    defaults: &'n BTreeMap<String, String>,
}

/// What an annotation says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said<'n> {
    pub(crate) name: &'n str,
    pub(crate) value: &'n str,
    /// Absent: it is a default and stands nowhere in the document.
    pub(crate) at: Option<usize>,
}

impl<'n> Annotations<'n> {
    pub(crate) fn new(pod: &'n Pod<'n>, defaults: &'n BTreeMap<String, String>) -> Self {
        Self {
            own: &pod.annotations,
            defaults,
        }
    }

    /// What is said, by the pod or by default.
    pub(crate) fn get(&self, name: &'n str) -> Option<Said<'n>> {
        if let Some((value, at)) = self.own.get(name) {
            return Some(Said {
                name,
                value,
                at: *at,
            });
        }
        self.defaults.get(name).map(|value| Said {
            name,
            value,
            at: None,
        })
    }

    /// What is said, read. What has no meaning is told, with what is possible.
    pub(crate) fn read<T>(
        &self,
        name: &'n str,
        report: &mut Report<'_>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let said = self.get(name)?;
        match read(said.value) {
            Ok(value) => Some(value),
            Err(why) => {
                said.tell(report, &why);
                None
            }
        }
    }

    /// A truth value, as Go reads it.
    pub(crate) fn truth(&self, name: &'n str, report: &mut Report<'_>) -> Option<bool> {
        self.read(name, report, truth)
    }

    /// A whole number that is not negative.
    pub(crate) fn count(&self, name: &'n str, report: &mut Report<'_>) -> Option<i32> {
        self.read(name, report, |text| {
            let number = text.parse::<i32>().ok().filter(|number| *number >= 0);
            number
                .ok_or_else(|| format!("`{text}` is not possible: it is a whole number, 0 or more"))
        })
    }

    /// All that count, by name.
    pub(crate) fn all(&self) -> BTreeMap<String, String> {
        let own = self
            .own
            .iter()
            .map(|(name, (value, _))| ((*name).to_owned(), (*value).to_owned()));
        self.defaults.clone().into_iter().chain(own).collect()
    }

    /// Tells which of the pod's annotations do nothing.
    pub(crate) fn tell_ignored(&self, report: &mut Report<'_>) {
        for (name, (_, at)) in self.own {
            let path = path(name);
            match catalogue::meaning(name) {
                Some(Meaning::Honoured) => {}
                Some(Meaning::Ignored(why)) => {
                    let said = ["has no effect".to_owned(), why.to_owned()];
                    report.warn(*at, &path, "annotation_ignored", said);
                }
                None if catalogue::is_istios(name) => {
                    let help =
                        catalogue::closest(name).map(|name| format!("did you mean `{name}`?"));
                    let said = [
                        "is an annotation that Istio does not know".to_owned(),
                        help.unwrap_or_default(),
                    ];
                    report.warn(*at, &path, "unknown_annotation", said);
                }
                None => {}
            }
        }
    }
}

impl Said<'_> {
    /// Tells that it has no meaning.
    pub(crate) fn tell(&self, report: &mut Report<'_>, why: &str) {
        let message = match self.at {
            Some(_) => why.to_owned(),
            None => format!(
                "{why} (this is the default that the options of the injector have for all pods)"
            ),
        };
        report.error(self.at, &path(self.name), "invalid_annotation", message);
    }
}

/// Where an annotation is in a pod.
pub(crate) fn path(name: &str) -> String {
    format!("metadata.annotations[{name}]")
}

/// A truth value, as Go reads it.
///
/// # Errors
///
/// When it is none; the text tells what is possible.
pub fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("`{text}` is not possible: it is `true` or `false`")),
    }
}
