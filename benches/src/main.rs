//! `pagebuddy-bench [--quick] [--only TEXT] [--threads 1,2] [--write DIR]`

use pagebuddy_bench::document::document;
use pagebuddy_bench::measure::{self, Effort};
use pagebuddy_bench::report::{self, Results};
use pagebuddy_bench::{boot, host, plots, workloads};
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
    let threads = options.threads.clone().unwrap_or_else(|| if quick { vec![1, 2] } else { vec![1, 2, 16, 64] });
    let effort = Effort {
        nr_ops: if quick { 100_000 } else { 1_000_000 },
        millis: if quick { 8 } else { 100 },
        nr_rounds: if quick { 5 } else { 9 },
        row_limit: Duration::from_secs(if quick { 1 } else { 10 }),
        quick,
        huge_pages: true,
    };
    println!("{}", report::host(&host));
    let mut results = Results::default();
    for &nr_threads in &threads {
        let first = results.rows.len();
        for work in workloads::all().into_iter().filter(|work| work.name().contains(&options.only)) {
            results.rows.push(measure::throughput(work, nr_threads, effort)?);
        }
        println!("{nr_threads} threads\n\n{}", report::throughput(&results.rows[first..], nr_threads));
    }
    let clock = Clock::new();
    results.timer_overhead = measure::timer_overhead(&clock);
    let latency_effort = Effort { nr_rounds: if quick { 1 } else { 3 }, ..effort };
    for &nr_threads in &threads {
        for work in workloads::all().into_iter().filter(|work| work.name().contains(&options.only)) {
            if work.is_highlight() {
                results.latencies.extend(measure::latencies(work, nr_threads, latency_effort, &clock)?);
            }
        }
    }
    println!("{}", report::latencies(&results.latencies));
    let sizes = if quick { &boot::SIZES[..2] } else { &boot::SIZES[..] };
    for &gib in sizes {
        results.boots.push(boot::measure(gib, 3)?);
    }
    println!("{}", report::boots(&results.boots));
    if let Some(dir) = &options.write {
        let dir = Path::new(dir);
        let pictures = plots::write(&dir.join("benchmarks"), &results)?;
        fs::write(dir.join("benchmarks.md"), document(&host, effort, &results, &pictures))?;
    }
    Ok(())
}
