//! What the tables come to: geometric means, and the rows that miss the project's goals.

use crate::engines::Level;
use crate::measure::{LatencyRow, Row};
use crate::report::Results;
use crate::workloads::{Pattern, Work};
use std::fmt::Write as _;

/// What the goals tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Served from per-cpu lists.
    PerCpu,
    /// By bulk calls.
    Bulk,
    /// Served from the zone's lists, at least in part.
    Zone,
}

/// What a row measures.
pub fn kind(work: Work) -> Kind {
    match (work.level, work.pattern) {
        (_, Pattern::Bulk { .. }) => Kind::Bulk,
        (Level::Zone | Level::Steal, _) => Kind::Zone,
        // Blocks of other orders have no per-cpu lists.
        (_, Pattern::Pair { order } | Pattern::Ring { order, .. }) if order > 3 && order != 9 => Kind::Zone,
        (_, Pattern::Mixed { .. } | Pattern::Fallback) => Kind::Zone,
        (_, Pattern::Pair { .. } | Pattern::Ring { .. } | Pattern::Burst { .. } | Pattern::AllRandom) => Kind::PerCpu,
    }
}

/// A bound on the ratio of rows.
struct Goal {
    what: &'static str,
    limit: f64,
    nr_threads: usize,
    concerns: fn(Work) -> bool,
    /// The flavour that the ratio is to; `None` is the fastest.
    flavour: Option<&'static str>,
}

const GOALS: [Goal; 5] = [
    Goal {
        what: "1 thread, per-cpu lists and bulk",
        limit: 0.85,
        nr_threads: 1,
        concerns: |work| kind(work) != Kind::Zone,
        flavour: None,
    },
    Goal {
        what: "1 thread, zone",
        limit: 1.2,
        nr_threads: 1,
        concerns: |work| kind(work) == Kind::Zone,
        flavour: None,
    },
    Goal { what: "2 threads", limit: 0.9, nr_threads: 2, concerns: |_| true, flavour: None },
    Goal { what: "64 threads, to pause", limit: 0.6, nr_threads: 64, concerns: |_| true, flavour: Some("pause") },
    Goal { what: "64 threads, to yield", limit: 1.0, nr_threads: 64, concerns: |_| true, flavour: Some("yield") },
];

/// Limit of the geometric mean of the zone's rows with one thread.
const ZONE_MEAN: f64 = 1.0;

impl Goal {
    fn ratio(&self, row: &Row) -> f64 {
        let flavour = row.c.iter().find(|timing| Some(timing.name) == self.flavour);
        flavour.map_or_else(|| row.ratio(), |timing| row.ratio_to(timing))
    }
}

/// Geometric mean; `None` of nothing.
fn mean(ratios: impl Iterator<Item = f64>) -> Option<f64> {
    let logs: Vec<f64> = ratios.map(f64::ln).collect();
    (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
}

/// Appends a line on a goal: how many rows miss it, and which, the worst first.
fn tell(text: &mut String, what: &str, nr_rows: usize, mut above: Vec<(f64, String)>) {
    above.sort_by(|a, b| b.0.total_cmp(&a.0));
    let names: Vec<String> = above.iter().map(|(ratio, name)| format!("{name} **{ratio:.2}**")).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join("; ") };
    let _infallible = writeln!(text, "| {what} | {nr_rows} | {} | {names} |", above.len());
}

/// A row's latency at the last percentile over the least of the C variant's flavours.
fn tails(rows: &[LatencyRow]) -> Vec<(f64, String)> {
    let is_engine = |row: &&LatencyRow| row.name == "pagebuddy";
    let same = |a: &LatencyRow, b: &LatencyRow| a.work == b.work && a.nr_threads == b.nr_threads;
    let tail = |row: &LatencyRow| row.percentiles[row.percentiles.len() - 1];
    let ratio = |engine: &LatencyRow| {
        let best = rows.iter().filter(|row| !is_engine(row) && same(row, engine)).map(tail).min()?;
        let plural = if engine.nr_threads == 1 { "" } else { "s" };
        let name = format!("{}, {} thread{plural}", engine.work.name(), engine.nr_threads);
        Some((tail(engine) as f64 / best.max(1) as f64, name))
    };
    rows.iter().filter(is_engine).filter_map(ratio).collect()
}

/// Geometric means of the ratios, per level and number of threads.
fn means(rows: &[Row]) -> String {
    let mut threads: Vec<usize> = rows.iter().map(|row| row.nr_threads).collect();
    threads.sort_unstable();
    threads.dedup();
    let mut names: Vec<&str> = Vec::new();
    rows.iter().map(|row| row.work.level.name()).for_each(|name| {
        if !names.contains(&name) {
            names.push(name);
        }
    });
    let mut text = String::from("| level |");
    threads.iter().for_each(|n| text.push_str(&format!(" {n} thread{} |", if *n == 1 { "" } else { "s" })));
    text.push_str("\n|---|");
    threads.iter().for_each(|_| text.push_str("--:|"));
    for name in names.iter().map(|name| Some(*name)).chain([None]) {
        let _infallible = write!(text, "\n| {} |", name.unwrap_or("**all**"));
        for &nr_threads in &threads {
            let chosen = rows.iter().filter(|row| row.nr_threads == nr_threads);
            let chosen = chosen.filter(|row| name.is_none_or(|name| row.work.level.name() == name));
            let mean = mean(chosen.map(Row::ratio)).map_or_else(String::new, |mean| format!("{mean:.2}"));
            let _infallible = write!(text, " {mean} |");
        }
    }
    text + "\n"
}

/// The summary, as Markdown without a heading.
pub fn summary(results: &Results) -> String {
    let rows = &results.rows;
    let mut text = format!("Geometric means of the ratios to the fastest flavour:\n\n{}\n", means(rows));
    text.push_str("Goals, and the rows that miss them:\n\n| goal | rows | above | which |\n|---|--:|--:|---|\n");
    for goal in &GOALS {
        let chosen = || rows.iter().filter(|row| row.nr_threads == goal.nr_threads && (goal.concerns)(row.work));
        let ratios = chosen().map(|row| (goal.ratio(row), row.work.name()));
        let above = ratios.filter(|(ratio, _)| *ratio > goal.limit).collect();
        tell(&mut text, &format!("{}: at most {}", goal.what, goal.limit), chosen().count(), above);
    }
    let zone = || rows.iter().filter(|row| row.nr_threads == 1 && kind(row.work) == Kind::Zone);
    if let Some(mean) = mean(zone().map(Row::ratio)) {
        let above = if mean > ZONE_MEAN { vec![(mean, "the mean is".to_owned())] } else { Vec::new() };
        let what = format!("1 thread, zone, geometric mean: at most {ZONE_MEAN}");
        tell(&mut text, &what, zone().count(), above);
    }
    let tails = tails(&results.latencies);
    let (nr_tails, above) = (tails.len(), tails.into_iter().filter(|(ratio, _)| *ratio > 1.0).collect());
    tell(&mut text, "p99.99: at most that of the best flavour", nr_tails, above);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Timing;

    fn row(level: Level, pattern: Pattern, nr_threads: usize, rust: f64, c: [f64; 3]) -> Row {
        let timing = |name, ns_per_op| Timing { name, ns_per_op, best: ns_per_op, worst: ns_per_op, spread: 0.0 };
        let names = ["pause", "yield", "mutex"];
        Row {
            work: Work { level, pattern },
            nr_threads,
            rust: timing("pagebuddy", rust),
            c: names.into_iter().zip(c).map(|(name, ns)| timing(name, ns)).collect(),
            fallback_percent: None,
        }
    }

    fn latency(name: &'static str, tail: u64) -> LatencyRow {
        let work = Work { level: Level::Zone, pattern: Pattern::Pair { order: 9 } };
        LatencyRow { work, nr_threads: 2, name, percentiles: [1, 2, 3, tail], max: tail }
    }

    fn line<'a>(text: &'a str, start: &str) -> &'a str {
        text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start} in {text}"))
    }

    #[test]
    fn rows_above_their_goals_are_told() {
        let order_0 = Pattern::Pair { order: 0 };
        let results = Results {
            rows: vec![
                row(Level::Pcp, order_0, 1, 8.0, [10.0, 11.0, 12.0]),
                row(Level::Fixed, Pattern::Bulk { len: 64 }, 1, 9.0, [10.0, 11.0, 12.0]),
                row(Level::Zone, order_0, 1, 11.0, [10.0, 11.0, 12.0]),
                row(Level::Fixed, Pattern::Pair { order: 10 }, 1, 5.0, [11.0, 10.0, 12.0]),
                row(Level::Pcp, order_0, 64, 9.0, [20.0, 8.0, 7.0]),
            ],
            latencies: vec![latency("pagebuddy", 30), latency("pause", 40), latency("yield", 20)],
            ..Results::default()
        };
        let text = summary(&results);
        let bulk = "| 1 thread, per-cpu lists and bulk: at most 0.85 | 2 | 1 | machine, fixed cpu: bulk of 64, per page **0.90** |";
        assert_eq!(line(&text, "| 1 thread, per-cpu"), bulk);
        assert_eq!(line(&text, "| 1 thread, zone: "), "| 1 thread, zone: at most 1.2 | 2 | 0 | none |");
        assert!(line(&text, "| 1 thread, zone, geometric").ends_with("| 2 | 0 | none |"));
        assert!(line(&text, "| 64 threads, to pause").ends_with("| 1 | 0 | none |"));
        assert!(line(&text, "| 64 threads, to yield").ends_with("| 1 | 1 | pcp: order 0 pair **1.12** |"));
        assert!(line(&text, "| p99.99").ends_with("| 1 | 1 | zone: order 9 pair, 2 threads **1.50** |"));
        assert_eq!(line(&text, "| pcp |"), "| pcp | 0.80 | 1.29 |");
        assert_eq!(
            line(&text, "| **all** |"),
            format!("| **all** | {:.2} | 1.29 |", (0.8f64 * 0.9 * 1.1 * 0.5).powf(0.25))
        );
    }
}
