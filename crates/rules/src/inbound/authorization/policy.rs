//! One policy and its rules.

use super::asked::Asked;
use super::condition::Condition;
use super::verdict::MatchedRule;
use model::{AuthorizationAction, Origin};
use std::sync::Arc;

/// An AuthorizationPolicy, compiled.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) origin: Arc<Origin>,
    pub(super) action: AuthorizationAction,
    /// Of `CUSTOM`, empty otherwise.
    pub(super) provider: Arc<str>,
    pub(super) dry_run: bool,
    /// Alternatives. Empty: nothing matches.
    pub(super) rules: Vec<Rule>,
}

/// A rule: one of `from`, one of `to` and all further conditions.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) origin: Arc<Origin>,
    /// Alternatives. Empty: any source.
    pub(super) from: Vec<Vec<Condition>>,
    /// Alternatives. Empty: any operation.
    pub(super) to: Vec<Vec<Condition>>,
    pub(super) when: Vec<Condition>,
    pub(super) strictness: Strictness,
}

/// What becomes of a rule with conditions that cannot be asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Strictness {
    /// Of a policy that does not allow: such conditions hold, so that rather more is kept out.
    Lenient,
    /// Of one that allows, and asks for nothing of the kind.
    Everywhere,
    /// Of one that allows, and asks for what only requests have: it is for requests alone.
    ForRequests,
    /// Of one that allows, and asks for what nothing has: it never matches.
    Never,
}

/// Why a rule does not match.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unmatched<'r> {
    /// It asks for what a connection does not have.
    ForRequests(&'r Condition),
    /// It asks for what nothing has.
    Unknowable,
    /// No alternative of `from` holds.
    From,
    /// No alternative of `to` holds.
    To,
    /// A further condition does not.
    When(&'r Condition),
}

/// Hears of every rule that is asked.
pub(super) trait PolicyObserver {
    /// A policy is about to be asked.
    fn asks(&mut self, policy: &Policy);
    /// One of its rules does not match.
    fn passed_over(&mut self, rule: &Rule, why: Unmatched<'_>, asked: &Asked<'_>);
    /// One does, and is the last.
    fn matched(&mut self, rule: &Rule);
}

/// Hears nothing.
pub(super) struct Nobody;

impl PolicyObserver for Nobody {
    fn asks(&mut self, _: &Policy) {}
    fn passed_over(&mut self, _: &Rule, _: Unmatched<'_>, _: &Asked<'_>) {}
    fn matched(&mut self, _: &Rule) {}
}

impl Policy {
    /// The first of its rules that matches.
    pub(super) fn matched(
        &self,
        asked: &Asked<'_>,
        observer: &mut impl PolicyObserver,
    ) -> Option<MatchedRule> {
        observer.asks(self);
        for (index, rule) in self.rules.iter().enumerate() {
            match rule.check(asked) {
                Ok(()) => {
                    observer.matched(rule);
                    return Some(MatchedRule {
                        origin: rule.origin.clone(),
                        rule: index,
                    });
                }
                Err(why) => observer.passed_over(rule, why, asked),
            }
        }
        None
    }
}

impl Rule {
    fn check(&self, asked: &Asked<'_>) -> Result<(), Unmatched<'_>> {
        match self.strictness {
            Strictness::Never => return Err(Unmatched::Unknowable),
            Strictness::ForRequests if asked.head.is_none() => self.check_is_for_connections()?,
            _ => {}
        }
        if !any(&self.from, asked) {
            return Err(Unmatched::From);
        }
        if !any(&self.to, asked) {
            return Err(Unmatched::To);
        }
        match first_unmet(&self.when, asked) {
            Some(condition) => Err(Unmatched::When(condition)),
            None => Ok(()),
        }
    }

    fn check_is_for_connections(&self) -> Result<(), Unmatched<'_>> {
        let mut conditions = self.conditions();
        match conditions.find(|condition| condition.is_for_requests()) {
            Some(condition) => Err(Unmatched::ForRequests(condition)),
            None => Ok(()),
        }
    }

    /// All of them, those of alternatives too.
    pub(super) fn conditions(&self) -> impl Iterator<Item = &Condition> {
        let alternatives = self.from.iter().chain(&self.to);
        alternatives.flatten().chain(&self.when)
    }
}

fn any(alternatives: &[Vec<Condition>], asked: &Asked<'_>) -> bool {
    let mut each = alternatives.iter();
    alternatives.is_empty() || each.any(|all| first_unmet(all, asked).is_none())
}

/// The first of the conditions that does not hold.
pub(super) fn first_unmet<'c>(
    conditions: &'c [Condition],
    asked: &Asked<'_>,
) -> Option<&'c Condition> {
    conditions.iter().find(|condition| !condition.holds(asked))
}
