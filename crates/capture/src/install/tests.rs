//! What is run, and in which order, with tools that only take notes.

use super::{Action, Request, Session};
use crate::backend::Backend;
use crate::error::Error;
use crate::iptables::Variant;
use crate::machine::Ipv6State;
use crate::options::{CaptureOptions, DnsCapture, Ipv6, Layout};
use crate::process::Toolbox;
use crate::test_tools::put;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const OURS: &str = "*nat\n:ISTIO_OUTPUT - [0:0]\nCOMMIT\n";
const OTHERS: &str = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -j ACCEPT\nCOMMIT\n";
const NONE: &str = "*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";

const V4_ONLY: Ipv6State = Ipv6State {
    is_on: false,
    leads_outside: false,
    has_own_source: false,
};
const LOCAL_V6: Ipv6State = Ipv6State {
    is_on: true,
    leads_outside: false,
    has_own_source: false,
};
const WITH_V6: Ipv6State = Ipv6State {
    is_on: true,
    leads_outside: true,
    has_own_source: false,
};

/// A machine whose tools are scripts. Each notes that it changed something; `iptables-restore` keeps what it was given,
/// and the matching `iptables-save` prints that from then on.
struct Machine {
    folder: TempDir,
    ipv6: Ipv6State,
}

impl Machine {
    fn new(ipv6: Ipv6State) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            ipv6,
        }
    }

    /// A variant of iptables with these rules.
    fn with(self, name: &str, rules: &str) -> Self {
        let kept = self.path(&format!("{name}.rules"));
        fs::write(&kept, rules).unwrap();
        let (kept, notes) = (kept.display(), self.path("notes"));
        self.put(&format!("{name}-save"), &format!("cat {kept}"));
        let notes = notes.display();
        let restore = format!("cat > {kept}\necho {name}-restore \"$@\" >> {notes}");
        self.put(&format!("{name}-restore"), &restore);
        self
    }

    fn with_script(self, name: &str, script: &str) -> Self {
        self.put(name, script);
        self
    }

    /// A tool that notes how it was called, but for questions.
    fn with_notes_of(self, name: &str, answer: &str) -> Self {
        let notes = self.path("notes");
        let script = format!(
            "case $1 in list) printf '{answer}' ;; *) echo {name} \"$@\" >> {notes}; cat >> {notes}.input ;; esac",
            notes = notes.display()
        );
        self.put(name, &script);
        self
    }

    fn put(&self, name: &str, script: &str) {
        put(self.folder.path(), name, script);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn notes(&self) -> String {
        fs::read_to_string(self.path("notes")).unwrap_or_default()
    }

    fn run(&self, request: &Request) -> Result<String, Error> {
        // Scripts need `cat`, and nothing else of the machine.
        let bin = self.path("bin");
        fs::create_dir_all(&bin).unwrap();
        let cat = ["/bin/cat", "/usr/bin/cat"]
            .iter()
            .find(|path| fs::exists(path).unwrap())
            .unwrap();
        let _ = std::os::unix::fs::symlink(cat, bin.join("cat"));
        let toolbox = Toolbox::of(
            vec![self.folder.path().to_owned(), bin],
            Duration::from_secs(20),
        );
        let mut out = Vec::new();
        Session::of(toolbox, self.ipv6).run(request, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }
}

fn request(action: Action, backend: Backend) -> Request {
    Request {
        action,
        options: CaptureOptions::default(),
        resolv_conf: PathBuf::from("/nonexistent/resolv.conf"),
        backend,
        is_forced: false,
        notes: Vec::new(),
    }
}

fn install() -> Request {
    request(Action::Install, Backend::Auto)
}

#[test]
fn the_variant_that_has_rules_is_used() {
    for (nft, legacy, want) in [
        (
            NONE,
            NONE,
            "IPv4: installed with iptables-nft, the machine's default",
        ),
        (
            NONE,
            OTHERS,
            "IPv4: installed with iptables-legacy, which has rules already",
        ),
        (
            OTHERS,
            OTHERS,
            "IPv4: installed with iptables-nft, which has rules already",
        ),
        (
            OTHERS,
            OURS,
            "IPv4: installed with iptables-legacy, which had them before",
        ),
    ] {
        let machine = Machine::new(V4_ONLY)
            .with("iptables-nft", nft)
            .with("iptables-legacy", legacy);
        let out = machine.run(&install()).unwrap();
        let note = "note: IPv6 is skipped: the machine does not have it";
        assert_eq!(out, format!("{note}\n{want}\n"));
    }
}

#[test]
fn the_default_is_what_plain_iptables_is() {
    let legacy = "echo 'iptables-save v1.8.9 (legacy)'";
    let machine = Machine::new(V4_ONLY)
        .with("iptables-nft", NONE)
        .with("iptables-legacy", NONE)
        .with_script("iptables-save", legacy);
    let out = machine.run(&install()).unwrap();
    assert!(
        out.ends_with("IPv4: installed with iptables-legacy, the machine's default\n"),
        "{out}"
    );

    let machine = Machine::new(V4_ONLY).with("iptables", NONE);
    let out = machine.run(&install()).unwrap();
    assert!(
        out.ends_with("IPv4: installed with iptables, the machine's default\n"),
        "{out}"
    );
    assert_eq!(machine.notes(), "iptables-restore --noflush -w 30\n");
}

#[test]
fn what_an_earlier_run_left_elsewhere_is_removed() {
    let machine = Machine::new(V4_ONLY)
        .with("iptables-nft", OTHERS)
        .with("iptables-legacy", OURS)
        .with_notes_of("nft", "table ip nat\\ntable ip tidegate\\n");
    let forced = request(Action::Install, Backend::Iptables(Variant::Nft));
    let out = machine.run(&forced).unwrap();
    assert!(
        out.contains("IPv4: installed with iptables-nft, as asked for\n"),
        "{out}"
    );
    assert!(
        out.contains("IPv4: removed from iptables-legacy\n"),
        "{out}"
    );
    assert!(out.contains("IPv4: removed from nft\n"), "{out}");
    let want =
        "iptables-nft-restore --noflush -w 30\niptables-legacy-restore --noflush -w 30\nnft -f -\n";
    assert_eq!(
        machine.notes(),
        want,
        "the new ones are there before the old ones go"
    );
}

#[test]
fn what_is_in_place_is_left_alone_unless_it_is_forced() {
    let machine = Machine::new(V4_ONLY).with("iptables-nft", NONE);
    machine.run(&install()).unwrap();
    let out = machine.run(&install()).unwrap();
    assert!(
        out.ends_with("IPv4: already in place with iptables-nft, which had them before\n"),
        "{out}"
    );
    assert_eq!(machine.notes().lines().count(), 1);
    // It changes nothing, since this restore only takes notes.
    let notes = machine.path("notes");
    let script = format!("echo forced >> {}", notes.display());
    let machine = machine.with_script("iptables-nft-restore", &script);
    let forced = Request {
        is_forced: true,
        ..install()
    };
    let out = machine.run(&forced).unwrap();
    assert!(
        out.ends_with("IPv4: installed with iptables-nft, which had them before\n"),
        "{out}"
    );
    assert!(machine.notes().ends_with("forced\n"));
}

#[test]
fn nftables_are_used_where_iptables_is_not() {
    let machine = Machine::new(V4_ONLY).with_notes_of("nft", "table ip6 tidegate\\n");
    let out = machine.run(&install()).unwrap();
    assert!(out.ends_with("IPv4: installed with nft\n"), "{out}");
    let input = fs::read_to_string(machine.path("notes.input")).unwrap();
    assert!(
        input.starts_with("delete table ip6 tidegate\nadd table ip tidegate\n"),
        "{input}"
    );
}

#[test]
fn a_machine_without_tools_is_told_what_to_install() {
    let machine = Machine::new(V4_ONLY);
    let told = |backend| {
        machine
            .run(&request(Action::Install, backend))
            .unwrap_err()
            .to_string()
    };
    let want = "is not installed: install the package iptables, or nftables for --native-nftables";
    assert_eq!(told(Backend::Auto), format!("iptables {want}"));
    assert_eq!(
        told(Backend::Iptables(Variant::Legacy)),
        format!("iptables-legacy {want}")
    );
    assert_eq!(told(Backend::Nftables), format!("nft {want}"));
    let cleaned = machine.run(&request(Action::Clean, Backend::Auto)).unwrap();
    assert_eq!(cleaned, "nothing of ours is installed\n");
}

#[test]
fn ipv6_is_installed_where_the_machine_has_it() {
    let machine = Machine::new(WITH_V6)
        .with("iptables-nft", NONE)
        .with("ip6tables-nft", NONE)
        .with_notes_of("ip", "");
    let out = machine.run(&install()).unwrap();
    assert_eq!(
        out,
        "IPv6: ::6 added to lo\nIPv4: installed with iptables-nft, the machine's default\n\
         IPv6: installed with ip6tables-nft, the machine's default\n"
    );
    assert_eq!(
        machine.notes(),
        "ip -6 addr add ::6/128 dev lo\niptables-nft-restore --noflush -w 30\n\
         ip6tables-nft-restore --noflush -w 30\n"
    );
}

#[test]
fn ipv6_that_leads_nowhere_may_fail_and_other_may_not() {
    let tools = |ipv6| {
        Machine::new(ipv6)
            .with("iptables-nft", NONE)
            .with_notes_of("ip", "")
    };
    let out = tools(LOCAL_V6).run(&install()).unwrap();
    let want = "IPv6: skipped, the machine has no address to lose: ip6tables is not installed";
    assert!(out.contains(want), "{out}");
    let error = tools(WITH_V6).run(&install()).unwrap_err();
    assert!(
        error.to_string().starts_with("ip6tables is not installed"),
        "{error}"
    );
}

#[test]
fn without_ip_there_is_no_ipv6() {
    let tools = |ipv6| {
        Machine::new(ipv6)
            .with("iptables-nft", NONE)
            .with("ip6tables-nft", NONE)
    };
    let out = tools(LOCAL_V6).run(&install()).unwrap();
    let want = "IPv6: skipped, the machine has no address to lose: `ip` is not installed";
    assert!(out.starts_with(want), "{out}");
    assert!(matches!(tools(WITH_V6).run(&install()), Err(Error::NoIp)));
    let mut without = install();
    without.options.ipv6 = Ipv6::Off;
    let machine = tools(WITH_V6);
    let out = machine.run(&without).unwrap();
    assert!(
        out.starts_with("note: IPv6 is left out: what goes over it passes by the agent\n"),
        "{out}"
    );
    assert_eq!(machine.notes(), "iptables-nft-restore --noflush -w 30\n");
}

#[test]
fn a_variant_that_the_kernel_does_not_know_is_passed_over() {
    let machine = Machine::new(V4_ONLY)
        .with("iptables-legacy", NONE)
        .with("iptables-nft", NONE);
    let broken = "echo 'Failed to initialize nft: Protocol not supported' >&2; exit 1";
    let machine = machine.with_script("iptables-nft-save", broken);
    let out = machine.run(&install()).unwrap();
    assert!(
        out.ends_with("IPv4: installed with iptables-legacy, the machine's default\n"),
        "{out}"
    );
    machine.run(&request(Action::Clean, Backend::Auto)).unwrap();
}

#[test]
fn a_tool_that_is_not_used_and_fails_is_no_reason_to_fail() {
    let machine = Machine::new(V4_ONLY)
        .with("iptables-nft", NONE)
        .with("iptables-legacy", NONE)
        .with_script("iptables-legacy-save", "echo broken >&2; exit 1");
    let out = machine.run(&install()).unwrap();
    assert!(
        out.contains("IPv4: installed with iptables-nft, the machine's default\n"),
        "{out}"
    );
    let want = "note: rules of an earlier run may be left elsewhere: `iptables-legacy-save` failed (exit status: 1): broken\n";
    assert!(out.ends_with(want), "{out}");
    assert!(
        machine.run(&request(Action::Clean, Backend::Auto)).is_err(),
        "cleaning is to find everything"
    );
}

#[test]
fn cleaning_without_permission_is_an_error() {
    let machine = Machine::new(V4_ONLY).with("iptables-nft", NONE);
    let broken = "echo 'Permission denied (you must be root)' >&2; exit 4";
    let machine = machine.with_script("iptables-nft-save", broken);
    let error = machine
        .run(&request(Action::Clean, Backend::Auto))
        .unwrap_err();
    assert!(error.to_string().contains("NET_ADMIN"), "{error}");
    assert!(!error.is_usage());
}

#[test]
fn jumps_that_never_settle_are_told() {
    let machine = Machine::new(V4_ONLY).with("iptables-nft", OURS);
    let twice = "*nat\n-A OUTPUT -j ISTIO_OUTPUT\n-A OUTPUT -j ISTIO_OUTPUT\nCOMMIT\n";
    let machine = machine.with_script("iptables-nft-save", &format!("printf '{twice}'"));
    let error = machine.run(&install()).unwrap_err();
    let want = "another program changes the rules of iptables-nft at the same time: run it again";
    assert_eq!(error.to_string(), want);
    assert_eq!(machine.notes().lines().count(), 3);
}

#[test]
fn name_servers_that_cannot_be_read_are_told() {
    let mut request = install();
    request.options.layout = Layout::Istio {
        inbound_port: 15006,
        tunnel_port: 15008,
        dns: DnsCapture::NameServers,
    };
    let error = Machine::new(V4_ONLY).run(&request).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the name servers of /nonexistent/resolv.conf; name another file by --resolv-conf, or capture \
         all queries by --capture-all-dns"
    );
}
