//! Traces of kmem events: reading, and predicting every allocation from a known start.

mod follower;
pub mod line;
mod plan;
pub mod replay;
