//! Which objects are followed, for whom.

use crate::kinds::{
    AUTHORIZATION_POLICIES, KINDS, Kind, NODES, OF_EVERYBODY, OF_SERVICES, SECRETS, SIDECARS,
};
use crate::scope::{Names, Scope};
use crate::settings::{Settings, SidecarSettings};
use config::{Namespaces, WantedObjects};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Single Secrets that are followed, each with a watch and so with a connection of its own. Of more than these all of the
/// namespace are, in one watch, and those that are not wanted are dropped as they come.
const MOST_SINGLE: usize = 64;

/// Namespaces that a sidecar follows one by one, each with a watch for a kind. Of more than these all are followed.
const MOST_NAMESPACES: usize = 32;

/// What is followed at first: what wishes are made of.
pub(crate) fn at_first(settings: &Settings) -> BTreeSet<Scope> {
    match &settings.sidecar {
        None => of_gateway(settings),
        Some(sidecar) => of_kind(SIDECARS, &always(settings, sidecar)).collect(),
    }
}

/// What is followed once it is known what is wanted.
pub(crate) fn of_wish(settings: &Settings, wanted: &WantedObjects) -> BTreeSet<Scope> {
    let mut followed = match &settings.sidecar {
        None => of_gateway(settings),
        Some(sidecar) => of_sidecar(settings, sidecar, &wanted.namespaces),
    };
    followed.extend(secrets(&settings.own_namespace, &wanted.secrets));
    followed
}

fn of_gateway(settings: &Settings) -> BTreeSet<Scope> {
    let all = among(settings, &Namespaces::All);
    let namespaced = KINDS.into_iter().flat_map(|kind| of_kind(kind, &all));
    namespaced.chain([Scope::all(NODES, None)]).collect()
}

fn of_sidecar(
    settings: &Settings,
    sidecar: &SidecarSettings,
    wanted: &Namespaces,
) -> BTreeSet<Scope> {
    let always = always(settings, sidecar);
    let own = Namespaces::Named([settings.own_namespace.as_str().into()].into());
    let services = among(settings, &union(wanted, &own));
    let everybody = among(settings, &union(wanted, &always));
    let nodes = sidecar.nodes.then(|| Scope::all(NODES, None));
    let mut followed: BTreeSet<Scope> = nodes.into_iter().collect();
    for (kinds, namespaces) in [
        (&OF_SERVICES[..], &services),
        (&OF_EVERYBODY, &everybody),
        (&[SIDECARS, AUTHORIZATION_POLICIES], &always),
    ] {
        followed.extend(kinds.iter().flat_map(|kind| of_kind(*kind, namespaces)));
    }
    followed
}

/// Whose Sidecars and policies are obeyed: its own namespace and the root namespace.
fn always(settings: &Settings, sidecar: &SidecarSettings) -> Namespaces {
    let names = [&settings.own_namespace, &sidecar.root_namespace];
    let names = names.into_iter().map(|name| name.as_str().into());
    among(settings, &Namespaces::Named(names.collect()))
}

fn union(one: &Namespaces, other: &Namespaces) -> Namespaces {
    match (one, other) {
        (Namespaces::Named(one), Namespaces::Named(other)) => Namespaces::Named(one | other),
        _ => Namespaces::All,
    }
}

/// Those that may be followed, and are not too many.
fn among(settings: &Settings, wanted: &Namespaces) -> Namespaces {
    let allowed: BTreeSet<Arc<str>> = settings
        .namespaces
        .iter()
        .map(|name| name.as_str().into())
        .collect();
    match wanted {
        Namespaces::Named(wanted) if allowed.is_empty() && wanted.len() > MOST_NAMESPACES => {
            Namespaces::All
        }
        Namespaces::Named(wanted) if allowed.is_empty() => Namespaces::Named(wanted.clone()),
        Namespaces::Named(wanted) => Namespaces::Named(wanted & &allowed),
        Namespaces::All if allowed.is_empty() => Namespaces::All,
        Namespaces::All => Namespaces::Named(allowed),
    }
}

fn of_kind(kind: Kind, namespaces: &Namespaces) -> impl Iterator<Item = Scope> + use<> {
    let namespaces: Vec<_> = match namespaces {
        Namespaces::All => vec![None],
        Namespaces::Named(names) => names.iter().cloned().map(Some).collect(),
    };
    namespaces
        .into_iter()
        .map(move |namespace| Scope::all(kind, namespace))
}

fn secrets(namespace: &str, wanted: &BTreeSet<String>) -> Vec<Scope> {
    let namespace: Arc<str> = namespace.into();
    let among = |names| Scope {
        names,
        ..Scope::all(SECRETS, Some(namespace.clone()))
    };
    let wanted = wanted.iter().filter(|name| is_name(name));
    let wanted: BTreeSet<String> = wanted.cloned().collect();
    if wanted.len() > MOST_SINGLE {
        return vec![among(Names::Among(Arc::new(wanted)))];
    }
    let single = wanted.iter().map(|name| Names::One(name.as_str().into()));
    single.map(among).collect()
}

/// Whether an object can have this name. What cannot is not there, and would be something else in a selector.
fn is_name(text: &str) -> bool {
    let is_part =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    !text.is_empty() && text.len() <= 253 && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sidecar(nodes: bool) -> Settings {
        Settings {
            own_namespace: "shop".to_owned(),
            sidecar: Some(SidecarSettings {
                root_namespace: "istio-system".to_owned(),
                nodes,
            }),
            ..Settings::default()
        }
    }

    fn wanted(namespaces: Namespaces) -> WantedObjects {
        WantedObjects {
            namespaces,
            ..WantedObjects::default()
        }
    }

    fn named(names: &[&str]) -> Namespaces {
        Namespaces::Named(names.iter().map(|name| (*name).into()).collect())
    }

    fn folders(scopes: &BTreeSet<Scope>, kind: &str) -> Vec<String> {
        let scopes = scopes.iter().filter(|scope| scope.kind.name == kind);
        let folders = scopes.map(|scope| scope.folder().to_string());
        folders.collect()
    }

    #[test]
    fn a_gateway_follows_all_and_the_secrets_that_it_names() {
        let settings = Settings {
            own_namespace: "istio-system".to_owned(),
            ..Settings::default()
        };
        let first = at_first(&settings);
        assert_eq!(folders(&first, "Service"), ["kubernetes:Service"]);
        assert_eq!(folders(&first, "Node"), ["kubernetes:Node"]);
        assert!(folders(&first, "Secret").is_empty());
        let secrets = ["web", "web-cacert", "web,metadata.name=other", "a/b", ""];
        let wish = WantedObjects {
            secrets: secrets.map(str::to_owned).into(),
            ..wanted(Namespaces::All)
        };
        let followed = of_wish(&settings, &wish);
        assert!(followed.is_superset(&first));
        assert_eq!(
            folders(&followed, "Secret"),
            [
                "kubernetes:Secret/istio-system/web",
                "kubernetes:Secret/istio-system/web-cacert"
            ]
        );
        let many = (0..=MOST_SINGLE).map(|number| number.to_string());
        let wish = WantedObjects {
            secrets: many.collect(),
            ..wanted(Namespaces::All)
        };
        let followed = of_wish(&settings, &wish);
        assert_eq!(
            folders(&followed, "Secret"),
            ["kubernetes:Secret/istio-system"]
        );
    }

    #[test]
    fn a_sidecar_follows_what_its_workload_sees() {
        let settings = sidecar(false);
        let first = at_first(&settings);
        let of_sidecars = ["kubernetes:Sidecar/istio-system", "kubernetes:Sidecar/shop"];
        assert_eq!(folders(&first, "Sidecar"), of_sidecars);
        assert_eq!(first.len(), 2);
        let followed = of_wish(&settings, &wanted(named(&["bank"])));
        assert_eq!(
            folders(&followed, "EndpointSlice"),
            [
                "kubernetes:EndpointSlice/bank",
                "kubernetes:EndpointSlice/shop"
            ]
        );
        assert_eq!(
            folders(&followed, "DestinationRule"),
            [
                "kubernetes:DestinationRule/bank",
                "kubernetes:DestinationRule/istio-system",
                "kubernetes:DestinationRule/shop"
            ]
        );
        assert_eq!(folders(&followed, "Sidecar"), of_sidecars);
        assert_eq!(folders(&followed, "AuthorizationPolicy").len(), 2);
        for kind in ["Gateway", "Node", "Secret"] {
            assert!(folders(&followed, kind).is_empty(), "{kind}");
        }
        let nodes = of_wish(&sidecar(true), &wanted(named(&[])));
        assert_eq!(folders(&nodes, "Node"), ["kubernetes:Node"]);
    }

    #[test]
    fn a_sidecar_that_sees_all_follows_all_at_once() {
        let followed = of_wish(&sidecar(false), &wanted(Namespaces::All));
        assert_eq!(folders(&followed, "Service"), ["kubernetes:Service"]);
        assert_eq!(
            folders(&followed, "Sidecar").len(),
            2,
            "but for those of others"
        );
        let many: Vec<_> = (0..=MOST_NAMESPACES)
            .map(|number| number.to_string())
            .collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let followed = of_wish(&sidecar(false), &wanted(named(&many)));
        assert_eq!(folders(&followed, "Service"), ["kubernetes:Service"]);
    }

    #[test]
    fn namespaces_that_are_named_are_a_limit() {
        let settings = Settings {
            namespaces: vec!["shop".to_owned(), "bank".to_owned()],
            ..sidecar(false)
        };
        let followed = of_wish(&settings, &wanted(Namespaces::All));
        let both = ["kubernetes:Service/bank", "kubernetes:Service/shop"];
        assert_eq!(folders(&followed, "Service"), both);
        let followed = of_wish(&settings, &wanted(named(&["other"])));
        assert_eq!(folders(&followed, "Service"), both[1..]);
    }
}
