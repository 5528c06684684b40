//! The firmware's memory map and what the kernel does to it while it boots.

use super::Span;

/// What a range is. Only the difference between usable memory and everything else matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Usable,
    Other(String),
}

impl Kind {
    /// Parses the type at the end of a line; `None` for one that is no type, or cut off.
    pub(super) fn parse(text: &str) -> Option<Kind> {
        let text = text.trim().trim_start_matches('(').trim_end_matches(')').trim();
        // Very old kernels say "usable" in parentheses; "persistent (type 7)" loses its last one.
        match text {
            "usable" => Some(Kind::Usable),
            "reserved" | "soft reserved" | "device reserved" | "ACPI data" | "ACPI NVS" | "unusable" | "unaccepted" => {
                Some(Kind::Other(text.to_owned()))
            }
            _ => {
                let number = text.strip_prefix("persistent (").unwrap_or(text).strip_prefix("type ")?;
                number.trim().parse::<u64>().ok()?;
                Some(Kind::Other(text.to_owned()))
            }
        }
    }
}

/// Disjoint ranges with their kinds.
#[derive(Default)]
pub(super) struct Table {
    entries: Vec<(Span, Kind)>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Adds a range; where the table has it already it stays as it is, unless it was usable and is
    /// something else now: like the kernel, when in doubt do not use it.
    pub(super) fn add(&mut self, span: Span, kind: Kind) {
        let held: Vec<(Span, Kind)> = self.cut(span);
        let mut rest = vec![span];
        for (part, _) in &held {
            rest = rest.into_iter().flat_map(|piece| without(piece, *part)).collect();
        }
        for (part, old) in held {
            let kind = if old == Kind::Usable { kind.clone() } else { old };
            self.entries.push((part, kind));
        }
        self.entries.extend(rest.into_iter().map(|piece| (piece, kind.clone())));
    }

    /// Changes what is of one kind inside the span into another, or removes it
    /// (`e820__range_update`, `e820__range_remove`).
    pub(super) fn update(&mut self, span: Span, from: &Kind, to: Option<&Kind>) {
        for (part, old) in self.cut(span) {
            if old != *from {
                self.entries.push((part, old));
            } else if let Some(kind) = to {
                self.entries.push((part, kind.clone()));
            }
        }
    }

    pub(super) fn usable(&self) -> impl Iterator<Item = Span> + '_ {
        self.entries.iter().filter(|(_, kind)| *kind == Kind::Usable).map(|(span, _)| *span)
    }

    /// Takes out everything inside the span.
    fn cut(&mut self, span: Span) -> Vec<(Span, Kind)> {
        let mut inside = Vec::new();
        let mut outside = Vec::with_capacity(self.entries.len());
        for (entry, kind) in self.entries.drain(..) {
            if let Some(common) = Span::new(entry.base.max(span.base), entry.last.min(span.last)) {
                inside.push((common, kind.clone()));
            }
            outside.extend(without(entry, span).map(|piece| (piece, kind.clone())));
        }
        self.entries = outside;
        inside
    }
}

/// What is left of `whole` outside `hole`.
fn without(whole: Span, hole: Span) -> impl Iterator<Item = Span> {
    let below = hole.base.checked_sub(1).and_then(|last| Span::new(whole.base, whole.last.min(last)));
    let above = hole.last.checked_add(1).and_then(|base| Span::new(whole.base.max(base), whole.last));
    below.into_iter().chain(above)
}
