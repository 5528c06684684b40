//! Events as the kernel's ftrace prints them (include/trace/events/kmem.h; kernel/trace/trace.c).

use super::{Event, Trace, TraceClock};
use crate::config::Config;
use crate::gfp::Gfp;
use crate::types::{MigrateType, Pfn};
use core::fmt;

/// Address of the page descriptors (arch/x86, `VMEMMAP_START` without randomisation).
const VMEMMAP_START: u64 = 0xffff_ea00_0000_0000;
/// Bytes of a page descriptor (`sizeof(struct page)`).
const STRUCT_PAGE_SIZE: u64 = 64;
/// Longest name of a task (`TASK_COMM_LEN` without the end).
const MAX_COMM: usize = 15;

/// The text of an event behind its name.
///
/// Where the kernel prints the hashed address of the page's descriptor, this prints the address
/// that a kernel without address randomisation would have hashed.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// The event.
    pub event: &'a Event,
    /// The configuration, for the numbers of migratetypes and the pageblock order.
    pub config: &'a Config,
}

impl Payload<'_> {
    /// The kernel's number of a migratetype.
    fn migratetype(&self, engine: u8) -> usize {
        let mt = MigrateType::from_index(engine.into());
        mt.and_then(|mt| self.config.migratetype_number(mt)).unwrap_or(engine.into())
    }
}

fn write_page(f: &mut fmt::Formatter<'_>, pfn: Option<Pfn>) -> fmt::Result {
    let page = pfn.map_or(0, |pfn| VMEMMAP_START.wrapping_add(pfn.wrapping_mul(STRUCT_PAGE_SIZE)));
    write!(f, "page={page:016x} pfn={:#x}", pfn.unwrap_or(0))
}

impl fmt::Display for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_page(f, self.event.pfn())?;
        match *self.event {
            Event::Alloc { order, gfp, migratetype, .. } => {
                write!(f, " order={order} migratetype={}", self.migratetype(migratetype))?;
                write!(f, " gfp_flags={}", Gfp(gfp).trace_text())
            }
            Event::AllocZoneLocked { order, migratetype, .. } => {
                let percpu_refill = u32::from(order == 0);
                write!(f, " order={order} migratetype={}", self.migratetype(migratetype))?;
                write!(f, " percpu_refill={percpu_refill}")
            }
            Event::AllocExtfrag {
                alloc_order,
                fallback_order,
                alloc_migratetype,
                fallback_migratetype,
                change_ownership,
                ..
            } => {
                let pageblock_order = self.config.pageblock_order;
                let fragmenting = u32::from(fallback_order < pageblock_order);
                let change_ownership = u32::from(change_ownership);
                write!(f, " alloc_order={alloc_order} fallback_order={fallback_order}")?;
                write!(f, " pageblock_order={pageblock_order}")?;
                write!(f, " alloc_migratetype={}", self.migratetype(alloc_migratetype))?;
                write!(f, " fallback_migratetype={}", self.migratetype(fallback_migratetype))?;
                write!(f, " fragmenting={fragmenting} change_ownership={change_ownership}")
            }
            Event::Free { order, .. } => write!(f, " order={order}"),
            Event::FreeBatched { .. } => write!(f, " order=0"),
            Event::PcpuDrain { order, migratetype, .. } => {
                write!(f, " order={order} migratetype={}", self.migratetype(migratetype))
            }
        }
    }
}

/// The task that a trace names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FtraceTask<'a> {
    /// Its name; line ends become spaces, and what exceeds 15 characters is cut off.
    pub comm: &'a str,
    /// Its id.
    pub pid: u32,
}

/// A trace as the file `trace` of tracefs shows it.
struct FtraceText<'a> {
    trace: &'a Trace,
    config: &'a Config,
    nr_cpus: usize,
    task: FtraceTask<'a>,
}

const COLUMN_TITLES: &str = "\
#                                _-----=> irqs-off/BH-disabled
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| / _-=> migrate-disable
#                              |||| /     delay
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
";

impl fmt::Display for FtraceText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Trace { records, nr_written, lost, .. }, nr_cpus) = (self.trace, self.nr_cpus);
        writeln!(f, "# tracer: nop\n#")?;
        writeln!(f, "# entries-in-buffer/entries-written: {}/{nr_written}   #P:{nr_cpus}\n#", records.len())?;
        f.write_str(COLUMN_TITLES)?;
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        let comm: String = self.task.comm.chars().map(clean).take(MAX_COMM).collect();
        let mut lost = lost.clone();
        for record in records {
            if let Some(nr_lost) = lost.remove(&record.cpu) {
                writeln!(f, "CPU:{} [LOST {nr_lost} EVENTS]", record.cpu)?;
            }
            let irqs = if record.event.is_irqs_off() { 'd' } else { '.' };
            write!(f, "{comm:>16}-{:<7} [{:03}] {irqs}.... ", self.task.pid, record.cpu)?;
            match self.trace.clock {
                TraceClock::Mono => {
                    let micros = record.time.saturating_add(500) / 1000;
                    write!(f, "{:5}.{:06}", micros / 1_000_000, micros % 1_000_000)?;
                }
                TraceClock::Counter => write!(f, "{:12}", record.time)?,
            }
            writeln!(f, ": {}: {}", record.event.name(), Payload { event: &record.event, config: self.config })?;
        }
        Ok(())
    }
}

impl Trace {
    /// The trace as the kernel's ftrace prints it, for a machine with `nr_cpus` cpus.
    pub fn to_ftrace(&self, config: &Config, nr_cpus: usize, task: FtraceTask<'_>) -> String {
        FtraceText { trace: self, config, nr_cpus, task }.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Record;
    use super::*;
    use std::collections::BTreeMap;

    fn payload(event: Event) -> String {
        Payload { event: &event, config: &Config::default() }.to_string()
    }

    #[test]
    fn payloads_are_the_kernels() {
        let pfn = 0x10a3c;
        let zeroed = (Gfp::GFP_HIGHUSER_MOVABLE | Gfp::ZERO).0;
        let alloc = Event::Alloc { pfn: Some(pfn), order: 0, gfp: zeroed, migratetype: 1 };
        let extfrag = Event::AllocExtfrag {
            pfn: 0x12400,
            alloc_order: 0,
            fallback_order: 10,
            alloc_migratetype: 0,
            fallback_migratetype: 1,
            change_ownership: true,
        };
        let texts = [
            (alloc, "0x10a3c order=0 migratetype=1 gfp_flags=GFP_HIGHUSER_MOVABLE|__GFP_ZERO"),
            (Event::AllocZoneLocked { pfn, order: 0, migratetype: 1 }, "0x10a3c order=0 migratetype=1 percpu_refill=1"),
            (Event::AllocZoneLocked { pfn, order: 2, migratetype: 0 }, "0x10a3c order=2 migratetype=0 percpu_refill=0"),
            (
                extfrag,
                "0x12400 alloc_order=0 fallback_order=10 pageblock_order=9 alloc_migratetype=0 \
                 fallback_migratetype=1 fragmenting=0 change_ownership=1",
            ),
            (Event::Free { pfn, order: 4 }, "0x10a3c order=4"),
            (Event::FreeBatched { pfn }, "0x10a3c order=0"),
            (Event::PcpuDrain { pfn, order: 0, migratetype: 1 }, "0x10a3c order=0 migratetype=1"),
            (Event::Alloc { pfn: None, order: 3, gfp: 0, migratetype: 0 }, "0x0 order=3 migratetype=0 gfp_flags=none"),
        ];
        for (event, text) in texts {
            let page = event.pfn().map_or(0, |pfn| 0xffff_ea00_0000_0000 + pfn * 64);
            assert_eq!(payload(event), format!("page={page:016x} pfn={text}"));
        }
    }

    #[test]
    fn migratetypes_have_the_numbers_of_the_configuration() {
        let event = Event::PcpuDrain { pfn: 1, order: 0, migratetype: 5 };
        let isolation = Config { memory_isolation: true, ..Config::default() };
        let text = |config| Payload { event: &event, config: &config }.to_string();
        assert!(text(isolation).ends_with(" migratetype=4"));
        assert!(text(Config { cma: true, ..isolation }).ends_with(" migratetype=5"));
    }

    fn trace(clock: TraceClock, lost: BTreeMap<u32, u64>) -> Trace {
        let records = vec![
            Record { time: 1_606_148_700, cpu: 0, event: Event::AllocZoneLocked { pfn: 1, order: 2, migratetype: 0 } },
            Record { time: 123_456_000_499, cpu: 13, event: Event::Free { pfn: 2, order: 0 } },
        ];
        Trace { clock, records, nr_written: 7, lost }
    }

    #[test]
    fn lines_are_the_kernels() {
        let task = FtraceTask { comm: "init", pid: 1 };
        let text = trace(TraceClock::Mono, BTreeMap::new()).to_ftrace(&Config::default(), 14, task);
        let expected = "\
# tracer: nop
#
# entries-in-buffer/entries-written: 2/7   #P:14
#
#                                _-----=> irqs-off/BH-disabled
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| / _-=> migrate-disable
#                              |||| /     delay
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
            init-1       [000] d....     1.606149: mm_page_alloc_zone_locked: page=ffffea0000000040 pfn=0x1 order=2 migratetype=0 percpu_refill=0
            init-1       [013] .....   123.456000: mm_page_free: page=ffffea0000000080 pfn=0x2 order=0
";
        assert_eq!(text, expected);
    }

    #[test]
    fn lost_events_and_odd_tasks_show() {
        let task = FtraceTask { comm: "a\nvery long name of a task", pid: u32::MAX };
        let text = trace(TraceClock::Counter, BTreeMap::from([(13, 5)])).to_ftrace(&Config::default(), 14, task);
        let lines: Vec<&str> = text.lines().skip(12).collect();
        assert!(
            lines[0].starts_with(" a very long nam-4294967295 [000] d....   1606148700: mm_page_alloc_zone_locked: ")
        );
        assert_eq!(lines[1], "CPU:13 [LOST 5 EVENTS]");
        assert!(lines[2].contains(" [013] ..... 123456000499: mm_page_free: "), "{}", lines[2]);
    }
}
