//! The kernel's own reports about zones, text for text (mm/vmstat.c).

use crate::allocator::PageAllocator;
use crate::zone::Zone;
use core::fmt::Write;

impl PageAllocator {
    /// /proc/buddyinfo: free blocks of every order, a line per zone (`frag_show_print`).
    pub fn buddyinfo(&self) -> String {
        let mut text = String::new();
        for zone in self.zones().filter(|zone| zone.extent().present != 0) {
            // Writing to a String cannot fail.
            let _ = zone.buddyinfo_line(&mut text);
        }
        text
    }
}

impl Zone<'_> {
    fn buddyinfo_line(self, text: &mut String) -> core::fmt::Result {
        write!(text, "Node {}, zone {:>8} ", self.node(), self.kind().name())?;
        for blocks in self.nr_free() {
            write!(text, "{blocks:6} ")?;
        }
        writeln!(text)
    }
}
