//! What is in the tables before and after, beside rules that others have made.

use crate::machines::{Machine, Who};
use crate::world::{BACKENDS, World};
use std::thread;

/// Options that make every kind of rule. The kernel must take them all.
const EVERYTHING: [&str; 22] = [
    "--redirect-dns",
    "--drop-invalid",
    "-c",
    "net+,eth9",
    "-k",
    "tap0",
    "-i",
    "10.0.0.0/8,fd00::/8,127.1.2.3/32",
    "-x",
    "10.9.0.0/16,fd00:9::/32",
    "-q",
    "443",
    "-o",
    "5432",
    "-b",
    "8080,9090",
    "-u",
    "root,1337",
    "-g",
    "root,1337",
    "--outbound-owner-groups",
    "root,202",
];

/// Rules of others, in the tables that we use and in one that we do not, some of which look like ours. They are in every
/// chain of the kernel's that we use: iptables-nft makes it with its first rule, and leaves it when the last one goes.
const OTHERS: &str = "*filter
:OTHER - [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -j OTHER
COMMIT
*nat
:OTHER - [0:0]
:ISTIO_OUTPUTS - [0:0]
-A OUTPUT -m comment --comment \"not for -j ISTIO_OUTPUT\" -j OTHER
-A PREROUTING -p tcp -m tcp --dport 2222 -j REDIRECT --to-ports 22
-A OUTPUT -j ISTIO_OUTPUTS
COMMIT
*mangle
-A PREROUTING -p tcp -m tcp --dport 81 -j MARK --set-xmark 0x1/0xffffffff
COMMIT
*raw
-A PREROUTING -p udp -m udp --dport 5353 -j CT --notrack
-A OUTPUT -p udp -m udp --dport 5353 -j CT --notrack
COMMIT
";

/// The variants of iptables for both families.
const VARIANTS: [&str; 4] = [
    "iptables-nft",
    "ip6tables-nft",
    "iptables-legacy",
    "ip6tables-legacy",
];

/// What is in all tables of all kinds, and which addresses loopback has.
fn everything(world: &World) -> String {
    let saved = VARIANTS.map(|variant| world.saved(variant)).concat();
    saved + &world.nft_ruleset() + &world.pod.run("ip", &["address", "show", "dev", "lo"], "")
}

fn let_others_be(machine: &Machine, variant: &str) {
    for family in ["iptables", "ip6tables"] {
        machine.run(
            &format!("{family}{variant}-restore"),
            &["--noflush", "-w", "30"],
            OTHERS,
        );
    }
}

#[test]
fn installing_twice_is_installing_once() {
    let world = World::new();
    for backend in BACKENDS {
        for flags in [&[][..], &EVERYTHING, &["--legacy", "-b", "9080"]] {
            world.iptables(&[backend, flags]);
            let once = everything(&world);
            world.iptables(&[backend, flags]);
            assert_eq!(everything(&world), once, "{backend:?}");
            world.iptables(&[backend, flags, &["--force-apply"]]);
            assert_eq!(everything(&world), once, "{backend:?}");
        }
    }
}

/// The kernel's tables say what `--print` says, so that a second run finds everything in place.
#[test]
fn what_is_printed_is_what_is_in_the_tables() {
    let world = World::new();
    let flags = [
        "--redirect-dns",
        "--drop-invalid",
        "-k",
        "tap0",
        "-c",
        "net+",
        "-o",
        "5432",
    ];
    for backend in &BACKENDS[..2] {
        world.iptables(&[backend, &flags]);
        let again = world.iptables(&[backend, &flags]);
        assert_eq!(again.matches("already in place").count(), 2, "{again}");
        let printed = world.iptables(&[&flags, &["--print", "--ipv6", "off"]]);
        let saved = world.saved(&format!("iptables-{}", backend[1]));
        let rules = |text: &str| {
            let mut rules: Vec<_> = text
                .lines()
                .filter(|line| line.starts_with("-A"))
                .map(str::to_owned)
                .collect();
            rules.sort();
            rules
        };
        assert_eq!(rules(&saved), rules(&printed));
        world.iptables(&[&["--clean"]]);
    }
}

#[test]
fn the_page_of_the_seed_is_in_place_already() {
    let world = World::new();
    let page = include_str!("../../testdata/seed/iptables-capture.rules");
    for backend in &BACKENDS[..2] {
        let restore = format!("iptables-{}-restore", backend[1]);
        world
            .pod
            .run(&restore, &["-w", "30"], &format!("{page}COMMIT\n"));
        let said = world.iptables(&[backend, &["--legacy", "-b", "9080", "--ipv6", "off"]]);
        assert!(said.contains("IPv4: already in place"), "{said}");
        world.iptables(&[&["--clean"]]);
    }
}

#[test]
fn cleaning_leaves_what_was_there() {
    for (backend, variant) in BACKENDS.into_iter().zip(["-nft", "-legacy", "-nft"]) {
        let world = World::new();
        let_others_be(&world.pod, variant);
        let mine = "table inet mine {\n\tchain mine {\n\t\taccept\n\t}\n}\n";
        world.pod.run("nft", &["-f", "-"], mine);
        let before = everything(&world);
        for flags in [&[][..], &EVERYTHING, &["--legacy"]] {
            world.iptables(&[backend, flags]);
            assert_ne!(everything(&world), before);
            let said = world.iptables(&[&["--clean"]]);
            assert_eq!(everything(&world), before, "{backend:?} {said}");
        }
        let said = world.iptables(&[&["--clean"]]);
        assert_eq!(said, "nothing of ours is installed\n");
        assert_eq!(everything(&world), before, "{backend:?}");
    }
}

#[test]
fn nothing_is_cleaned_where_nothing_is() {
    let world = World::new();
    let before = everything(&world);
    assert_eq!(
        world.iptables(&[&["--clean"]]),
        "nothing of ours is installed\n"
    );
    assert_eq!(everything(&world), before);
}

#[test]
fn others_rules_stay_and_keep_their_place() {
    for variant in ["nft", "legacy"] {
        let world = World::new();
        let backend = ["--force-iptables-binary", variant];
        let_others_be(&world.pod, &format!("-{variant}"));
        world.iptables(&[&backend]);
        let later = "*nat\n-A OUTPUT -p tcp -m tcp --dport 9 -j RETURN\nCOMMIT\n";
        let restore = format!("iptables-{variant}-restore");
        world.pod.run(&restore, &["--noflush", "-w", "30"], later);
        let before = world.saved(&format!("iptables-{variant}"));
        world.iptables(&[&backend, &["--force-apply"]]);
        assert_eq!(
            world.saved(&format!("iptables-{variant}")),
            before,
            "{variant}"
        );
        for line in OTHERS.lines().filter(|line| line.starts_with("-A")) {
            assert!(before.contains(line), "{line} in {before}");
        }
    }
}

#[test]
fn nothing_remains_of_options_before() {
    for backend in BACKENDS {
        let (changed, fresh) = (World::new(), World::new());
        changed.iptables(&[backend, &EVERYTHING]);
        changed.iptables(&[backend]);
        fresh.iptables(&[backend]);
        let ours = |world: &World| -> String {
            let all = everything(world);
            let lines = all
                .lines()
                .filter(|line| line.contains("ISTIO") || line.contains("istio"));
            lines.map(|line| format!("{line}\n")).collect()
        };
        assert_eq!(ours(&changed), ours(&fresh), "{backend:?}");
    }
}

/// What redirects is in one place alone, whichever way rules were installed before.
#[test]
fn another_kind_of_rules_takes_the_place_of_the_first() {
    let world = World::new();
    for backend in BACKENDS.into_iter().chain(BACKENDS.into_iter().rev()) {
        world.iptables(&[backend]);
        let has_rules = |variant: &str| world.saved(variant).contains("ISTIO");
        let found = ["iptables-nft", "iptables-legacy"].map(has_rules);
        let has_table = world.nft_ruleset().contains("table ip tidegate");
        let count = found
            .into_iter()
            .chain([has_table])
            .filter(|has| *has)
            .count();
        assert_eq!(count, 1, "{backend:?} {found:?} {has_table}");
    }
}

/// However many install at the same time, jumps are there once.
#[test]
fn several_at_the_same_time_do_not_double_the_jumps() {
    for variant in ["nft", "legacy"] {
        let world = World::new();
        thread::scope(|scope| {
            for _ in 0..8 {
                let install = || world.iptables(&[&["--force-iptables-binary", variant]]);
                scope.spawn(install);
            }
        });
        let saved = world.saved(&format!("iptables-{variant}"));
        for jump in [
            "-A OUTPUT -j ISTIO_OUTPUT\n",
            "-A PREROUTING -p tcp -j ISTIO_INBOUND\n",
        ] {
            assert_eq!(saved.matches(jump).count(), 1, "{variant}: {saved}");
        }
    }
}

/// iptables-nft adds rules to such a table, and shows none of it afterwards.
#[test]
fn a_table_that_iptables_does_not_understand_is_left_alone() {
    let world = World::new();
    let table = "table ip nat {\n\tchain PREROUTING {\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n\
                 \t\ttcp dport { 80, 443 } redirect to :8080\n\t}\n}\n";
    world.pod.run("nft", &["-f", "-"], table);
    assert_eq!(world.nft_ruleset(), table);
    let error = world.try_iptables(BACKENDS[0]).unwrap_err();
    let want =
        "`iptables-nft-save` does not understand table nat; another program keeps rules there";
    assert!(error.to_string().starts_with(want), "{error}");
    assert_eq!(world.nft_ruleset(), table);

    world.iptables(&[BACKENDS[2]]);
    let said = world.iptables(&[&["--clean"]]);
    assert!(
        said.contains("IPv4: passed over: `iptables-nft-save` does not understand"),
        "{said}"
    );
    assert!(said.contains("IPv4: removed from nft"), "{said}");
    assert_eq!(world.nft_ruleset(), table);

    // Nobody has said which kind it is to be.
    let said = world.iptables(&[]);
    assert!(
        said.contains("IPv4: installed with iptables-legacy"),
        "{said}"
    );
    world.iptables(&[&["--clean"]]);
    assert!(world.nft_ruleset().starts_with(table));
}

#[test]
fn who_may_not_is_told_what_is_needed() {
    let world = World::new();
    for backend in BACKENDS {
        for flags in [&["--ipv6", "off"][..], &[], &["--clean"]] {
            let nobody = Who {
                user: 65534,
                group: 65534,
            };
            let error = world
                .try_iptables_as(nobody, &[backend, flags].concat())
                .unwrap_err();
            assert!(error.to_string().contains("NET_ADMIN"), "{error}");
        }
    }
}

#[test]
fn users_that_the_machine_has_not_are_told() {
    let world = World::new();
    for backend in BACKENDS {
        let error = world
            .try_iptables(&[backend, &["-u", "no-such-user"]].concat())
            .unwrap_err();
        assert!(
            error.to_string().contains("name a user or group"),
            "{error}"
        );
        assert!(
            !everything(&world).contains("15001"),
            "nothing is half installed"
        );
    }
}

#[test]
fn a_machine_without_ipv6_is_captured_without() {
    let world = World::new();
    world
        .pod
        .enter(|| std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap());
    for backend in BACKENDS {
        let said = world.iptables(&[backend]);
        assert!(said.contains("IPv6 is skipped"), "{said}");
        assert!(said.contains("IPv4: installed"), "{said}");
    }
}
