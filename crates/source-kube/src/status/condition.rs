//! What is written of an object: one condition, beside those of others.

use serde_json::{Map, Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The condition's reasons.
const IN_FORCE: &str = "InForce";
const SPREADING: &str = "Spreading";
const HAS_ERRORS: &str = "HasErrors";
const NOT_IN_FORCE: &str = "NotInForce";

/// What an object has come to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    /// What is wrong with it, or worth knowing, a line each. May be empty.
    pub(crate) detail: String,
}

/// What an object has come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// It is in force.
    Accepted(Taken),
    /// It has errors; something of it, or its last good version, is in force.
    HasErrors,
    /// It has errors, and nothing of it is in force.
    NotInForce,
}

/// How many proxies have taken up a generation of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Taken {
    /// So many, of so many.
    By(usize, usize),
    /// How many cannot be told: versions of this API server are no numbers.
    Unknown,
}

impl Verdict {
    /// Whether it is known to have reached every proxy, or that will never be known.
    pub(crate) fn is_complete(&self) -> bool {
        match self.outcome {
            Outcome::Accepted(Taken::By(taken, all)) => taken >= all,
            _ => true,
        }
    }

    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self.outcome, Outcome::Accepted(_))
    }

    fn status(&self) -> &'static str {
        match self.is_accepted() {
            true => "True",
            false => "False",
        }
    }

    pub(crate) fn reason(&self) -> &'static str {
        match self.outcome {
            Outcome::Accepted(_) if self.is_complete() => IN_FORCE,
            Outcome::Accepted(_) => SPREADING,
            Outcome::HasErrors => HAS_ERRORS,
            Outcome::NotInForce => NOT_IN_FORCE,
        }
    }

    fn message(&self) -> String {
        let Outcome::Accepted(taken) = self.outcome else {
            return self.detail.clone();
        };
        let taken = match taken {
            Taken::By(taken, all) => format!("taken up by {taken} of {all} proxies"),
            Taken::Unknown => "taken up; by how many proxies cannot be told".to_owned(),
        };
        match self.detail.is_empty() {
            true => taken,
            false => format!("{taken}\n{}", self.detail),
        }
    }

    /// What is remembered of it once it was told of this generation.
    pub(crate) fn told(&self, generation: i64) -> Told {
        Told::new(generation, self.status(), self.reason(), &self.message())
    }
}

/// What is there of one's own condition: enough to know whether another one is to be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Told {
    generation: i64,
    is_complete: bool,
    /// Without how many have taken it up.
    gist: u64,
    whole: u64,
}

impl Told {
    fn new(generation: i64, status: &str, reason: &str, message: &str) -> Self {
        let (count, detail) = match status {
            "True" => message.split_once('\n').unwrap_or((message, "")),
            _ => (reason, message),
        };
        let gist = fingerprint((status, detail));
        Self {
            generation,
            is_complete: reason == IN_FORCE,
            gist,
            whole: fingerprint((reason, count, gist)),
        }
    }

    /// What an object's `status` says by a condition of this type.
    pub(crate) fn of(status: &Value, kind: &str) -> Option<Self> {
        let conditions = status.get("conditions")?.as_array()?;
        let condition = conditions.iter().find(|one| is_of(one, kind))?;
        let text = |field: &str| condition[field].as_str().unwrap_or_default();
        Some(Self::new(
            condition["observedGeneration"].as_i64().unwrap_or_default(),
            text("status"),
            text("reason"),
            text("message"),
        ))
    }

    /// Whether it says that it has reached every proxy.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether it is as it should be. Once all proxies that there were have taken up a generation, that is true for ever:
    /// others come and go, and ten thousand objects are not written each time.
    pub(crate) fn is_as(&self, wanted: &Self) -> bool {
        self.generation == wanted.generation
            && self.gist == wanted.gist
            && (self.is_complete || self.whole == wanted.whole)
    }
}

fn fingerprint(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn is_of(condition: &Value, kind: &str) -> bool {
    condition["type"].as_str() == Some(kind)
}

/// All conditions of an object, with one's own as it should be. Those of others stay as they are, and where they are.
pub(crate) fn conditions(
    status: &Value,
    kind: &str,
    generation: i64,
    verdict: &Verdict,
    now: &str,
) -> Vec<Value> {
    let mut all = status["conditions"].as_array().cloned().unwrap_or_default();
    let place = all.iter().position(|one| is_of(one, kind));
    let before = place.map_or(Value::Null, |place| all[place].clone());
    let is_same = before["status"].as_str() == Some(verdict.status());
    let since = before["lastTransitionTime"].as_str().filter(|_| is_same);
    let condition = Map::from_iter([
        ("type".to_owned(), json!(kind)),
        ("status".to_owned(), json!(verdict.status())),
        ("reason".to_owned(), json!(verdict.reason())),
        ("message".to_owned(), json!(verdict.message())),
        ("observedGeneration".to_owned(), json!(generation)),
        ("lastTransitionTime".to_owned(), json!(since.unwrap_or(now))),
    ]);
    match place {
        Some(place) => all[place] = condition.into(),
        None => all.push(condition.into()),
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "edge.istio-system.tidegate.io/Accepted";

    fn verdict(outcome: Outcome, detail: &str) -> Verdict {
        Verdict {
            outcome,
            detail: detail.to_owned(),
        }
    }

    fn accepted(taken: usize, all: usize, detail: &str) -> Verdict {
        verdict(Outcome::Accepted(Taken::By(taken, all)), detail)
    }

    #[test]
    fn a_condition_stands_beside_those_of_others() {
        let others = json!({"conditions": [
            {"type": "Reconciled", "status": "True"},
            {"type": "other.istio-system.tidegate.io/Accepted", "status": "False"},
        ], "validationMessages": []});
        let first = conditions(
            &others,
            KIND,
            3,
            &accepted(3, 3, ""),
            "2026-01-02T03:04:05Z",
        );
        assert_eq!(first[..2], others["conditions"].as_array().unwrap()[..]);
        let want = json!({
            "type": KIND, "status": "True", "reason": "InForce", "message": "taken up by 3 of 3 proxies",
            "observedGeneration": 3, "lastTransitionTime": "2026-01-02T03:04:05Z",
        });
        assert_eq!(first[2..], [want]);
    }

    #[test]
    fn the_transition_is_when_the_status_became_another() {
        let first = accepted(1, 2, "");
        let mut status = json!({});
        for (verdict, now, want) in [
            (first, "a", "a"),
            (accepted(2, 2, "warning"), "b", "a"),
            (verdict(Outcome::HasErrors, "error"), "c", "c"),
            (verdict(Outcome::NotInForce, "error"), "d", "c"),
            (accepted(2, 2, ""), "e", "e"),
        ] {
            let all = conditions(&status, KIND, 1, &verdict, now);
            assert_eq!(all.len(), 1);
            assert_eq!(all[0]["lastTransitionTime"], want);
            status = json!({"conditions": all});
        }
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        for verdict in [
            accepted(1, 2, ""),
            accepted(2, 2, "warning: a\nwarning: b"),
            verdict(Outcome::Accepted(Taken::Unknown), ""),
            verdict(Outcome::HasErrors, "error: a\nerror: b"),
            verdict(Outcome::NotInForce, ""),
        ] {
            let status = json!({"conditions": conditions(&json!({}), KIND, 7, &verdict, "now")});
            assert_eq!(
                Told::of(&status, KIND),
                Some(verdict.told(7)),
                "{verdict:?}"
            );
            assert_eq!(Told::of(&status, "Reconciled"), None);
        }
    }

    #[test]
    fn a_count_is_written_until_all_have_it_and_then_not_any_more() {
        let all = accepted(3, 3, "");
        for (there, wanted, want) in [
            (accepted(2, 3, ""), accepted(2, 3, ""), true),
            (accepted(2, 3, ""), all.clone(), false),
            (all.clone(), accepted(3, 4, ""), true),
            (all.clone(), accepted(3, 3, "warning: a"), false),
            (all.clone(), verdict(Outcome::HasErrors, ""), false),
            (
                verdict(Outcome::HasErrors, "a"),
                verdict(Outcome::NotInForce, "a"),
                false,
            ),
        ] {
            assert_eq!(
                there.told(1).is_as(&wanted.told(1)),
                want,
                "{there:?} {wanted:?}"
            );
            assert!(!there.told(1).is_as(&wanted.told(2)));
        }
    }
}
