//! Plans against a small model of the kernel's tables and of `iptables-restore --noflush`.

use super::Plan;
use crate::options::CaptureOptions;
use crate::ruleset::{Chain, Family, Ruleset};
use crate::saved::Saved;
use crate::test_options::any_options;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The chains of a table, each with its rules as they are printed.
type Chains = BTreeMap<String, Vec<String>>;

/// The targets that are no chains.
const STANDARD: [&str; 4] = ["RETURN", "DROP", "REDIRECT", "CT"];

/// What is in the kernel.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Kernel(BTreeMap<String, Chains>);

impl Kernel {
    /// The kernel's own chains, with rules and chains of others among them, which no text of ours may touch.
    fn of_others(seed: u8) -> Self {
        let mut kernel = Self::default();
        kernel
            .restore("*filter\n:MINE - [0:0]\n-A INPUT -j MINE\n-A MINE -p tcp -j DROP\nCOMMIT\n");
        for table in ["raw", "mangle", "nat"] {
            let count = seed % 3;
            let rules =
                (0..count).map(|mark| format!("-A OUTPUT -m mark --mark {mark} -j RETURN\n"));
            let rules: String = rules.collect();
            kernel.restore(&format!(
                "*{table}\n:OTHER - [0:0]\n{rules}-A PREROUTING -j OTHER\nCOMMIT\n"
            ));
        }
        kernel
    }

    /// Each table of the text is a transaction.
    fn restore(&mut self, text: &str) {
        let mut table = None;
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match (words[0], &mut table) {
                ("COMMIT", open) => {
                    let (name, chains) = open.take().expect("a table is open");
                    self.0.insert(name, chains);
                }
                (start, None) => {
                    let name = start.strip_prefix('*').expect("a table begins");
                    table = Some((name.to_owned(), self.chains(name)));
                }
                (_, Some((_, chains))) => change(chains, &words),
            }
        }
        assert_eq!(table, None, "the last transaction is committed");
    }

    fn chains(&self, name: &str) -> Chains {
        let builtin = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
        let empty = || {
            builtin
                .iter()
                .map(|chain| ((*chain).to_owned(), Vec::new()))
                .collect()
        };
        self.0.get(name).cloned().unwrap_or_else(empty)
    }

    /// What `iptables-save` prints.
    fn save(&self) -> String {
        let mut text = String::new();
        for (name, chains) in &self.0 {
            text += &format!("# Generated\n*{name}\n");
            for chain in chains.keys() {
                let policy = if is_builtin(chain) { "ACCEPT" } else { "-" };
                text += &format!(":{chain} {policy} [0:0]\n");
            }
            for (chain, rules) in chains {
                text.extend(rules.iter().map(|rule| format!("-A {chain} {rule}\n")));
            }
            text += "COMMIT\n";
        }
        text
    }

    fn install(&mut self, options: &CaptureOptions) -> Plan {
        let plan = Plan::install(&ruleset(options), &Saved::parse(&self.save()));
        self.restore(&plan.text);
        plan
    }

    fn clean(&mut self) {
        self.restore(&Plan::removal(&Saved::parse(&self.save())));
    }

    /// The rules and chains that are not ours, in their order.
    fn others(&self) -> Self {
        let mut others = self.clone();
        for chains in others.0.values_mut() {
            chains.retain(|chain, _| Chain::of_name(chain).is_none());
            for rules in chains.values_mut() {
                rules.retain(|rule| target(rule).and_then(Chain::of_name).is_none());
            }
        }
        others
    }

    /// How often each of the kernel's chains leads to each of ours, by table.
    fn jumps(&self) -> BTreeMap<(String, String, String), usize> {
        let mut jumps = BTreeMap::new();
        for (table, chains) in &self.0 {
            for (chain, rules) in chains.iter().filter(|(chain, _)| is_builtin(chain)) {
                for name in rules.iter().filter_map(|rule| target(rule)) {
                    if Chain::of_name(name).is_some() {
                        *jumps
                            .entry((table.clone(), chain.clone(), name.to_owned()))
                            .or_default() += 1;
                    }
                }
            }
        }
        jumps
    }
}

fn change(chains: &mut Chains, words: &[&str]) {
    let rule = words.get(2..).unwrap_or_default().join(" ");
    match *words {
        ["-A", chain, ..] => {
            let target = target(&rule).expect("a rule has a target");
            let is_known = STANDARD.contains(&target) || chains.contains_key(target);
            assert!(is_known, "there is no {target}");
            chains
                .get_mut(chain)
                .expect("the chain is there")
                .push(rule);
        }
        ["-D", chain, ..] => {
            let rules = chains.get_mut(chain).expect("the chain is there");
            let index = rules.iter().position(|have| *have == rule);
            rules.remove(index.expect("the rule is there"));
        }
        ["-F", chain] => chains.get_mut(chain).expect("the chain is there").clear(),
        ["-X", chain] => {
            let is_used = chains
                .values()
                .flatten()
                .any(|rule| target(rule) == Some(chain));
            let rules = chains.remove(chain).expect("the chain is there");
            assert!(rules.is_empty() && !is_used, "{chain} cannot be deleted");
        }
        [declared, "-", "[0:0]"] => {
            let chain = declared.strip_prefix(':').expect("a chain is declared");
            assert!(!is_builtin(chain));
            chains.insert(chain.to_owned(), Vec::new());
        }
        _ => panic!("not known: {words:?}"),
    }
}

fn target(rule: &str) -> Option<&str> {
    rule.split("-j ").nth(1)?.split(' ').next()
}

fn is_builtin(chain: &str) -> bool {
    !chain.contains('_') && !["OTHER", "MINE", "LATER"].contains(&chain)
}

fn ruleset(options: &CaptureOptions) -> Ruleset {
    Ruleset::new(options, Family::V4, &["10.96.0.10".parse().unwrap()])
}

proptest! {
    /// Whatever was there before: the second time nothing is left to do, and doing it all the same changes nothing.
    #[test]
    fn installing_twice_is_installing_once(
        others in any::<u8>(), before in any_options(), options in any_options(),
    ) {
        let mut kernel = Kernel::of_others(others);
        kernel.install(&before);
        kernel.install(&options);
        let once = kernel.clone();
        let second = kernel.install(&options);
        prop_assert!(second.is_done());
        prop_assert_eq!(&kernel, &once);
        prop_assert!(kernel.jumps().values().all(|count| *count == 1), "{:?}", kernel.jumps());
    }

    /// What is in force depends on the last options alone.
    #[test]
    fn nothing_remains_of_options_before(before in any_options(), options in any_options()) {
        let mut changed = Kernel::of_others(0);
        changed.install(&before);
        changed.install(&options);
        let mut fresh = Kernel::of_others(0);
        fresh.install(&options);
        prop_assert_eq!(changed.save(), fresh.save());
    }

    /// Others' rules stay as they are and where they are, also those that came later.
    #[test]
    fn others_rules_stay(others in any::<u8>(), before in any_options(), options in any_options()) {
        let mut kernel = Kernel::of_others(others);
        kernel.install(&before);
        kernel.restore("*nat\n:LATER - [0:0]\n-A LATER -j RETURN\n-A OUTPUT -m mark --mark 9 -j RETURN\nCOMMIT\n");
        let (left, once) = (kernel.others(), kernel.clone());
        kernel.install(&before);
        prop_assert_eq!(&kernel, &once, "a jump stays in its place");
        kernel.install(&options);
        prop_assert_eq!(kernel.others(), left);
    }

    /// Removing leaves what was there before, and does so again where nothing is.
    #[test]
    fn removing_leaves_what_was_there(others in any::<u8>(), options in any_options()) {
        let untouched = Kernel::of_others(others);
        let mut kernel = untouched.clone();
        kernel.clean();
        prop_assert_eq!(&kernel, &untouched);
        kernel.install(&options);
        kernel.clean();
        prop_assert_eq!(&kernel, &untouched);
        kernel.clean();
        prop_assert_eq!(&kernel, &untouched);
    }
}

#[test]
fn jumps_that_are_there_twice_are_made_one() {
    let options = CaptureOptions::default();
    let mut kernel = Kernel::of_others(1);
    kernel.install(&options);
    let once = kernel.clone();
    kernel.restore(
        "*nat\n-A OUTPUT -j ISTIO_OUTPUT\n-A PREROUTING -p tcp -j ISTIO_INBOUND\nCOMMIT\n",
    );
    assert!(!kernel.install(&options).has_all_jumps);
    assert_eq!(kernel, once);
}

#[test]
fn a_jump_of_another_form_is_replaced() {
    let mut kernel = Kernel::of_others(1);
    kernel.restore(
        "*nat\n:ISTIO_OUTPUT - [0:0]\n-A OUTPUT -p tcp -m comment --comment mesh -j ISTIO_OUTPUT\nCOMMIT\n",
    );
    kernel.install(&CaptureOptions::default());
    let mut fresh = Kernel::of_others(1);
    fresh.install(&CaptureOptions::default());
    assert_eq!(kernel, fresh);
}
