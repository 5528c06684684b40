//! Replays recordings and traced workloads named on the command line and prints a line for each.

use pagebuddy_replay::file::replay_file;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let (mut files, mut exact, mut ops, mut core_time_ns) = (0, 0, 0, 0);
    for path in std::env::args().skip(1) {
        files += 1;
        match replay_file(Path::new(&path), &mut |_| ControlFlow::Continue(())) {
            Ok(Some(report)) => {
                exact += usize::from(report.is_exact());
                ops += report.matched;
                core_time_ns += report.core_time_ns;
                let per_op = report.core_time_ns as f64 / report.replayed.max(1) as f64;
                println!("{report} ({per_op:.0} ns per operation)");
            }
            Ok(None) => {}
            Err(error) => println!("{error}"),
        }
    }
    println!("{exact} of {files} recordings exact, {ops} operations, {:.2} s in the core", core_time_ns as f64 / 1e9);
    if exact == files { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
