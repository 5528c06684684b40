//! The tables, as Markdown.

use crate::boot::BootRow;
use crate::host::{self, Host};
use crate::measure::{LatencyRow, PERCENTILES, Row};
use std::fmt::Write as _;

/// Everything that was measured.
#[derive(Debug, Default)]
pub struct Results {
    /// Throughput.
    pub rows: Vec<Row>,
    /// Latencies.
    pub latencies: Vec<LatencyRow>,
    /// What timing nothing takes.
    pub timer_overhead: u64,
    /// Booting.
    pub boots: Vec<BootRow>,
    /// Runnable tasks over the last minute when measuring ended.
    pub load_after: String,
}

/// The machine and the compilers.
pub fn host(host: &Host) -> String {
    let march = if host::MARCH.is_empty() { "the compilers' default" } else { host::MARCH };
    format!(
        "| | |\n|---|---|\n\
         | processor | {}, {} cpus |\n\
         | memory | {}, transparent huge pages: {} |\n\
         | kernel | {} |\n\
         | Rust | {}, opt-level {}, target {march} |\n\
         | C | {}, `{}` |\n\
         | date | {}, load {} when measuring began |\n",
        host.cpu,
        host.nr_cpus,
        host.memory,
        host.huge_pages,
        host.kernel,
        host::RUSTC,
        host::OPT_LEVEL,
        host.cc,
        host::CFLAGS,
        host.date,
        host.load,
    )
}

/// Nanoseconds with as many digits as mean something.
fn ns(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// Throughput with one number of threads.
pub fn throughput(rows: &[Row], nr_threads: usize) -> String {
    let mut text = String::from(
        "| level: work | pagebuddy, ns | C, ns (flavour) | **ratio** | to pause | to yield | to mutex |\n\
         |---|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in rows.iter().filter(|row| row.nr_threads == nr_threads) {
        let best = row.best_c();
        let name = match row.fallback_percent {
            Some(percent) => format!("{} ({percent:.1} % fall back)", row.work.name()),
            None => row.work.name(),
        };
        let _infallible = write!(
            text,
            "| {name} | {} | {} ({}) | **{:.2}** |",
            ns(row.rust.ns_per_op),
            ns(best.ns_per_op),
            best.name,
            row.ratio()
        );
        for flavour in &row.c {
            let _infallible = write!(text, " {:.2} |", row.ratio_to(flavour));
        }
        text.push('\n');
    }
    text
}

/// Latencies of all works and numbers of threads.
pub fn latencies(rows: &[LatencyRow]) -> String {
    let mut text = String::from("| level: work | threads | who |");
    for percentile in PERCENTILES {
        let _infallible = write!(text, " p{percentile} |");
    }
    text.push_str(" longest |\n|---|--:|---|--:|--:|--:|--:|--:|\n");
    for row in rows {
        let who = if row.name == "pagebuddy" { "**pagebuddy**".to_owned() } else { format!("C {}", row.name) };
        let _infallible = write!(text, "| {} | {} | {who} |", row.work.name(), row.nr_threads);
        for value in row.percentiles.into_iter().chain([row.max]) {
            let _infallible = write!(text, " {value} |");
        }
        text.push('\n');
    }
    text
}

/// Booting.
pub fn boots(rows: &[BootRow]) -> String {
    let mut text = String::from("| memory | boot, ms | resident, MiB | bytes per page |\n|--:|--:|--:|--:|\n");
    for row in rows {
        let _infallible = writeln!(
            text,
            "| {} GiB | {:.1} | {:.1} | {:.2} |",
            row.gib,
            row.time.as_secs_f64() * 1e3,
            row.resident as f64 / f64::from(1 << 20),
            row.bytes_per_page
        );
    }
    text
}
