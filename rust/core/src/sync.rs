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
    #[cfg(all(feature = "schedules", not(feature = "loom")))]
    scheduled::yield_now();
    #[cfg(not(any(feature = "loom", feature = "schedules")))]
    std::thread::yield_now();
}

/// Called after a CAS that another thread's change made fail: gives that thread a moment with the
/// cache line, instead of taking the line away from it at once. It waits for nothing in particular
/// and is bounded; `failures` is how often the operation has failed so far.
#[cold]
pub fn back_off(failures: u32) {
    if cfg!(any(feature = "loom", feature = "schedules")) {
        return;
    }
    for _ in 0..if failures <= 1 { FIRST_PAUSES } else { LATER_PAUSES } {
        core::hint::spin_loop();
    }
}

/// Pauses after an operation's first failure: where a pause takes 25 ns, as measured on an EPYC, 6
/// microseconds, in which the other thread does a few hundred operations.
const FIRST_PAUSES: u32 = 256;
/// Pauses after each further one. Short, for an operation that fails several times is the slowest
/// there is.
const LATER_PAUSES: u32 = 64;

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
    /// Pop takes the head out without claiming the block.
    PopWithoutClaim = 10,
    /// The tail hint is trusted without a check of the word it names.
    TrustTailHint = 11,
    /// Merging clears the split register without a compare.
    BlindSplitMerge = 12,
    /// The head of a list carries no tag.
    NoTagOnHead = 13,
    /// A moved block does not look at its buddy again.
    NoRecheckAfterMove = 14,
    /// An unlink goes through a predecessor that is not free in the same list.
    UnlinkThroughAnyPrev = 15,
    /// A remover that could not unlink says it did.
    DetachUnproved = 16,
    /// A pop promotes what it found at the head without looking at the head again.
    HelpWithoutHead = 17,
    /// A split installs its remainders without a compare.
    InstallOverwrites = 18,
    /// A spill links the elements before it takes them out of the register.
    SpillLinksFirst = 19,
    /// A push links the block before it writes its word.
    LinkBeforeWord = 20,
    /// An append does not validate the node before the one it looks at.
    NoTailValidation = 21,
    /// A remover says that its node is unlinked before it is.
    UnlinkedBeforeUnlink = 22,
    /// A failing allocation does not care who has blocks in flight.
    NoQuietCheck = 23,
    /// A pop waits for the pusher of the top instead of promoting it.
    NoHelpForPush = 24,
    /// A pop waits for the remover of the top instead of unlinking it.
    NoHelpForRemoval = 25,
    /// An owner clears `L` without a proof that its node is unreachable.
    ResolveUnproved = 26,
    /// A claim that lost a race takes whatever order the block has now.
    ClaimAnyOrder = 27,
    /// Who looks for the first block of a list finishes nothing that others left there.
    FirstWithoutHelp = 28,
    /// A spill or move takes any pair for one that isolation keeps apart.
    EveryPairIsKept = 29,
    /// Who published a large block looks only at the registers that it knew before.
    NoSecondLookAtRegisters = 30,
    /// A request that found nothing in several places makes sure of the first of them only.
    OnlyFirstPlace = 31,
    /// Who takes a block of another type tells nobody that the rest of it comes back elsewhere.
    SilentSpoil = 32,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 32] = [
        Bug::NoPend,
        Bug::NoRecheck,
        Bug::NoRecheckAfterSpill,
        Bug::NoTagOnRelink,
        Bug::NoTagOnPublish,
        Bug::NoWalkValidation,
        Bug::ClearLinkedWithoutTag,
        Bug::NoResolve,
        Bug::PromoteAnyWord,
        Bug::PopWithoutClaim,
        Bug::TrustTailHint,
        Bug::BlindSplitMerge,
        Bug::NoTagOnHead,
        Bug::NoRecheckAfterMove,
        Bug::UnlinkThroughAnyPrev,
        Bug::DetachUnproved,
        Bug::HelpWithoutHead,
        Bug::InstallOverwrites,
        Bug::SpillLinksFirst,
        Bug::LinkBeforeWord,
        Bug::NoTailValidation,
        Bug::UnlinkedBeforeUnlink,
        Bug::NoQuietCheck,
        Bug::NoHelpForPush,
        Bug::NoHelpForRemoval,
        Bug::ResolveUnproved,
        Bug::ClaimAnyOrder,
        Bug::FirstWithoutHelp,
        Bug::EveryPairIsKept,
        Bug::NoSecondLookAtRegisters,
        Bug::OnlyFirstPlace,
        Bug::SilentSpoil,
    ];
}

/// Atomics that tell a scheduler before every access and an observer after it.
#[cfg(all(feature = "schedules", not(feature = "loom")))]
pub mod scheduled {
    use core::cell::Cell;
    use core::sync::atomic as real;
    use core::sync::atomic::Ordering;

    /// One access that was made.
    #[derive(Clone, Copy, Debug)]
    pub struct Access {
        /// Address of the atomic.
        pub address: usize,
        /// The value before.
        pub old: u64,
        /// The value after; the same for loads and failed exchanges.
        pub new: u64,
        /// Could the access have changed the value?
        pub is_write: bool,
    }

    /// What a test harness wants to be asked and told, per OS thread.
    #[derive(Clone, Copy, Default)]
    pub struct Hooks {
        /// Before an access: the address, and whether it may write. The scheduler decides here who
        /// runs next.
        pub before: Option<fn(usize, bool)>,
        /// After an access.
        pub after: Option<fn(Access)>,
        /// Instead of yielding to the operating system.
        pub yielded: Option<fn()>,
        /// Must a remover leave its node linked?
        pub zombie: Option<fn() -> bool>,
    }

    thread_local! {
        static HOOKS: Cell<Hooks> = const {
            Cell::new(Hooks { before: None, after: None, yielded: None, zombie: None })
        };
        static PLANTED: Cell<u32> = const { Cell::new(0) };
    }

    /// Installs the hooks of this OS thread.
    pub fn set_hooks(hooks: Hooks) {
        HOOKS.with(|h| h.set(hooks));
    }

    /// Plants a bug (or none) for this OS thread.
    pub fn plant(bug: Option<super::Bug>) {
        PLANTED.with(|p| p.set(bug.map_or(0, |bug| bug as u32)));
    }

    /// The planted bug's number.
    pub(super) fn planted() -> u32 {
        PLANTED.with(Cell::get)
    }

    /// Asks the installed function.
    pub(super) fn forced_zombie() -> bool {
        HOOKS.with(Cell::get).zombie.is_some_and(|hook| hook())
    }

    /// Tells the installed function, or yields to the operating system.
    pub(super) fn yield_now() {
        match HOOKS.with(Cell::get).yielded {
            Some(hook) => hook(),
            None => std::thread::yield_now(),
        }
    }

    #[inline]
    fn before(address: usize, is_write: bool) {
        if let Some(hook) = HOOKS.with(Cell::get).before {
            hook(address, is_write);
        }
    }

    #[inline]
    fn after(access: Access) {
        if let Some(hook) = HOOKS.with(Cell::get).after {
            hook(access);
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

                #[inline]
                fn access(&self, is_write: bool, act: impl FnOnce(&real::$name) -> ($int, $int)) -> $int {
                    let address = core::ptr::from_ref(self).addr();
                    before(address, is_write);
                    let (old, new) = act(&self.0);
                    after(Access { address, old: old as u64, new: new as u64, is_write });
                    old
                }

                /// See the standard library.
                #[inline]
                pub fn load(&self, order: Ordering) -> $int {
                    self.access(false, |word| {
                        let value = word.load(order);
                        (value, value)
                    })
                }
                /// See the standard library.
                #[inline]
                pub fn store(&self, value: $int, order: Ordering) {
                    // ORDERING(R2): the old value is for the observer, who runs on the same thread.
                    self.access(true, |word| {
                        let old = word.load(Ordering::Relaxed);
                        word.store(value, order);
                        (old, value)
                    });
                }
                /// See the standard library.
                #[inline]
                pub fn swap(&self, value: $int, order: Ordering) -> $int {
                    self.access(true, |word| (word.swap(value, order), value))
                }
                /// See the standard library.
                #[inline]
                pub fn fetch_add(&self, value: $int, order: Ordering) -> $int {
                    self.access(true, |word| {
                        let old = word.fetch_add(value, order);
                        (old, old.wrapping_add(value))
                    })
                }
                /// See the standard library.
                #[inline]
                pub fn fetch_sub(&self, value: $int, order: Ordering) -> $int {
                    self.access(true, |word| {
                        let old = word.fetch_sub(value, order);
                        (old, old.wrapping_sub(value))
                    })
                }
                /// See the standard library.
                #[inline]
                pub fn fetch_or(&self, value: $int, order: Ordering) -> $int {
                    self.access(true, |word| {
                        let old = word.fetch_or(value, order);
                        (old, old | value)
                    })
                }
                /// See the standard library.
                #[inline]
                pub fn fetch_and(&self, value: $int, order: Ordering) -> $int {
                    self.access(true, |word| {
                        let old = word.fetch_and(value, order);
                        (old, old & value)
                    })
                }
                /// See the standard library.
                #[inline]
                pub fn compare_exchange(
                    &self,
                    current: $int,
                    new: $int,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$int, $int> {
                    let old = self.access(true, |word| match word.compare_exchange(current, new, success, failure) {
                        Ok(old) => (old, new),
                        Err(old) => (old, old),
                    });
                    if old == current { Ok(old) } else { Err(old) }
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
