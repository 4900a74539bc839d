//! What complaints of the tools mean, and what to do about them.

/// What is behind a complaint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cause {
    /// The process may not change rules.
    Denied,
    /// The lock of iptables is held by another.
    Locked,
    /// The lock of iptables cannot be made.
    NoLock,
    /// The kernel has not the table.
    NoTable,
    /// The tool or the kernel has not what a rule uses.
    NoExtension,
    /// The kernel does not speak with the tool.
    NoKernel,
    /// The machine knows no such user or group.
    NoOwner,
    /// The table has rules that iptables does not understand.
    Foreign,
    /// Anything else: the complaint says it.
    Unknown,
}

/// What complaints contain, in the words of iptables-legacy, iptables-nft, nft and ip. The first that fits counts.
const SIGNS: [(&str, Cause); 20] = [
    ("lock file", Cause::NoLock),
    ("is incompatible", Cause::Foreign),
    ("you must be root", Cause::Denied),
    ("Operation not permitted", Cause::Denied),
    ("Permission denied", Cause::Denied),
    ("xtables lock", Cause::Locked),
    ("do you need to insmod", Cause::NoTable),
    ("Table does not exist", Cause::NoTable),
    ("can't initialize", Cause::NoTable),
    ("unable to initialize table", Cause::NoTable),
    ("TABLE_ADD failed", Cause::NoTable),
    ("Bad value for \"--uid-owner\"", Cause::NoOwner),
    ("Bad value for \"--gid-owner\"", Cause::NoOwner),
    ("User does not exist", Cause::NoOwner),
    ("Group does not exist", Cause::NoOwner),
    ("Failed to initialize nft", Cause::NoKernel),
    ("Protocol not supported", Cause::NoKernel),
    ("Couldn't load", Cause::NoExtension),
    ("missing kernel module", Cause::NoExtension),
    ("No such file or directory", Cause::NoExtension),
];

impl Cause {
    /// What is behind this complaint.
    pub(crate) fn of(complaint: &str) -> Self {
        let fits = |sign: &&(&str, Self)| complaint.contains(sign.0);
        SIGNS
            .iter()
            .find(fits)
            .map_or(Self::Unknown, |(_, cause)| *cause)
    }

    /// What to do, as the end of a message.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Denied => {
                "; rules need root with the capabilities NET_ADMIN and NET_RAW: in a pod, \
                 securityContext.capabilities.add of the container that installs them"
            }
            Self::Locked => "; another program is changing rules: try again when it has ended",
            Self::NoLock => {
                "; iptables-legacy needs a writable /run: mount one, name another file by \
                 XTABLES_LOCKFILE, or use --force-iptables-binary nft"
            }
            Self::NoTable => {
                "; the kernel lacks the table: load its module on the node (iptable_nat, ip6table_nat, \
                 iptable_raw, iptable_mangle or nf_tables), or try another kind of rules by \
                 --force-iptables-binary or --native-nftables"
            }
            Self::NoExtension => {
                "; the tool or the kernel lacks something that a rule uses: load its module on the node \
                 (nf_nat, xt_REDIRECT, xt_owner, xt_multiport, xt_conntrack, xt_CT, or nft_redir and nft_ct \
                 for --native-nftables)"
            }
            Self::NoKernel => {
                "; the kernel does not know this kind of rules: choose another by --force-iptables-binary or \
                 --native-nftables"
            }
            Self::Foreign => {
                "; another program keeps rules there that were made by nft: use --native-nftables, or \
                 --force-iptables-binary legacy"
            }
            Self::NoOwner => "; name a user or group that this machine has, or give its number",
            Self::Unknown => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_understood() {
        for (complaint, want) in [
            (
                "iptables-nft-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: \
                 Permission denied (you must be root)",
                Cause::Denied,
            ),
            (
                "/dev/stdin:1:1-15: Error: Could not process rule: Operation not permitted",
                Cause::Denied,
            ),
            (
                "Failed to list table names in /proc/net/ip_tables_names: Permission denied",
                Cause::Denied,
            ),
            ("RTNETLINK answers: Operation not permitted", Cause::Denied),
            (
                "Fatal: can't open lock file /run/xtables.lock: Read-only file system",
                Cause::NoLock,
            ),
            (
                "Another app is currently holding the xtables lock; still 9s 0us time ahead to have a chance",
                Cause::Locked,
            ),
            (
                "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'nat'",
                Cause::NoTable,
            ),
            (
                "can't initialize iptables table `nat': Table does not exist (do you need to insmod?)",
                Cause::NoTable,
            ),
            (
                "Couldn't load match `owner':No such file or directory",
                Cause::NoExtension,
            ),
            (
                "Warning: Extension owner revision 0 not supported, missing kernel module?",
                Cause::NoExtension,
            ),
            (
                "line 6: RULE_APPEND failed (No such file or directory): rule in chain ISTIO_OUTPUT",
                Cause::NoExtension,
            ),
            (
                "Failed to initialize nft: Protocol not supported",
                Cause::NoKernel,
            ),
            (
                "owner: Bad value for \"--uid-owner\" option: \"nobodyx\"",
                Cause::NoOwner,
            ),
            ("iptables-restore: line 8 failed", Cause::Unknown),
        ] {
            assert_eq!(Cause::of(complaint), want, "{complaint}");
        }
    }
}
