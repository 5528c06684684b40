//! docs/benchmarks.md: what is measured and how, and the tables.

use crate::host::Host;
use crate::measure::{Effort, Row, Timing};
use crate::report::{self, Results};
use crate::summary;
use std::fmt::Write as _;

const HEAD: &str = "\
# Benchmarks

Made by `make bench`; the numbers below are its output, not edited by hand.

What is compared: the lock-free engine, and a C variant of the same rules with the kernel's data structures and locks
([benches/c](../benches/c)): a 64-byte page descriptor, doubly linked free lists, one lock per zone, per-cpu lists behind
a trylock. A test drives both with the same random calls and compares every pfn, all free lists and all per-cpu lists
([same_decisions.rs](../benches/tests/same_decisions.rs)), so that both do the same work. The C variant leaves out what
would only slow it down: state checks of every page, isolation, CMA, the HighAtomic reserve. Its descriptors lie in huge
pages if the operating system gives any, as the kernel's do; the engine's do not.

Both run in one process, in turns, round after round; what counts is the **ratio** of the medians: the engine's time over
that of the fastest lock flavour of the C variant. Below 1 the engine is faster. The flavours: spinning with pause
instructions (*pause*), spinning and then yielding the processor (*yield*), a pthread mutex (*mutex*).

Times are nanoseconds per operation; one allocation or one free is one operation, in bulk one page is. One thread is
measured by its processor time, several by what they get done together in a given time, so that 20 ns means 50 million
operations per second of all threads. Every call is a real call, never inlined into the loop.

| level | engine | C variant |
|---|---|---|
| zone | buddy lists: smallest fit, split, merge | the same under the zone's lock |
| pcp | per-cpu lists on a leased cpu slot | per-cpu lists behind a trylock |
| machine | `alloc_pages` and `free_pages` with watermarks, zonelist, counters, checks against wrong frees | watermarks, counters, reference count |

*fixed cpu*: every thread names a cpu of its own. *current cpu*: the cpu the thread runs on, as many as the host has.
*2 nodes*: cpus and memory go round two nodes, and requests name the *local* or the *remote* one of the thread's cpu;
the C variant has a zone for each node and no zonelists. Only the machine's nodes are modelled, the host's memory is
wherever it is.
";

/// The whole document.
pub fn document(host: &Host, effort: Effort, results: &Results, pictures: &[(&str, String)]) -> String {
    let mut text = format!("{HEAD}\n{}", report::host(host));
    let _infallible = write!(
        text,
        "\nEvery row: {} rounds per subject or more, until the middle half of each subject's rounds lies within 5 % of \
         the median, after one that warms up; rows that take long have fewer. A round of one thread is {} operations, one \
         of several threads takes {} ms (2 threads) to {} ms (64){}. The middle half of the rounds lies within {:.0} % \
         (engine) and {:.0} % (fastest flavour) of the median in half of all rows. The load was {} at the end.\n",
        effort.nr_rounds,
        effort.nr_ops,
        effort.duration(2).as_millis(),
        effort.duration(64).as_millis(),
        if effort.quick { "; this is the quick form: rough numbers, and few rows for many threads" } else { "" },
        median_spread(results.rows.iter().map(|row| &row.rust)) * 100.0,
        median_spread(results.rows.iter().map(Row::best_c)) * 100.0,
        results.load_after,
    );
    for (file, caption) in pictures {
        let _infallible = write!(text, "\n![{caption}](benchmarks/{file})\n*{caption}*\n");
    }
    let mut threads: Vec<usize> = results.rows.iter().map(|row| row.nr_threads).collect();
    threads.dedup();
    for nr_threads in threads {
        let title = if nr_threads == 1 { "1 thread".to_owned() } else { format!("{nr_threads} threads") };
        let _infallible = write!(text, "\n## {title}\n\n{}", report::throughput(&results.rows, nr_threads));
    }
    if !results.latencies.is_empty() {
        let _infallible = write!(
            text,
            "\n## Latencies\n\nNanoseconds of single calls, the time to read the clock twice included: {} of them. Where \
             more threads run than processors, the longest ones are threads that lost theirs.\n\n{}",
            results.timer_overhead,
            report::latencies(&results.latencies)
        );
    }
    if !results.boots.is_empty() {
        let _infallible = write!(
            text,
            "\n## Booting\n\nA machine of one node with 4 cpus, from its memory map to all watermarks; page descriptors \
             of memory that nobody touched yet are not resident.\n\n{}",
            report::boots(&results.boots)
        );
    }
    let _infallible = write!(text, "\n## Summary\n\n{}", summary::summary(results));
    text
}

fn median_spread<'a>(timings: impl Iterator<Item = &'a Timing>) -> f64 {
    let mut spreads: Vec<f64> = timings.map(|timing| timing.spread).collect();
    spreads.sort_by(f64::total_cmp);
    spreads.get(spreads.len() / 2).copied().unwrap_or_default()
}
