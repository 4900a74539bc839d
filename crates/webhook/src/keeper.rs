//! Keeps the certificate that is shown, the Secret that replicas share, and what API servers trust, in step.

use crate::keys::{Data, Keys};
use crate::rotation::renewed;
use std::time::SystemTime;

/// Conflicts in a row that are read again at once. Replicas that still meet do so at their next pass.
const CONFLICTS: usize = 5;

/// What replicas share: a Secret, and the webhook configurations that API servers obey.
pub(crate) trait Store: Send + Sync {
    /// The Secret as it was read, which is what is replaced.
    type Secret: Send;
    /// A webhook configuration as it was read, which is what is replaced.
    type Configuration: Send;

    /// Reads all webhook configurations that there are.
    fn configurations(
        &self,
    ) -> impl Future<Output = Result<Vec<Told<Self::Configuration>>, String>> + Send;

    /// Reads the Secret. `None`: there is none.
    fn secret(&self) -> impl Future<Output = Result<Option<(Data, Self::Secret)>, String>> + Send;

    /// Replaces the Secret, or creates it where there was none.
    fn write(
        &self,
        data: Data,
        former: Option<Self::Secret>,
    ) -> impl Future<Output = Result<(), Unwritten>> + Send;

    /// Has the API server trust this bundle at all webhooks of a configuration.
    fn tell(
        &self,
        configuration: Self::Configuration,
        bundle: &str,
    ) -> impl Future<Output = Result<(), Unwritten>> + Send;
}

/// A webhook configuration, and whom its webhooks trust.
pub(crate) struct Told<C> {
    /// As it was read.
    pub(crate) configuration: C,
    /// The bundle of each webhook, PEM.
    pub(crate) bundles: Vec<Vec<u8>>,
}

/// Why something was not written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Unwritten {
    /// It is not what was read any more.
    Conflict,
    /// For this reason.
    Failed(String),
}

/// What is in force after a pass.
pub(crate) struct Kept {
    /// What the Secret has.
    pub(crate) keys: Keys,
    /// Why API servers may not trust it. Empty: they do.
    pub(crate) untold: Vec<String>,
}

/// Reads what there is, renews what is due, and tells API servers.
///
/// Configurations are read before the Secret and replaced after it: one that is replaced although somebody wrote it in
/// between is a conflict, so that no replica takes back what another has told.
pub(crate) async fn pass<S: Store>(
    store: &S,
    names: &[String],
    now: impl Fn() -> SystemTime,
) -> Result<Kept, String> {
    for _ in 0..CONFLICTS {
        let configurations = store.configurations().await;
        let (configurations, untold) = match configurations {
            Ok(configurations) => (Some(configurations), Vec::new()),
            Err(why) => (None, vec![why]),
        };
        let former = store.secret().await?;
        let keys = former.as_ref().and_then(|(data, _)| read(data));
        let is_told = match (&keys, &configurations) {
            (Some(keys), Some(configurations)) => are_told(configurations, &keys.bundle()),
            _ => false,
        };
        let renewed = renewed(keys.as_ref(), names, now(), is_told)
            .map_err(|why| format!("no certificate can be made: {why}"))?;
        if let Some(renewed) = &renewed {
            let former = former.map(|(_, secret)| secret);
            match store.write(renewed.write(), former).await {
                Ok(()) => tracing::info!("the webhook's certificates were renewed"),
                Err(Unwritten::Conflict) => continue,
                Err(Unwritten::Failed(why)) => return Err(why),
            }
        }
        let Some(keys) = renewed.or(keys) else {
            continue;
        };
        let mut kept = Kept { keys, untold };
        if tell(store, configurations.unwrap_or_default(), &mut kept).await {
            return Ok(kept);
        }
    }
    Err("others write the webhook's certificates all the time".to_owned())
}

/// What the Secret has, if that can be used. One that was made empty is to be filled.
fn read(data: &Data) -> Option<Keys> {
    if data.is_empty() {
        return None;
    }
    let keys = Keys::read(data);
    keys.inspect_err(|why| tracing::error!("what the webhook's Secret has is made anew: {why}"))
        .ok()
}

fn are_told<C>(configurations: &[Told<C>], bundle: &str) -> bool {
    configurations.iter().all(|told| is_told(told, bundle))
}

fn is_told<C>(told: &Told<C>, bundle: &str) -> bool {
    told.bundles.iter().all(|known| known == bundle.as_bytes())
}

/// Returns whether nobody else wrote what is told here.
async fn tell<S: Store>(
    store: &S,
    configurations: Vec<Told<S::Configuration>>,
    kept: &mut Kept,
) -> bool {
    let bundle = kept.keys.bundle();
    for told in configurations {
        if is_told(&told, &bundle) {
            continue;
        }
        match store.tell(told.configuration, &bundle).await {
            Ok(()) => tracing::info!("API servers were told whom to trust"),
            Err(Unwritten::Conflict) => return false,
            Err(Unwritten::Failed(why)) => kept.untold.push(why),
        }
    }
    true
}

#[cfg(test)]
mod simulation;
