//! Endpoints that are found when a client asks for them.

use super::attempt::patiently;
use super::context::RequestCtx;
use super::failure::Failure;
use crate::Side;
use crate::upstream::implied;
use http::HeaderValue;
use pingora_proxy::Session;
use rules::Target;

/// Finds the endpoints of what the request asks for, once. It takes as long as the request may, and ends when the
/// client goes.
pub(super) async fn find(session: &mut Session, ctx: &mut RequestCtx) -> Result<(), Failure> {
    let plan = ctx.plan.as_ref().ok_or(Failure::Internal)?;
    let (shared, snapshot) = (ctx.shared.clone(), ctx.snapshot.clone());
    let (cluster, deadline) = (plan.cluster.clone(), plan.deadline);
    let target = target(ctx, &cluster.definition);
    let finding = shared.find(&snapshot, &cluster, target);
    let found = patiently(session, finding, deadline).await?;
    let found = found.map_err(Failure::NotFound)?;
    if let Some(plan) = &mut ctx.plan {
        plan.cluster = found;
    }
    Ok(())
}

/// The host that the route puts in the place of the one that was asked for.
fn rewritten(ctx: &RequestCtx) -> Option<&HeaderValue> {
    let plan = ctx.plan.as_ref()?;
    plan.action()?.authority_for(plan.destination)
}

/// What the request asks of a cluster: the target of a forward proxy, its host, or where its connection was going.
pub(super) fn target(ctx: &RequestCtx, cluster: &rules::Cluster) -> Option<Target> {
    let head = ctx.head.as_ref()?;
    let side = head.connection.side;
    let goes_on = side == Side::Outbound && cluster.key.is_passthrough();
    if goes_on || side == Side::Inbound {
        return Some(head.connection.target());
    }
    let of = |authority: &HeaderValue| implied(cluster, rules::host_of(authority.to_str().ok()?));
    match rewritten(ctx) {
        Some(authority) => of(authority),
        None => head.asked.clone().or_else(|| of(&head.authority)),
    }
}
