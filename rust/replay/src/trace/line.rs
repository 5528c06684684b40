//! Lines of kmem traces: the kernel's trace file, `trace-cmd report` and `perf script`.

use pagebuddy_core::config::Config;
use pagebuddy_core::gfp::Gfp;
use pagebuddy_core::trace::Event;
use pagebuddy_core::types::Pfn;

/// An event with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// Line of the trace, counted from 1.
    pub line: u64,
    /// Time; the unit is the trace's.
    pub time: u64,
    /// CPU.
    pub cpu: u32,
    /// What happened.
    pub event: Event,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A page event of the kmem group: CPU, time and event.
    Event(u32, u64, Event),
    /// The tracer lost events here.
    Lost,
    /// Anything else: comments, other events, call chains.
    Other,
}

/// Reads a line; the error says what is wrong with a page event.
pub fn parse(text: &str, config: &Config) -> Result<Parsed, String> {
    if text.starts_with('#') {
        return Ok(Parsed::Other);
    }
    let Some((place, name, payload)) = split(text) else {
        let is_lost = text.contains("[LOST ") && text.trim_end().ends_with("EVENTS]");
        return Ok(if is_lost { Parsed::Lost } else { Parsed::Other });
    };
    let Some(cpu) = cpu(place) else { return Err("the event's cpu is missing".into()) };
    let time = time(place);
    let fields = Fields(payload);
    let mt = |key| -> Result<u8, String> {
        let number = fields.number(key)?;
        let mt = usize::try_from(number).ok().and_then(|number| config.migratetype_from_number(number));
        mt.map(|mt| mt as u8).ok_or_else(|| format!("{key} {number} is not below MIGRATE_TYPES"))
    };
    let order = |key| -> Result<u32, String> {
        let number = fields.number(key)?;
        let order = u32::try_from(number).ok().filter(|order| *order < config.max_order);
        order.ok_or_else(|| format!("{key} {number} is not below MAX_ORDER"))
    };
    let event = match name {
        "mm_page_alloc" => {
            let gfp = fields.get("gfp_flags")?;
            Event::Alloc {
                pfn: Some(fields.pfn()?).filter(|pfn| *pfn != 0),
                order: order("order")?,
                gfp: Gfp::parse(gfp).map_err(|error| format!("gfp_flags `{gfp}`: {error}"))?.0,
                migratetype: mt("migratetype")?,
            }
        }
        "mm_page_alloc_zone_locked" => {
            Event::AllocZoneLocked { pfn: fields.pfn()?, order: order("order")?, migratetype: mt("migratetype")? }
        }
        "mm_page_alloc_extfrag" => Event::AllocExtfrag {
            pfn: fields.pfn()?,
            alloc_order: order("alloc_order")?,
            fallback_order: order("fallback_order")?,
            alloc_migratetype: mt("alloc_migratetype")?,
            fallback_migratetype: mt("fallback_migratetype")?,
            change_ownership: fields.number("change_ownership")? != 0,
        },
        "mm_page_free" => Event::Free { pfn: fields.pfn()?, order: order("order")? },
        "mm_page_free_batched" => Event::FreeBatched { pfn: fields.pfn()? },
        "mm_page_pcpu_drain" => {
            Event::PcpuDrain { pfn: fields.pfn()?, order: order("order")?, migratetype: mt("migratetype")? }
        }
        _ => return Ok(Parsed::Other),
    };
    Ok(Parsed::Event(cpu, time, event))
}

/// Place, name and payload of a line with a page event. The command of a task may look like
/// anything, so the last name in the line that is followed by a colon counts.
fn split(text: &str) -> Option<(&str, &str, &str)> {
    let colon = text.rmatch_indices(": ").find_map(|(colon, _)| {
        let start = text[..colon].rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(0, |at| at + 1);
        text[start..colon].starts_with("mm_page_").then_some((start, colon))
    });
    let (start, colon) = colon?;
    let place = text[..start].trim_end().trim_end_matches("kmem:").trim_end_matches("/*");
    Some((place, &text[start..colon], text[colon + 2..].trim_end().trim_end_matches("*/")))
}

/// The CPU: the last number in brackets, or the number before a parenthesis that the function
/// graph tracer begins its lines with.
fn cpu(place: &str) -> Option<u32> {
    let bracketed = place.rmatch_indices('[').find_map(|(open, _)| {
        let inside = place[open + 1..].split_once(']')?.0;
        inside.bytes().all(|b| b.is_ascii_digit()).then(|| inside.parse().ok()).flatten()
    });
    bracketed.or_else(|| {
        let before = place.split_once(')')?.0;
        before.rsplit([' ', '|']).next()?.parse().ok()
    })
}

/// The time: the number that a colon follows, its decimal point left out; 0 if there is none.
fn time(place: &str) -> u64 {
    let digits = place.trim_end().strip_suffix(':').and_then(|place| place.rsplit(' ').next());
    let digits = digits.unwrap_or_default().bytes().filter(|b| *b != b'.');
    digits.fold(0, |time, b| if b.is_ascii_digit() { time.wrapping_mul(10) + u64::from(b - b'0') } else { time })
}

/// `key=value` pairs.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn get(&self, key: &str) -> Result<&'a str, String> {
        let found =
            self.0.split_ascii_whitespace().find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key));
        found.map(|(_, value)| value).ok_or_else(|| format!("{key} is missing"))
    }

    fn number(&self, key: &str) -> Result<u64, String> {
        let text = self.get(key)?;
        text.parse().map_err(|_| format!("{key} `{text}` is no number"))
    }

    /// The page frame number: hexadecimal with a prefix, decimal without.
    fn pfn(&self) -> Result<Pfn, String> {
        let text = self.get("pfn")?;
        let number = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        number.map_err(|_| format!("pfn `{text}` is no number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> (u32, Event) {
        match parse(text, &Config::default()) {
            Ok(Parsed::Event(cpu, _, event)) => (cpu, event),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn reads_every_envelope() {
        let free = Event::Free { pfn: 0x7969, order: 0 };
        for text in [
            "            init-1       [002] .....     9.589324: mm_page_free: page=(____ptrval____) pfn=0x7969 order=0",
            "a [0] b-c: mm-77      (     12) [002] d..2.  4415.246508: mm_page_free: page=0000 pfn=0x7969 order=0",
            "            init-1       [002]     9.589324: mm_page_free:         page=0x0 pfn=0x7969 order=0",
            "      init     1 [002]     9.589324: kmem:mm_page_free: page=0xffff pfn=31081 order=0",
            "      init     1/1  [002]     9.589324123:                kmem:mm_page_free: page=0xffff pfn=0x7969 order=0",
            " 2)               |  /* mm_page_free: page=0000 pfn=0x7969 order=0 */",
            "   12.5 |  2)     |  /* mm_page_free: page=0000 pfn=0x7969 order=0 */",
            "     x-1 [002] 1 2: mm_page_free: page=0 pfn=0x7969 order=0 nr_free=3650",
        ] {
            assert_eq!(event(text), (2, free), "{text}");
        }
    }

    #[test]
    fn reads_times() {
        for (place, wanted) in [
            ("  init-1  [002] ..... 9.589324: ", 9_589_324),
            ("  init-1  [002] ..... 12345:", 12345),
            (" 2)   |  ", 0),
            ("", 0),
        ] {
            assert_eq!(time(place), wanted, "{place}");
        }
    }

    #[test]
    fn reads_every_event() {
        let prefix = "  kworker/u8:1-77      [003] d..2.  4415.246508: ";
        for (text, wanted) in [
            (
                "mm_page_alloc: page=00000000d2be5665 pfn=0x11a2d8 order=1 migratetype=0 gfp_flags=GFP_KERNEL|__GFP_ZERO",
                Event::Alloc { pfn: Some(0x11a2d8), order: 1, gfp: 0xdc0, migratetype: 0 },
            ),
            (
                "mm_page_alloc: page=0000000000000000 pfn=0x0 order=9 migratetype=1 gfp_flags=none",
                Event::Alloc { pfn: None, order: 9, gfp: 0, migratetype: 1 },
            ),
            (
                "mm_page_alloc_zone_locked: page=1 pfn=0x192a order=0 migratetype=2 percpu_refill=1",
                Event::AllocZoneLocked { pfn: 0x192a, order: 0, migratetype: 2 },
            ),
            ("mm_page_free_batched: page=1 pfn=0x192a order=0", Event::FreeBatched { pfn: 0x192a }),
            (
                "mm_page_pcpu_drain: page=1 pfn=0x192a order=3 migratetype=1",
                Event::PcpuDrain { pfn: 0x192a, order: 3, migratetype: 1 },
            ),
            (
                "mm_page_alloc_extfrag: page=1 pfn=0x12400 alloc_order=0 fallback_order=10 pageblock_order=9 \
                 alloc_migratetype=0 fallback_migratetype=1 fragmenting=0 change_ownership=1",
                Event::AllocExtfrag {
                    pfn: 0x12400,
                    alloc_order: 0,
                    fallback_order: 10,
                    alloc_migratetype: 0,
                    fallback_migratetype: 1,
                    change_ownership: true,
                },
            ),
        ] {
            assert_eq!(event(&format!("{prefix}{text}")), (3, wanted));
        }
    }

    #[test]
    fn other_lines_are_passed_over_and_wrong_ones_refused() {
        let config = Config::default();
        for text in
            ["", "# tracer: nop", "  cat-1 [001] .... 1.0: sched_switch: prev_comm=mm_page_free", "   ffff a+0x1"]
        {
            assert_eq!(parse(text, &config), Ok(Parsed::Other), "{text}");
        }
        assert_eq!(parse("CPU:3 [LOST 1234 EVENTS]", &config), Ok(Parsed::Lost));
        assert_eq!(parse("CPU:3 [LOST EVENTS]", &config), Ok(Parsed::Lost));
        for text in [
            "x-1 1.0: mm_page_free: page=1 pfn=0x1 order=0",
            "x-1 [001] 1.0: mm_page_free: page=1 order=0",
            "x-1 [001] 1.0: mm_page_free: page=1 pfn=0xg order=0",
            "x-1 [001] 1.0: mm_page_free: page=1 pfn=0x1 order=-1",
            "x-1 [001] 1.0: mm_page_free: page=1 pfn=0x1 order=11",
            "x-1 [001] 1.0: mm_page_pcpu_drain: page=1 pfn=0x1 order=0 migratetype=4",
            "x-1 [001] 1.0: mm_page_alloc: page=1 pfn=0x1 order=0 migratetype=0 gfp_flags=GFP_WHATEVER",
        ] {
            assert!(parse(text, &config).is_err(), "{text}");
        }
    }
}
