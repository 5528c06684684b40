//! gfp masks as text: printed as the kernel prints them, and read back.

use super::Gfp;
use core::fmt;

/// Names in the order in which they are matched: a name stands for its bits if all of them are
/// still there (include/trace/events/mmflags.h, `__def_gfpflag_names`).
pub const NAMES: [(&str, Gfp); 37] = [
    ("GFP_TRANSHUGE", Gfp::GFP_TRANSHUGE),
    ("GFP_TRANSHUGE_LIGHT", Gfp::GFP_TRANSHUGE_LIGHT),
    ("GFP_HIGHUSER_MOVABLE", Gfp::GFP_HIGHUSER_MOVABLE),
    ("GFP_HIGHUSER", Gfp::GFP_HIGHUSER),
    ("GFP_USER", Gfp::GFP_USER),
    ("GFP_KERNEL_ACCOUNT", Gfp::GFP_KERNEL_ACCOUNT),
    ("GFP_KERNEL", Gfp::GFP_KERNEL),
    ("GFP_NOFS", Gfp::GFP_NOFS),
    ("GFP_ATOMIC", Gfp::GFP_ATOMIC),
    ("GFP_NOIO", Gfp::GFP_NOIO),
    ("GFP_NOWAIT", Gfp::GFP_NOWAIT),
    ("GFP_DMA", Gfp::GFP_DMA),
    ("__GFP_HIGHMEM", Gfp::HIGHMEM),
    ("GFP_DMA32", Gfp::GFP_DMA32),
    ("__GFP_HIGH", Gfp::HIGH),
    ("__GFP_ATOMIC", Gfp::ATOMIC),
    ("__GFP_IO", Gfp::IO),
    ("__GFP_FS", Gfp::FS),
    ("__GFP_NOWARN", Gfp::NOWARN),
    ("__GFP_RETRY_MAYFAIL", Gfp::RETRY_MAYFAIL),
    ("__GFP_NOFAIL", Gfp::NOFAIL),
    ("__GFP_NORETRY", Gfp::NORETRY),
    ("__GFP_COMP", Gfp::COMP),
    ("__GFP_ZERO", Gfp::ZERO),
    ("__GFP_NOMEMALLOC", Gfp::NOMEMALLOC),
    ("__GFP_MEMALLOC", Gfp::MEMALLOC),
    ("__GFP_HARDWALL", Gfp::HARDWALL),
    ("__GFP_THISNODE", Gfp::THISNODE),
    ("__GFP_RECLAIMABLE", Gfp::RECLAIMABLE),
    ("__GFP_MOVABLE", Gfp::MOVABLE),
    ("__GFP_ACCOUNT", Gfp::ACCOUNT),
    ("__GFP_WRITE", Gfp::WRITE),
    ("__GFP_RECLAIM", Gfp::RECLAIM),
    ("__GFP_DIRECT_RECLAIM", Gfp::DIRECT_RECLAIM),
    ("__GFP_KSWAPD_RECLAIM", Gfp::KSWAPD_RECLAIM),
    ("__GFP_ZEROTAGS", Gfp::ZEROTAGS),
    ("__GFP_SKIP_KASAN_POISON", Gfp::SKIP_KASAN_POISON),
];

/// Names that are understood but never printed, because another name has the same bits.
pub const ALIASES: [(&str, Gfp); 2] = [("__GFP_DMA", Gfp::DMA), ("__GFP_DMA32", Gfp::DMA32)];

/// As failure reports print a mask (`%pGg`): nothing for an empty one.
impl fmt::Display for Gfp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = *self;
        let mut separator = "";
        for (name, bits) in NAMES {
            if rest.contains(bits) {
                write!(f, "{separator}{name}")?;
                rest = rest.without(bits);
                separator = "|";
            }
        }
        if rest != Gfp::NONE {
            write!(f, "{separator}{:#x}", rest.0)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Gfp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gfp({:#x}: {self})", self.0)
    }
}

/// Which part of a text is no gfp flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseGfpError {
    /// First byte of the part.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

impl fmt::Display for ParseGfpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.start == self.end {
            write!(f, "a gfp flag is missing at byte {}", self.start)
        } else {
            write!(f, "bytes {} to {} are neither a gfp flag's name nor a 32-bit number", self.start, self.end)
        }
    }
}

impl std::error::Error for ParseGfpError {}

impl Gfp {
    /// As trace events print the mask (`show_gfp_flags`): "none" for an empty one.
    pub fn trace_text(self) -> String {
        if self == Gfp::NONE { "none".into() } else { self.to_string() }
    }

    /// Reads names joined by "|", hexadecimal (0x) or decimal numbers among them, "none", or
    /// nothing.
    pub fn parse(text: &str) -> Result<Gfp, ParseGfpError> {
        if matches!(text.trim(), "" | "none") {
            return Ok(Gfp::NONE);
        }
        let mut gfp = Gfp::NONE;
        let mut start = 0;
        for part in text.split('|') {
            let end = start + part.len();
            gfp |= parse_flag(part.trim()).ok_or(ParseGfpError { start, end })?;
            start = end + 1;
        }
        Ok(gfp)
    }
}

fn parse_flag(flag: &str) -> Option<Gfp> {
    let named = NAMES.iter().chain(&ALIASES).find(|(name, _)| *name == flag);
    if let Some((_, bits)) = named {
        return Some(*bits);
    }
    let (digits, radix) = flag.strip_prefix("0x").map_or((flag, 10), |digits| (digits, 16));
    // A sign is no digit, though the standard parser takes "+".
    if !digits.starts_with(|first: char| first.is_digit(radix)) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok().map(Gfp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_print_as_the_kernel_prints_them() {
        let examples = [
            (0xcc0, "GFP_KERNEL"),
            (0xdc0, "GFP_KERNEL|__GFP_ZERO"),
            (0x1100cca, "GFP_HIGHUSER_MOVABLE"),
            (0xa20, "GFP_ATOMIC"),
            (0xc40, "GFP_NOFS"),
            (0x8c0, "GFP_NOWAIT|__GFP_IO|__GFP_FS"),
            (0x140cca, "GFP_HIGHUSER|__GFP_COMP|__GFP_MOVABLE"),
            (0x11c24ca, "GFP_TRANSHUGE"),
            (0x400, "__GFP_DIRECT_RECLAIM"),
            (0x5, "GFP_DMA|GFP_DMA32"),
            (0x2000000, "0x2000000"),
            (0x6000cc0, "GFP_KERNEL|0x6000000"),
            (0, ""),
        ];
        for (bits, text) in examples {
            assert_eq!(Gfp(bits).to_string(), text);
        }
        assert_eq!(Gfp::NONE.trace_text(), "none");
        assert_eq!(Gfp::GFP_KERNEL.trace_text(), "GFP_KERNEL");
    }

    #[test]
    fn every_mask_reads_back() {
        let mut bits = 1u32;
        for round in 0..20_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Few bits, many bits, and bits beyond the known ones.
            let gfp = Gfp(match round % 3 {
                0 => bits & bits.rotate_left(7) & Gfp::ALL.0,
                1 => bits & Gfp::ALL.0,
                _ => bits,
            });
            assert_eq!(Gfp::parse(&gfp.to_string()), Ok(gfp));
            assert_eq!(Gfp::parse(&gfp.trace_text()), Ok(gfp));
        }
        for (name, bits) in NAMES.iter().chain(&ALIASES) {
            assert_eq!(Gfp::parse(name), Ok(*bits));
        }
    }

    #[test]
    fn other_spellings() {
        assert_eq!(Gfp::parse("0x140cca"), Ok(Gfp(0x140cca)));
        assert_eq!(Gfp::parse("3264"), Ok(Gfp::GFP_KERNEL));
        assert_eq!(Gfp::parse(" GFP_KERNEL | __GFP_ZERO "), Ok(Gfp(0xdc0)));
        assert_eq!(Gfp::parse("none"), Ok(Gfp::NONE));
        assert_eq!(Gfp::parse(" "), Ok(Gfp::NONE));
    }

    #[test]
    fn nonsense_is_located() {
        let error = |text| Gfp::parse(text).unwrap_err();
        assert_eq!(error("GFP_KERNEL|GFP_KERNAL|0x0"), ParseGfpError { start: 11, end: 21 });
        assert_eq!(error("GFP_KERNEL|"), ParseGfpError { start: 11, end: 11 });
        for text in ["0x", "0x100000000", "4294967296", "-1", "+1", "0x+1", "0xg", "none|0x1", "gfp_kernel", "ü|1"] {
            assert!(Gfp::parse(text).is_err(), "{text}");
        }
    }
}
