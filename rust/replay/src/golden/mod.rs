//! Recordings of the page allocator of a real kernel: reading, digests, comparison, replay.

pub mod boot_parameters;
pub mod compare;
pub mod digest;
mod engine;
pub mod machine;
pub mod op;
mod record;
pub mod recording;
pub mod replay;
mod scan;
mod start;

pub use machine::Machine;
pub use op::{Op, Ops};
pub use record::{PolicyInfo, RecordedTunables, RecordedZone};
pub use recording::{Check, Expectation, Header, Mode, RecordedState, Recording, ZoneDigest};
