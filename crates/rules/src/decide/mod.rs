//! From a request head to a decision.

mod observer;

pub use observer::Observer;

use crate::actions::{answer_headers, location_value, preflight, response_headers};
use crate::{
    AbortStatus, Action, Answer, Decision, Dice, DirectResponseAction, Facts, FaultAbort, Forward,
    ForwardAction, HeadFacts, Outcome, Reason, RedirectAction, RequestHead, VirtualHost,
    VirtualHosts,
};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, StatusCode};
use observer::{Nobody, report};
use std::sync::Arc;
use std::time::Duration;

impl VirtualHosts {
    /// What becomes of a request. Forwarding it allocates nothing.
    ///
    /// Header operations on answers made here see the request's head only. A caller that knows more
    /// uses [`Self::decide_with`].
    pub fn decide<'t>(&'t self, head: &RequestHead<'_>, dice: &mut impl Dice) -> Decision<'t> {
        decide(self, head, dice, &HeadFacts(head), &mut Nobody)
    }

    /// As [`Self::decide`], with the facts that header operations on an answer may ask for.
    pub fn decide_with<'t>(
        &'t self,
        head: &RequestHead<'_>,
        dice: &mut impl Dice,
        facts: &impl Facts,
    ) -> Decision<'t> {
        decide(self, head, dice, facts, &mut Nobody)
    }

    /// As [`Self::decide`], telling `observer` why routes did not match.
    pub fn decide_observed<'t>(
        &'t self,
        head: &RequestHead<'_>,
        dice: &mut impl Dice,
        observer: &mut impl Observer,
    ) -> Decision<'t> {
        decide(self, head, dice, &HeadFacts(head), observer)
    }
}

fn decide<'t>(
    hosts: &'t VirtualHosts,
    head: &RequestHead<'_>,
    dice: &mut impl Dice,
    facts: &impl Facts,
    observer: &mut impl Observer,
) -> Decision<'t> {
    match hosts.lookup(head.authority) {
        Some(host) => decide_at(host, head, dice, facts, observer),
        None => answered(nothing_found(Reason::NoHost)),
    }
}

/// The one way in which decisions are made, observed or not, once the virtual host is known.
pub(crate) fn decide_at<'t>(
    host: &'t Arc<VirtualHost>,
    head: &RequestHead<'_>,
    dice: &mut impl Dice,
    facts: &impl Facts,
    observer: &mut impl Observer,
) -> Decision<'t> {
    Decision {
        virtual_host: Some(host),
        ..route(host, head, dice, facts, observer)
    }
}

/// The decision of the virtual host that was chosen; there is no other to fall back to.
fn route<'t>(
    host: &'t VirtualHost,
    head: &RequestHead<'_>,
    dice: &mut impl Dice,
    facts: &impl Facts,
    observer: &mut impl Observer,
) -> Decision<'t> {
    if host.https_redirect.is_some() && head.scheme != "https" {
        return answered(to_https(head));
    }
    let position = host.routes.position(head);
    report(observer, &host.routes, position, head);
    let Some(route) = position.and_then(|position| host.routes.routes().get(position)) else {
        return answered(nothing_found(Reason::NoRoute));
    };
    let (delay, outcome) = act(&route.action, head, dice, facts);
    Decision {
        virtual_host: None,
        route: Some(route),
        delay,
        outcome,
    }
}

fn act<'t>(
    action: &'t Action,
    head: &RequestHead<'_>,
    dice: &mut impl Dice,
    facts: &impl Facts,
) -> (Option<Duration>, Outcome<'t>) {
    match action {
        Action::Forward(action) => {
            let delay = action
                .fault
                .as_ref()
                .and_then(|fault| fault.draw_delay(dice));
            (delay, forward(action, head, dice))
        }
        Action::Redirect(action) => (None, Outcome::Answer(redirect(action, head, facts))),
        Action::DirectResponse(action) => (None, Outcome::Answer(direct_response(action, facts))),
    }
}

/// An injected abort comes before the cross-origin policy, as in Istio's chain of filters.
fn forward<'t>(
    action: &'t ForwardAction,
    head: &RequestHead<'_>,
    dice: &mut impl Dice,
) -> Outcome<'t> {
    if let Some(abort) = action
        .fault
        .as_ref()
        .and_then(|fault| fault.draw_abort(dice))
    {
        return Outcome::Answer(aborted(abort));
    }
    if let Some(headers) = action
        .cors
        .as_ref()
        .and_then(|policy| preflight(policy, head))
    {
        let answer = Answer {
            headers,
            ..bare(StatusCode::OK, Reason::CorsPreflight)
        };
        return Outcome::Answer(answer);
    }
    Outcome::Forward(Forward {
        action,
        destination: action.draw_destination(dice),
        mirrors: action.draw_mirrors(dice),
        cors_headers: action
            .cors
            .as_ref()
            .map(|policy| response_headers(policy, head))
            .unwrap_or_default(),
    })
}

fn answered<'t>(answer: Answer) -> Decision<'t> {
    Decision {
        virtual_host: None,
        route: None,
        delay: None,
        outcome: Outcome::Answer(answer),
    }
}

fn bare(status: StatusCode, reason: Reason) -> Answer {
    Answer {
        status,
        headers: Vec::new(),
        body: Bytes::new(),
        grpc_status: None,
        reason,
    }
}

fn nothing_found(reason: Reason) -> Answer {
    bare(StatusCode::NOT_FOUND, reason)
}

fn plain_text() -> HeaderValue {
    HeaderValue::from_static("text/plain")
}

fn to_https(head: &RequestHead<'_>) -> Answer {
    let query = head
        .query
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let location = format!("https://{}{}{query}", head.host(), head.path);
    Answer {
        headers: vec![(LOCATION, location_value(&location))],
        ..bare(StatusCode::MOVED_PERMANENTLY, Reason::HttpsRedirect)
    }
}

fn redirect(action: &RedirectAction, head: &RequestHead<'_>, facts: &impl Facts) -> Answer {
    let headers = vec![(LOCATION, location_value(&action.location(head)))];
    Answer {
        headers: answer_headers(headers, &action.response_headers, facts),
        ..bare(action.code, Reason::Redirect)
    }
}

fn direct_response(action: &DirectResponseAction, facts: &impl Facts) -> Answer {
    let headers = match action.body.is_empty() {
        true => Vec::new(),
        false => vec![(CONTENT_TYPE, plain_text())],
    };
    Answer {
        headers: answer_headers(headers, &action.response_headers, facts),
        body: action.body.clone(),
        ..bare(action.status, Reason::DirectResponse)
    }
}

fn aborted(abort: &FaultAbort) -> Answer {
    let (status, grpc_status) = match abort.status {
        AbortStatus::Http(status) => (status, None),
        AbortStatus::Grpc(status) => (StatusCode::OK, Some(status)),
    };
    Answer {
        headers: vec![(CONTENT_TYPE, plain_text())],
        body: Bytes::from_static(b"fault filter abort"),
        grpc_status,
        ..bare(status, Reason::FaultAbort)
    }
}

#[cfg(test)]
mod tests;
