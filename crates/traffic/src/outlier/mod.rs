//! Outlier detection: endpoints that fail are out of rotation for a while.

mod policy;
mod record;
#[cfg(test)]
mod tests;

pub use policy::OutlierPolicy;
pub(crate) use record::Record;

use crate::{EndpointSet, EndpointState, Member};
use arc_swap::ArcSwap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How an attempt went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Observed {
    /// It was answered with this status.
    Status(u16),
    /// There was no connection.
    ConnectFailure,
    /// There was no answer in time.
    Timeout,
    /// The connection or stream ended without an answer.
    Reset,
    /// A connection came about, whatever becomes of it.
    Connected,
}

/// Why an endpoint is ejected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// Failures in a row.
    Consecutive5xx,
    /// Gateway failures in a row.
    ConsecutiveGatewayFailure,
    /// Missing answers in a row.
    ConsecutiveLocalOriginFailure,
}

impl Cause {
    /// Envoy's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "consecutive_5xx",
            Self::ConsecutiveGatewayFailure => "consecutive_gateway_failure",
            Self::ConsecutiveLocalOriginFailure => "consecutive_local_origin_failure",
        }
    }
}

/// An endpoint was ejected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ejection {
    /// Which, in its set.
    pub index: usize,
    /// Why.
    pub cause: Cause,
    /// How many times in a row.
    pub times: u32,
    /// It comes back at the first sweep from then on.
    pub until: Instant,
}

/// An endpoint came back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Returned {
    /// Which, in its set.
    pub index: usize,
}

/// Ejects endpoints of one cluster, and lets them back in. It survives changes of the configuration, and so do
/// ejections, which are with the endpoints.
#[derive(Debug)]
pub struct Outlier {
    policy: ArcSwap<OutlierPolicy>,
    /// When the last sweep was. Who ejects or lets in holds it, so that the greatest share is never exceeded.
    last_sweep: Mutex<Instant>,
}

impl Outlier {
    /// Nobody has failed yet.
    pub fn new(policy: OutlierPolicy, now: Instant) -> Self {
        Self {
            last_sweep: Mutex::new(now),
            policy: ArcSwap::from_pointee(policy),
        }
    }

    /// Goes on under another policy. Who is ejected stays so until its time is over, or comes back with the next
    /// sweep when the policy is [off](OutlierPolicy::off).
    pub fn set_policy(&self, policy: OutlierPolicy) {
        // Nobody is ejected by the former one any more once the new one is known.
        let _one = self.lock();
        if **self.policy.load() != policy {
            self.policy.store(policy.into());
        }
    }

    /// Takes note of how an attempt at an endpoint went. `Some`: it failed as often in a row as it may, and is to be
    /// [ejected](Self::eject).
    pub fn record(&self, endpoint: &EndpointState, observed: Observed) -> Option<Cause> {
        judge(&endpoint.record, observed, &self.policy.load())
    }

    /// Takes an endpoint out of rotation. `None`: it is out already, is not in `set` any more, or as many are out as may
    /// be, which is nobody once the policy is off. `set` has to be the one in force, since the share is one of its endpoints.
    pub fn eject<T>(
        &self,
        set: &EndpointSet<T>,
        endpoint: &Arc<EndpointState>,
        cause: Cause,
        now: Instant,
    ) -> Option<Ejection> {
        let _one = self.lock();
        let policy = self.policy.load();
        let members = set.members();
        let is_meant = |member: &Member<T>| Arc::ptr_eq(&member.state, endpoint);
        let index = members.iter().position(is_meant)?;
        let record = &endpoint.record;
        let ejected = members.iter().filter(|member| member.state.is_ejected());
        if record.is_ejected() || !policy.admits(ejected.count(), members.len()) {
            return None;
        }
        let times = policy.next_times(record.ejections());
        let until = now + policy.ejection_time(times);
        record.set_times(times);
        record.eject(until);
        set.refresh(now);
        Some(Ejection {
            index,
            cause,
            times,
            until,
        })
    }

    /// Lets those back in whose time is over. Does nothing until an interval has passed since the last time.
    pub fn sweep<T>(&self, set: &EndpointSet<T>, now: Instant) -> Vec<Returned> {
        let mut last = self.lock();
        let policy = self.policy.load();
        if now.saturating_duration_since(*last) < policy.interval && !policy.is_off() {
            return Vec::new();
        }
        *last = now;
        let members = set.members().iter().enumerate();
        let returned: Vec<_> = members
            .filter(|(_, member)| returns(&member.state, now, &policy))
            .map(|(index, _)| Returned { index })
            .collect();
        if !returned.is_empty() {
            set.refresh(now);
        }
        returned
    }

    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.last_sweep
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts an attempt. `Some`: there were as many failures in a row as there may be.
fn judge(record: &Record, observed: Observed, policy: &OutlierPolicy) -> Option<Cause> {
    match observed {
        Observed::Status(status) if policy.is_failure(status) => {
            failed(record, matches!(status, 502..=504), policy)
        }
        Observed::Status(_) => {
            Record::reset(&record.consecutive_5xx);
            Record::reset(&record.consecutive_gateway);
            None
        }
        Observed::Connected => {
            Record::reset(&record.consecutive_local_origin);
            None
        }
        _ if policy.split_local_origin => counted(
            &record.consecutive_local_origin,
            policy.consecutive_local_origin,
            Cause::ConsecutiveLocalOriginFailure,
        ),
        _ => failed(record, true, policy),
    }
}

fn failed(record: &Record, of_gateway: bool, policy: &OutlierPolicy) -> Option<Cause> {
    let gateway = match of_gateway {
        true => counted(
            &record.consecutive_gateway,
            policy.consecutive_gateway,
            Cause::ConsecutiveGatewayFailure,
        ),
        false => {
            Record::reset(&record.consecutive_gateway);
            None
        }
    };
    let any = counted(
        &record.consecutive_5xx,
        policy.consecutive_5xx,
        Cause::Consecutive5xx,
    );
    gateway.or(any)
}

/// Counts one more, and begins anew when there are as many as there may be, whether or not that ejects anybody.
fn counted(counter: &std::sync::atomic::AtomicU32, limit: u32, cause: Cause) -> Option<Cause> {
    if Record::count(counter) < limit || limit == 0 {
        return None;
    }
    Record::reset(counter);
    Some(cause)
}

/// Whether an endpoint comes back. One that is not ejected is forgiven a former ejection.
fn returns(state: &EndpointState, now: Instant, policy: &OutlierPolicy) -> bool {
    let record = &state.record;
    if !record.is_ejected() {
        record.forgive();
        return false;
    }
    if !record.is_due(now) && !policy.is_off() {
        return false;
    }
    record.return_to_rotation();
    true
}
