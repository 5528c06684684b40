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
    /// Its memory.
    pub memory: String,
    /// Whether it maps huge pages by itself.
    pub huge_pages: String,
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
            memory: memory(&read("/proc/meminfo")),
            huge_pages: chosen(&read("/sys/kernel/mm/transparent_hugepage/enabled")).to_owned(),
            load: load(),
            date: output("date", &["-u", "+%Y-%m-%d"]),
            cc: build.split(',').next().unwrap_or_default().to_owned(),
        }
    }
}

/// Runnable tasks over the last minute.
pub fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or("unknown").to_owned()
}

fn memory(meminfo: &str) -> String {
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<f64>().ok())
        .map_or("unknown".to_owned(), |kib| format!("{:.1} GiB", kib / f64::from(1 << 20)))
}

/// The choice in brackets.
fn chosen(choices: &str) -> &str {
    choices.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("unknown", |(choice, _)| choice)
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// How everything was built.
struct Build<'a> {
    debug_assertions: bool,
    opt_level: &'a str,
    march: &'a str,
    /// Arguments of the C compiler.
    cflags: &'a str,
    /// Flavour of the functions' names, and what the object file says of itself.
    flavours: [(&'static str, String); 3],
}

/// What would slow the C variant down.
const HANDICAPS: [&str; 6] = ["-fsanitize", "-pg", "-fprofile", "--coverage", "-fno-inline", "-fno-builtin"];

impl Build<'_> {
    fn check(&self) -> Result<(), String> {
        let Build { opt_level, march, cflags, .. } = *self;
        if self.debug_assertions || opt_level != "3" {
            return Err(format!("the Rust code has optimisation level {opt_level}; use --release"));
        }
        let flags = || cflags.split(' ');
        let last = |prefix: &str| flags().rfind(|flag| flag.starts_with(prefix)).unwrap_or_default();
        if last("-O") != "-O3" {
            return Err(format!("the C variant was built with {cflags}, not with -O3; is CFLAGS set?"));
        }
        if last("-march=").strip_prefix("-march=").unwrap_or_default() != march {
            return Err(format!("the C variant was built with {cflags}, the Rust code for {march}; is CFLAGS set?"));
        }
        if let Some(flag) = flags().find(|flag| HANDICAPS.iter().any(|handicap| flag.starts_with(handicap))) {
            return Err(format!("the C variant was built with {flag}; is CFLAGS set?"));
        }
        for (name, build) in &self.flavours {
            if build.split(", ").count() != 2 || !build.ends_with(&format!(", lock flavour {name}")) {
                return Err(format!("the C variant of flavour {name} says that it is \"{build}\""));
            }
        }
        Ok(())
    }
}

/// Says what is wrong with this build, if it would not give comparable numbers.
pub fn check_build() -> Result<(), String> {
    Build {
        debug_assertions: cfg!(debug_assertions),
        opt_level: OPT_LEVEL,
        march: MARCH,
        cflags: CFLAGS,
        flavours: [
            (Pause::NAME, CZone::<Pause>::build()),
            (Yield::NAME, CZone::<Yield>::build()),
            (Mutex::NAME, CZone::<Mutex>::build()),
        ],
    }
    .check()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Build<'static> {
        let flavour = |name| (name, format!("gcc 12.2.0, lock flavour {name}"));
        Build {
            debug_assertions: false,
            opt_level: "3",
            march: "x86-64",
            cflags: "-O3 -m64 -march=x86-64 -std=c11",
            flavours: ["pause", "yield", "mutex"].map(flavour),
        }
    }

    #[test]
    fn a_good_build_passes() {
        good().check().unwrap();
    }

    #[test]
    fn every_handicap_is_found() {
        let complaint = |build: Build<'_>| build.check().unwrap_err();
        assert!(complaint(Build { debug_assertions: true, ..good() }).contains("--release"));
        assert!(complaint(Build { opt_level: "1", ..good() }).contains("level 1"));
        for cflags in ["-O3 -march=x86-64 -O1", "-O3 -march=native", "-O3", "-O3 -march=x86-64 -fsanitize=thread"] {
            assert!(complaint(Build { cflags, ..good() }).contains("CFLAGS"), "{cflags}");
        }
        for wrong in ["gcc 12.2.0, not optimised, lock flavour yield", "gcc 12.2.0, lock flavour pause"] {
            let mut build = good();
            build.flavours[1].1 = wrong.to_owned();
            assert!(complaint(build).contains(wrong));
        }
    }

    #[test]
    fn the_flavours_are_what_their_names_say() {
        for (name, build) in [
            (Pause::NAME, CZone::<Pause>::build()),
            (Yield::NAME, CZone::<Yield>::build()),
            (Mutex::NAME, CZone::<Mutex>::build()),
        ] {
            assert!(build.ends_with(&format!(", lock flavour {name}")), "{build}");
        }
    }
}
