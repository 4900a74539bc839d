//! When which certificate takes the place of which.
//!
//! An authority signs for two thirds of its life. Then a second one is made, and API servers are told of it; only when
//! they have all been told, and a day has passed, does it sign. The first one stays trusted until its own time is over,
//! which is later than that of any certificate it has signed. So whichever certificate a replica shows, and however late it
//! notices another, what API servers trust verifies it.
//!
//! Pure: the time is handed in, and who writes what is decided here must have read what it was decided by last.

use crate::keys::{Authority, Keys, days};
use std::time::{Duration, SystemTime};

/// How long API servers are given to learn of another authority before it signs. They watch, and need seconds.
const OVERLAP: Duration = days(1);

/// What the Secret is to hold rather than these keys. `None`: they stay.
///
/// `keys` are those of the Secret, or absent where it has none that can be used. `names` are those of the server.
/// `is_told` is whether every webhook configuration trusted all of these keys' authorities before the Secret was read.
///
/// # Errors
///
/// When the system has no randomness, or a name is none.
pub(crate) fn renewed(
    keys: Option<&Keys>,
    names: &[String],
    now: SystemTime,
    is_told: bool,
) -> Result<Option<Keys>, rcgen::Error> {
    let Some(keys) = keys else {
        return Keys::new(names, now).map(Some);
    };
    let mut renewed = keys.clone();
    let mut is_changed = drop_what_is_over(&mut renewed, now);
    let Some(has_another) = turn(&mut renewed, now, is_told) else {
        return Keys::new(names, now).map(Some);
    };
    is_changed |= has_another;
    if renewed.next.is_none() && renewed.current.trusted.validity.is_due(now) {
        renewed.next = Some(Authority::new(now)?);
        is_changed = true;
    }
    let leaf = renewed.leaf.validity();
    let is_same = renewed.leaf.credential.names == names;
    if has_another || leaf.is_due(now) || !leaf.is_usable(now) || !is_same {
        renewed.leaf = renewed.current.sign(names, now)?;
        is_changed = true;
    }
    Ok(is_changed.then_some(renewed))
}

/// Forgets authorities that nobody can be verified by any more. Returns whether there were any.
fn drop_what_is_over(keys: &mut Keys, now: SystemTime) -> bool {
    let before = (keys.retired.len(), keys.next.is_some());
    // A clock that is ahead must not take from API servers what they still can use.
    keys.retired
        .retain(|trusted| now < trusted.validity.not_after + crate::keys::SKEW);
    keys.next
        .take_if(|next| !next.trusted.validity.is_usable(now));
    before != (keys.retired.len(), keys.next.is_some())
}

/// Has the next authority sign when its time has come. Returns whether it has; `None`: there is none that can.
fn turn(keys: &mut Keys, now: SystemTime, is_told: bool) -> Option<bool> {
    let is_usable = keys.current.trusted.validity.is_usable(now);
    let is_known = |next: &mut Authority| is_told && now >= next.trusted.validity.made() + OVERLAP;
    // One that nothing can be verified by is no better than one that is not trusted yet.
    let next = keys.next.take_if(|next| !is_usable || is_known(next));
    let Some(next) = next else {
        return is_usable.then_some(false);
    };
    let former = std::mem::replace(&mut keys.current, next);
    if is_usable {
        keys.retired.push(former.trusted);
    }
    Some(true)
}

#[cfg(test)]
mod tests;
