//! Whether names stand for what a slow reference says, whatever Services and ServiceEntries there are.

#![expect(
    clippy::unwrap_used,
    reason = "a case that cannot be compiled must stop the test"
)]

mod generated;
mod reference;

use generated::{Object, objects, text_of};
use model::{Defaults, Resources};
use proptest::prelude::*;
use reference::{Reference, Want};
use rules::{
    AutoAllocate, CompileOptions, Compiler, Endpoints, FoundName, NameMeaning, NameOptions,
    Outbound, Proxy, Reached, Serves, SidecarOptions, Target,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

const NAMESPACE: &str = "x";

fn compiled(objects: &[Object]) -> (Arc<Outbound>, Endpoints) {
    let text = text_of(objects);
    let parsed = model::parse(&"case.yaml".into(), &text, &Defaults::default());
    let accepted = parsed.objects.iter();
    let accepted: Resources = accepted
        .map(|one| {
            one.outcome
                .resource()
                .cloned()
                .unwrap_or_else(|| panic!("refused: {text}"))
        })
        .collect();
    let mut compiler = Compiler::new(options());
    let (table, _) = compiler.compile(&accepted);
    let (endpoints, _) = compiler.endpoints(&accepted, &Arc::default());
    let mut listeners = table.listeners.values();
    let Serves::Outbound(listener) = &listeners.next().unwrap().serves else {
        panic!("the workload is redirected nowhere");
    };
    let outbound = listener.outbound.clone();
    (outbound, endpoints)
}

fn options() -> CompileOptions {
    CompileOptions {
        proxy: Proxy {
            namespace: NAMESPACE.into(),
            ..Proxy::default()
        },
        sidecar: Some(SidecarOptions {
            outbound: Some(([127, 0, 0, 1], 15001).into()),
            ..SidecarOptions::default()
        }),
        names: Some(NameOptions {
            auto_allocate: AutoAllocate::V4,
        }),
        ..CompileOptions::default()
    }
}

/// Compares what is found for a name. Virtual addresses are noted by host.
fn check(
    name: &str,
    found: Option<FoundName>,
    want: Want,
    given: &mut BTreeMap<String, IpAddr>,
) -> Result<(), TestCaseError> {
    match (want, found) {
        (Want::Unknown, found) => prop_assert_eq!(found, None, "{}", name),
        (Want::Addresses(want), Some(FoundName::Addresses(found))) => {
            prop_assert_eq!(found, want, "{}", name);
        }
        (Want::Alias(want), Some(FoundName::Alias(found))) => {
            prop_assert_eq!(&*found, want.as_str(), "{}", name);
        }
        (Want::Virtual(host), Some(FoundName::Addresses(found))) => {
            prop_assert_eq!(found.len(), 1, "{}", name);
            let known = given.entry(host).or_insert(found[0]);
            prop_assert_eq!(*known, found[0], "{}", name);
        }
        (want, found) => prop_assert!(false, "{name}: wanted {want:?}, found {found:?}"),
    }
    Ok(())
}

/// Each is the address of one host alone, and leads there.
fn check_given(outbound: &Outbound, given: &BTreeMap<String, IpAddr>) -> Result<(), TestCaseError> {
    let mut hosts: BTreeMap<IpAddr, &str> = BTreeMap::new();
    for (host, address) in given {
        let other = hosts.insert(*address, host);
        prop_assert_eq!(other, None, "{} is another's as well", address);
        prop_assert!(matches!(address, IpAddr::V4(v4) if v4.octets()[..2] == [240, 240]));
        prop_assert_eq!(
            outbound.names.name_of(*address).map(|name| &**name),
            Some(host.as_str())
        );
        match outbound.reach(&Target::of_address(*address, generated::PORT)) {
            Reached::Service(service) => prop_assert_eq!(&*service.host, host.as_str()),
            other => prop_assert!(false, "{host}: {other:?}"),
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn names_stand_for_what_the_reference_says(
        objects in objects(),
        asked in proptest::collection::vec(generated::name(), 0..12),
    ) {
        let (outbound, endpoints) = compiled(&objects);
        let reference = Reference::new(&objects, NAMESPACE);
        let mut given = BTreeMap::new();
        for (name, meaning) in outbound.names.entries() {
            let name = name.replace('*', "anything");
            let want = reference.find(&name);
            let is_left = **meaning == NameMeaning::Elsewhere;
            prop_assert_eq!(is_left, want == Want::Unknown, "{}", name);
            check(&name, outbound.names.find(&name, &endpoints), want, &mut given)?;
        }
        for name in asked.iter().map(String::as_str).chain(reference.hosts()) {
            let found = outbound.names.find(name, &endpoints);
            check(name, found, reference.find(name), &mut given)?;
        }
        check_given(&outbound, &given)?;
    }
}
