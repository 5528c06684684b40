//! Numbers of bytes as text.

/// Bytes from text, as the kernel reads them in boot parameters (lib/cmdline.c, `memparse`): decimal
/// or 0x hexadecimal, then K, M, G, T, P or E, powers of 1024; "iB" or "B" may follow.
#[must_use]
pub fn memparse(text: &str) -> Option<u64> {
    let text = text.trim();
    let text = text.strip_suffix("iB").or_else(|| text.strip_suffix('B').filter(|rest| !is_hex(rest))).unwrap_or(text);
    let (number, shift) = match text.chars().next_back()? {
        'k' | 'K' => (&text[..text.len() - 1], 10),
        'm' | 'M' => (&text[..text.len() - 1], 20),
        'g' | 'G' => (&text[..text.len() - 1], 30),
        't' | 'T' => (&text[..text.len() - 1], 40),
        'p' | 'P' => (&text[..text.len() - 1], 50),
        'e' | 'E' if !is_hex(text) => (&text[..text.len() - 1], 60),
        _ => (text, 0),
    };
    let number = number.trim_end();
    let (digits, radix) = if is_hex(number) { (&number[2..], 16) } else { (number, 10) };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let number = u64::from_str_radix(digits, radix).ok()?;
    number.checked_mul(1 << shift)
}

fn is_hex(text: &str) -> bool {
    text.starts_with("0x") || text.starts_with("0X")
}

#[cfg(test)]
mod tests {
    use super::memparse;

    #[test]
    fn sizes_are_read_as_the_kernel_reads_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            (" 4K ", 4096),
            ("4k", 4096),
            ("4KiB", 4096),
            ("4KB", 4096),
            ("4 GiB", 4 << 30),
            ("512M", 512 << 20),
            ("7T", 7 << 40),
            ("0x10", 16),
            ("0x1E", 30),
            ("0x1B", 27),
            ("0x10M", 16 << 20),
            ("15E", 15 << 60),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(memparse(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            " ",
            "K",
            "B",
            "-1",
            "+1",
            "1.5G",
            "16E",
            "0x",
            "1_000",
            "1KK",
            "M4",
            "4 4",
            "18446744073709551616",
            "٣",
            "4é",
        ] {
            assert_eq!(memparse(text), None, "{text}");
        }
    }
}
