//! What the numbers were measured on, and whether everything was built as it should be.

use crate::ffi::{CZone, Flavour, Mutex, Pause, Yield};
use std::fs;
use std::process::Command;
use std::thread;

/// Arguments of the C compiler.
pub const CFLAGS: &str = env!("PAGEBUDDY_BENCH_CFLAGS");
/// Architecture both compilers were told, or nothing.
pub const MARCH: &str = env!("PAGEBUDDY_BENCH_MARCH");
/// Optimisation level of the Rust code.
pub const OPT_LEVEL: &str = env!("PAGEBUDDY_BENCH_OPT_LEVEL");
/// The Rust compiler.
pub const RUSTC: &str = env!("PAGEBUDDY_BENCH_RUSTC");

/// Where and how the numbers were made.
#[derive(Clone, Debug)]
pub struct Host {
    /// Model of the processor.
    pub cpu: String,
    /// Processors of this machine.
    pub nr_cpus: usize,
    /// Operating system's kernel.
    pub kernel: String,
    /// Runnable tasks over the last minute when measuring began.
    pub load: String,
    /// Year, month, day.
    pub date: String,
    /// The C compiler.
    pub cc: String,
}

impl Host {
    /// Asks the machine.
    pub fn ask() -> Host {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        let build = CZone::<Pause>::build();
        Host {
            cpu: cpu.unwrap_or(std::env::consts::ARCH).to_owned(),
            nr_cpus: thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            date: output("date", &["-u", "+%Y-%m-%d"]),
            cc: build.split(',').next().unwrap_or_default().to_owned(),
        }
    }
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Says what is wrong with this build, if it would not give comparable numbers.
pub fn check_build() -> Result<(), String> {
    if cfg!(debug_assertions) || OPT_LEVEL != "3" {
        return Err(format!("the Rust code has optimisation level {OPT_LEVEL}; use --release"));
    }
    let last = |prefix: &str| CFLAGS.split(' ').rfind(|flag| flag.starts_with(prefix)).unwrap_or_default();
    if last("-O") != "-O3" {
        return Err(format!("the C variant was built with {CFLAGS}, not with -O3; is CFLAGS set?"));
    }
    if last("-march=").strip_prefix("-march=").unwrap_or_default() != MARCH {
        return Err(format!("the C variant was built with {CFLAGS}, the Rust code for {MARCH}; is CFLAGS set?"));
    }
    for (name, build) in [
        (Pause::NAME, CZone::<Pause>::build()),
        (Yield::NAME, CZone::<Yield>::build()),
        (Mutex::NAME, CZone::<Mutex>::build()),
    ] {
        if !build.ends_with(&format!("lock flavour {name}")) {
            return Err(format!("the C variant says it is \"{build}\", not flavour {name}"));
        }
    }
    Ok(())
}
