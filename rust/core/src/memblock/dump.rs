//! The lists as text, as the kernel prints them with `memblock=debug`.

use super::{ListKind, Memblock, Region};
use core::fmt;

impl fmt::Display for Memblock {
    /// `__memblock_dump_all`. An empty list shows its dummy region, as in the kernel.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "MEMBLOCK configuration:")?;
        let (memory, reserved) = (self.phys_mem_size(), self.reserved_size());
        writeln!(f, " memory size = {memory:#018x} reserved size = {reserved:#018x}")?;
        self.dump(f, ListKind::Memory)?;
        self.dump(f, ListKind::Reserved)
    }
}

impl Memblock {
    fn dump(&self, f: &mut fmt::Formatter<'_>, kind: ListKind) -> fmt::Result {
        let (name, list) = (kind.name(), self.list(kind));
        writeln!(f, " {name}.cnt  = {:#x}", list.count())?;
        for (index, Region { base, size, nid, flags }) in list.with_dummy().enumerate() {
            let last = base.wrapping_add(size).wrapping_sub(1);
            write!(f, " {name}[{index:#x}]\t[{base:#018x}-{last:#018x}], {size:#018x} bytes")?;
            if let Some(nid) = nid {
                write!(f, " on node {nid}")?;
            }
            writeln!(f, " flags: {flags:#x}")?;
        }
        Ok(())
    }
}
