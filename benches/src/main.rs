//! `pagebuddy-bench [--quick] [--only TEXT] [--threads 1,2] [--write DIR]`

use pagebuddy_bench::document::document;
use pagebuddy_bench::measure::{self, Effort};
use pagebuddy_bench::report::{self, Results};
use pagebuddy_bench::workloads::Work;
use pagebuddy_bench::{boot, host, plots, summary, workloads};
use quanta::Clock;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: pagebuddy-bench [--quick] [--only TEXT] [--threads 1,2,...] [--write DIR]";

/// What the command line asks for.
struct Options {
    quick: bool,
    only: String,
    threads: Option<Vec<usize>>,
    write: Option<String>,
}

fn options() -> Option<Options> {
    let mut options = Options { quick: false, only: String::new(), threads: None, write: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => options.quick = true,
            "--only" => options.only = args.next()?,
            "--write" => options.write = Some(args.next()?),
            "--threads" => {
                let list: Option<Vec<usize>> =
                    args.next()?.split(',').map(|n| n.parse().ok().filter(|n| (1..=1024).contains(n))).collect();
                options.threads = Some(list?);
            }
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if let Err(problem) = host::check_build() {
        eprintln!("pagebuddy-bench: {problem}");
        return ExitCode::from(2);
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pagebuddy-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let host = host::Host::ask();
    let quick = options.quick;
    let threads = options.threads.clone().unwrap_or_else(|| if quick { vec![1, 2, 64] } else { vec![1, 2, 16, 64] });
    let effort = Effort {
        nr_ops: if quick { 100_000 } else { 1_000_000 },
        millis: if quick { 8 } else { 50 },
        nr_rounds: if quick { 5 } else { 9 },
        most_rounds: if quick { 5 } else { 27 },
        row_limit: Duration::from_millis(if quick { 500 } else { 3000 }),
        quick,
        huge_pages: true,
    };
    let works = || workloads::all().into_iter().filter(|work| work.name().contains(&options.only));
    // Many threads take long; the quick form leaves out most of their rows.
    let is_wanted = |work: &Work, nr_threads: usize| !quick || nr_threads <= 2 || work.is_highlight();
    println!("{}", report::host(&host));
    let mut results = Results::default();
    for &nr_threads in &threads {
        let first = results.rows.len();
        for work in works().filter(|work| is_wanted(work, nr_threads)) {
            results.rows.push(measure::throughput(work, nr_threads, effort)?);
        }
        let table = report::throughput(&results.rows[first..], nr_threads);
        println!("{nr_threads} threads, load {}\n\n{table}", host::load());
    }
    let clock = Clock::new();
    results.timer_overhead = measure::timer_overhead(&clock);
    let latency_effort = Effort { nr_rounds: if quick { 1 } else { 3 }, ..effort };
    for &nr_threads in &threads {
        for work in works().filter(|work| work.is_highlight() && (!quick || nr_threads <= 2)) {
            results.latencies.extend(measure::latencies(work, nr_threads, latency_effort, &clock)?);
        }
    }
    println!("{}", report::latencies(&results.latencies));
    let sizes = if quick { &boot::SIZES[..2] } else { &boot::SIZES[..] };
    for &gib in sizes {
        results.boots.push(boot::measure(gib, 3)?);
    }
    println!("{}", report::boots(&results.boots));
    results.load_after = host::load();
    println!("load {}\n\n{}", results.load_after, summary::summary(&results));
    if let Some(dir) = &options.write {
        let dir = Path::new(dir);
        let pictures = plots::write(&dir.join("benchmarks"), &results)?;
        fs::write(dir.join("benchmarks.md"), document(&host, effort, &results, &pictures))?;
    }
    Ok(())
}
