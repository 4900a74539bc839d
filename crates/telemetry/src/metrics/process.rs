//! Metrics of the process, under the names that Prometheus' own clients use, or those with a prefix.
//!
//! Read from `/proc/self`; where there is none, they are zero.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Registry};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Memory in use, in bytes, resident and reserved.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Memory {
    /// In RAM now.
    pub(crate) resident: u64,
    /// In RAM at most so far.
    pub(crate) peak: u64,
    /// Addresses reserved.
    pub(crate) reserved: u64,
}

impl Memory {
    /// Of this process; `None` where there is no `/proc`.
    pub(crate) fn now() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim()
                .trim_end_matches(" kB")
                .parse()
                .ok()
                .map(|kib: u64| kib * 1024)
        };
        Some(Self {
            resident: bytes("VmRSS:")?,
            peak: bytes("VmHWM:")?,
            reserved: bytes("VmSize:")?,
        })
    }
}

/// `prefix` goes before each name, and may be empty.
pub(super) fn register(registry: &Registry, prefix: &str) {
    registry
        .register(Box::new(Process::new(prefix)))
        .expect("the names below are distinct");
}

/// Reads its values when it is scraped.
struct Process {
    resident: Gauge,
    reserved: Gauge,
    cpu: Counter,
    open_fds: Gauge,
    max_fds: Gauge,
    started: Gauge,
}

impl Process {
    fn new(prefix: &str) -> Self {
        let started = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let gauge = |name: &str, help| {
            let gauge = Gauge::new(format!("{prefix}process_{name}"), help);
            gauge.expect("the name is well-formed")
        };
        let cpu = format!("{prefix}process_cpu_seconds_total");
        let cpu = Counter::new(cpu, "CPU time used.");
        let process = Self {
            resident: gauge("resident_memory_bytes", "Memory in RAM."),
            reserved: gauge("virtual_memory_bytes", "Addresses reserved."),
            cpu: cpu.expect("the name is well-formed"),
            open_fds: gauge("open_fds", "File descriptors in use."),
            max_fds: gauge("max_fds", "File descriptors allowed."),
            started: gauge("start_time_seconds", "When the process started."),
        };
        process.started.set(started.as_secs_f64());
        process
    }

    fn all(&self) -> [&dyn Collector; 6] {
        [
            &self.resident,
            &self.reserved,
            &self.cpu,
            &self.open_fds,
            &self.max_fds,
            &self.started,
        ]
    }

    fn read(&self) {
        let memory = Memory::now().unwrap_or_default();
        self.resident.set(memory.resident as f64);
        self.reserved.set(memory.reserved as f64);
        self.cpu.reset();
        self.cpu.inc_by(cpu_seconds());
        self.open_fds.set(open_fds() as f64);
        self.max_fds
            .set(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) as f64);
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        self.all()
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}

fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

fn open_fds() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
