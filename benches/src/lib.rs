//! Benchmarks of the engine against a C variant of the same rules with locks.
//!
//! Both run interleaved in one process, so that a busy or noisy machine hits both; what counts is
//! the ratio of their medians.

pub mod boot;
pub mod document;
pub mod engines;
pub mod ffi;
pub mod host;
pub mod measure;
pub mod plots;
pub mod report;
pub mod stopwatch;
pub mod summary;
pub mod twins;
pub mod workloads;
