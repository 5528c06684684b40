//! Atomics for the whole crate, and nothing else.
//!
//! Every shared word goes through this shim, so that one build can run on real atomics, on loom's
//! model checker (feature `loom`) or under a deterministic scheduler that may switch or kill a
//! thread before every access (feature `schedules`).

pub use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

#[cfg(feature = "loom")]
pub use loom::sync::atomic::{AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64};

#[cfg(all(feature = "schedules", not(feature = "loom")))]
pub use scheduled::{AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64};

#[cfg(not(any(feature = "loom", feature = "schedules")))]
pub use core::sync::atomic::{AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64};

/// Lets another thread run; used only where an operation has bounded patience.
pub fn yield_now() {
    #[cfg(feature = "loom")]
    loom::thread::yield_now();
    #[cfg(not(feature = "loom"))]
    std::thread::yield_now();
}

/// True if the planted bug `name` is switched on.
///
/// Only builds for deterministic schedules can plant bugs; in every other build this is the
/// constant `false` and the branch disappears.
#[inline(always)]
pub fn planted(name: Bug) -> bool {
    #[cfg(all(feature = "schedules", not(feature = "loom")))]
    return scheduled::planted() == name as u32;
    #[cfg(not(all(feature = "schedules", not(feature = "loom"))))]
    {
        let _ = name;
        false
    }
}

/// True if a remover must leave its node linked, as if it had been stopped: only deterministic
/// schedules and stress builds force that, to make the rare zombies common.
#[inline(always)]
pub fn forced_zombie() -> bool {
    #[cfg(all(feature = "schedules", not(feature = "loom")))]
    return scheduled::forced_zombie();
    #[cfg(not(all(feature = "schedules", not(feature = "loom"))))]
    false
}

/// Loom weakens SeqCst accesses to AcqRel; a fence gives its models the same guarantee. On real
/// machines the SeqCst accesses are enough and this is nothing.
#[inline(always)]
pub fn fence_for_model() {
    #[cfg(feature = "loom")]
    loom::sync::atomic::fence(SeqCst);
}

/// Bugs that the test suites must find when they are planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Bug {
    /// A node becomes FREE before it is linked (no PEND state).
    NoPend = 1,
    /// The free path does not look at the buddy again after publishing.
    NoRecheck = 2,
    /// A spill from the split register does not re-check.
    NoRecheckAfterSpill = 3,
    /// The tag of a page word is not changed by a relink.
    NoTagOnRelink = 4,
    /// A publication does not change the tag.
    NoTagOnPublish = 5,
    /// A walk does not validate the predecessor after reading the current word.
    NoWalkValidation = 6,
    /// `L` is cleared without looking at the tag.
    ClearLinkedWithoutTag = 7,
    /// A page is published although its old node may still be reachable.
    NoResolve = 8,
    /// The promote changes whatever word it finds to FREE.
    PromoteAnyWord = 9,
    /// After a conflict both sides of a pair claim the upper block first.
    RecheckUpperFirst = 10,
    /// Pop takes the head out without claiming the block.
    PopWithoutClaim = 11,
    /// The tail hint is trusted without a check of the word it names.
    TrustTailHint = 12,
    /// Merging clears the split register without a compare.
    BlindSplitMerge = 13,
    /// The head of a list carries no tag.
    NoTagOnHead = 14,
}

/// Atomics that tell a scheduler before every access; the scheduler decides who runs next.
#[cfg(all(feature = "schedules", not(feature = "loom")))]
pub mod scheduled {
    use core::cell::Cell;
    use core::sync::atomic as real;
    use core::sync::atomic::Ordering;

    thread_local! {
        static HOOK: Cell<Option<fn()>> = const { Cell::new(None) };
        static PLANTED: Cell<u32> = const { Cell::new(0) };
        static ZOMBIES: Cell<Option<fn() -> bool>> = const { Cell::new(None) };
    }

    /// Installs (or removes) the function that decides whether a remover leaves a zombie.
    pub fn set_zombie_hook(hook: Option<fn() -> bool>) {
        ZOMBIES.with(|h| h.set(hook));
    }

    /// Asks the installed function.
    pub fn forced_zombie() -> bool {
        ZOMBIES.with(Cell::get).is_some_and(|hook| hook())
    }

    /// Installs (or removes) the function that is called before every access of this OS thread.
    pub fn set_hook(hook: Option<fn()>) {
        HOOK.with(|h| h.set(hook));
    }

    /// Plants a bug (0: none) for this OS thread.
    pub fn plant(bug: u32) {
        PLANTED.with(|p| p.set(bug));
    }

    /// The planted bug's number.
    pub fn planted() -> u32 {
        PLANTED.with(Cell::get)
    }

    #[inline]
    fn point() {
        if let Some(hook) = HOOK.with(Cell::get) {
            hook();
        }
    }

    macro_rules! atomic {
        ($name:ident, $int:ty) => {
            /// The standard atomic of the same name with a scheduling point before every access.
            #[derive(Debug, Default)]
            #[repr(transparent)]
            pub struct $name(real::$name);

            impl $name {
                /// See the standard library.
                pub const fn new(value: $int) -> Self {
                    Self(real::$name::new(value))
                }
                /// See the standard library.
                pub fn load(&self, order: Ordering) -> $int {
                    point();
                    self.0.load(order)
                }
                /// See the standard library.
                pub fn store(&self, value: $int, order: Ordering) {
                    point();
                    self.0.store(value, order);
                }
                /// See the standard library.
                pub fn swap(&self, value: $int, order: Ordering) -> $int {
                    point();
                    self.0.swap(value, order)
                }
                /// See the standard library.
                pub fn fetch_add(&self, value: $int, order: Ordering) -> $int {
                    point();
                    self.0.fetch_add(value, order)
                }
                /// See the standard library.
                pub fn fetch_or(&self, value: $int, order: Ordering) -> $int {
                    point();
                    self.0.fetch_or(value, order)
                }
                /// See the standard library.
                pub fn fetch_and(&self, value: $int, order: Ordering) -> $int {
                    point();
                    self.0.fetch_and(value, order)
                }
                /// See the standard library.
                pub fn compare_exchange(
                    &self,
                    current: $int,
                    new: $int,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$int, $int> {
                    point();
                    self.0.compare_exchange(current, new, success, failure)
                }
            }
        };
    }
    atomic!(AtomicU8, u8);
    atomic!(AtomicU16, u16);
    atomic!(AtomicU32, u32);
    atomic!(AtomicU64, u64);
    atomic!(AtomicI32, i32);
    atomic!(AtomicI64, i64);
}
