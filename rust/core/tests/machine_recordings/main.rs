//! What the core computes from a machine's description, compared with recorded machines.
//!
//! Recordings are looked for in `tests/data/recordings` of the checkout, in the directory that
//! `PAGEBUDDY_RECORDINGS` names, and in `../shared/goldens` beside the checkout.

mod layout;
mod policy;
mod sizing;
mod source;
