//! Compiles the C variant once per lock flavour and tells the benchmark how.

use std::env;
use std::process::Command;

/// Lock flavour, and its number in c/lock.h.
const FLAVOURS: [(&str, &str); 3] = [("pause", "1"), ("yield", "2"), ("mutex", "3")];

fn main() {
    println!("cargo::rerun-if-changed=c");
    let mut flags = String::new();
    for (flavour, lock) in FLAVOURS {
        let mut build = cc::Build::new();
        build.file("c/variant.c").std("c11").opt_level(3).debug(false).warnings(true).extra_warnings(true);
        build.flag("-fvisibility=hidden").define("PBC_FLAVOUR", flavour).define("PBC_LOCK", lock);
        if let Some(march) = march() {
            build.flag(format!("-march={march}"));
        }
        let compiler = build.get_compiler();
        let args = compiler.args().iter().map(|arg| arg.to_string_lossy());
        flags = args.filter(|arg| !arg.starts_with("-D")).collect::<Vec<_>>().join(" ");
        build.compile(&format!("pagebuddy_c_{flavour}"));
    }
    println!("cargo::rustc-env=PAGEBUDDY_BENCH_CFLAGS={flags}");
    println!("cargo::rustc-env=PAGEBUDDY_BENCH_MARCH={}", march().unwrap_or_default());
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    println!("cargo::rustc-env=PAGEBUDDY_BENCH_RUSTC={}", String::from_utf8_lossy(&version).trim());
    let opt_level = env::var("OPT_LEVEL").unwrap_or_default();
    println!("cargo::rustc-env=PAGEBUDDY_BENCH_OPT_LEVEL={opt_level}");
}

/// The machine the Rust code is built for, in the C compiler's words; `None` leaves the default of
/// both.
fn march() -> Option<String> {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let mut target_cpu = flags.split('\x1f').filter_map(|flag| {
        let flag = flag.strip_prefix("-C").unwrap_or(flag);
        flag.strip_prefix("target-cpu=").map(str::to_owned)
    });
    let default = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("x86_64") => Some("x86-64".to_owned()),
        _ => None,
    };
    target_cpu.next_back().or(default)
}
