//! A scanner for the array lines of a recording.
//!
//! Recordings consist of millions of short arrays of numbers; reading them in place, without an
//! intermediate document, is several times faster than a general JSON parser. Everything it
//! accepts is JSON; what it rejects is described by column and expectation.

use std::fmt::Display;

/// Why a line does not scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScanError {
    /// Byte of the line at which scanning stopped, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

/// A position in a line.
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Digits that always fit `u64` without an overflow check.
const SAFE_DIGITS: usize = 19;

impl<'a> Scanner<'a> {
    pub fn new(line: &'a str) -> Scanner<'a> {
        Scanner { bytes: line.as_bytes(), at: 0 }
    }

    /// An error at the present position.
    pub fn error<T>(&self, message: impl Into<String>) -> Result<T, ScanError> {
        self.error_at(self.at, message)
    }

    fn error_at<T>(&self, at: usize, message: impl Into<String>) -> Result<T, ScanError> {
        Err(ScanError { column: at + 1, message: message.into() })
    }

    #[inline]
    fn skip_space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), ScanError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        self.error(format!("expected `{}`", char::from(byte)))
    }

    /// The `[` of an array.
    #[inline]
    pub fn open(&mut self) -> Result<(), ScanError> {
        self.expect(b'[')
    }

    /// The `]` of an array.
    #[inline]
    pub fn close(&mut self) -> Result<(), ScanError> {
        self.expect(b']')
    }

    /// The `,` between two elements.
    #[inline]
    pub fn comma(&mut self) -> Result<(), ScanError> {
        self.expect(b',')
    }

    /// Nothing but white space up to the end of the line.
    pub fn end(&mut self) -> Result<(), ScanError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.error("expected the end of the line"),
        }
    }

    /// A string without escapes.
    #[inline]
    pub fn string(&mut self) -> Result<&'a str, ScanError> {
        self.expect(b'"')?;
        let start = self.at;
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'"' => {
                    self.at += 1;
                    let text = &self.bytes[start..self.at - 1];
                    return std::str::from_utf8(text).or_else(|_| self.error_at(start, "the text is not UTF-8"));
                }
                b'\\' | 0..0x20 => return self.error("no recorded text holds escapes or control characters"),
                _ => self.at += 1,
            }
        }
        self.error("the text has no closing quote")
    }

    /// A number without fraction, as sign and magnitude.
    #[inline]
    fn integer(&mut self, what: &str) -> Result<(bool, u64), ScanError> {
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let start = self.at;
        let mut value = 0u64;
        while let Some(digit) = self.bytes.get(self.at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.at += 1;
        }
        let digits = &self.bytes[start..self.at];
        if digits.is_empty() {
            return self.error(format!("{what} must be a whole number"));
        }
        if digits.len() > 1 && digits[0] == b'0' {
            return self.error_at(start, format!("{what} has a leading zero"));
        }
        if matches!(self.bytes.get(self.at), Some(b'.' | b'e' | b'E')) {
            return self.error_at(start, format!("{what} must be a whole number"));
        }
        if digits.len() > SAFE_DIGITS {
            // Rare enough for the slow, checked way.
            value = match std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()) {
                Some(value) => value,
                None => return self.error_at(start, format!("{what} is out of range")),
            };
        }
        Ok((negative, value))
    }

    /// A number from `0` to `max`.
    #[inline]
    pub fn uint(&mut self, what: &str, max: u64) -> Result<u64, ScanError> {
        let (negative, value) = self.integer(what)?;
        if value > max || (negative && value != 0) {
            return self.out_of_range(what, negative, value, &0, &max);
        }
        Ok(value)
    }

    /// A number from `min` to `max`.
    #[inline]
    pub fn int(&mut self, what: &str, min: i64, max: i64) -> Result<i64, ScanError> {
        let (negative, value) = self.integer(what)?;
        let signed = if negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() };
        match signed {
            Some(signed) if (min..=max).contains(&signed) => Ok(signed),
            _ => self.out_of_range(what, negative, value, &min, &max),
        }
    }

    #[cold]
    fn out_of_range<T>(
        &self,
        what: &str,
        negative: bool,
        value: u64,
        min: &dyn Display,
        max: &dyn Display,
    ) -> Result<T, ScanError> {
        let sign = if negative { "-" } else { "" };
        self.error(format!("{what} {sign}{value} is not between {min} and {max}"))
    }

    /// `null` or a number up to `max`.
    #[inline]
    pub fn optional_uint(&mut self, what: &str, max: u64) -> Result<Option<u64>, ScanError> {
        if self.peek() == Some(b'n') {
            if self.bytes[self.at..].starts_with(b"null") {
                self.at += 4;
                return Ok(None);
            }
            return self.error(format!("{what} must be a number or null"));
        }
        self.uint(what, max).map(Some)
    }

    /// The elements of an array, each read by `element`.
    #[inline]
    pub fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), ScanError>) -> Result<(), ScanError> {
        self.open()?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            element(self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.error("expected `,` or `]`"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_and_lists() {
        let mut scan = Scanner::new(r#" [ "a" , 0, null ,-1, 18446744073709551615 , [ 1,2 , 3 ], [] ] "#);
        scan.open().expect("open");
        assert_eq!(scan.string(), Ok("a"));
        scan.comma().expect("comma");
        assert_eq!(scan.uint("n", 9), Ok(0));
        scan.comma().expect("comma");
        assert_eq!(scan.optional_uint("n", 9), Ok(None));
        scan.comma().expect("comma");
        assert_eq!(scan.int("n", -1, 9), Ok(-1));
        scan.comma().expect("comma");
        assert_eq!(scan.uint("n", u64::MAX), Ok(u64::MAX));
        scan.comma().expect("comma");
        let mut list = Vec::new();
        for _ in 0..2 {
            scan.array(|scan| {
                list.push(scan.uint("n", 9)?);
                Ok(())
            })
            .expect("array");
            if list.len() == 3 && scan.peek() == Some(b',') {
                scan.comma().expect("comma");
            }
        }
        assert_eq!(list, [1, 2, 3]);
        scan.close().expect("close");
        scan.end().expect("end");
    }

    #[test]
    fn rejects_what_is_not_a_number_in_range() {
        for text in
            ["", "-", "x", "1.5", "1e3", "01", "-1", "8", "18446744073709551616", "99999999999999999999999", "\"1\""]
        {
            assert!(Scanner::new(text).uint("n", 7).is_err(), "{text}");
        }
        for text in ["-3", "3", "-9223372036854775809", "9223372036854775808", "nul", "null"] {
            assert!(Scanner::new(text).int("n", -2, 2).is_err(), "{text}");
        }
        assert_eq!(Scanner::new("-9223372036854775808").int("n", i64::MIN, 0), Ok(i64::MIN));
        assert!(Scanner::new("nul").optional_uint("n", 7).is_err());
        let error = Scanner::new("  12").uint("order", 10).expect_err("too large");
        assert_eq!(error.message, "order 12 is not between 0 and 10");
    }

    #[test]
    fn rejects_broken_strings_and_arrays() {
        for text in ["a", "\"a", "\"\\u0061\"", "\"\u{1}\""] {
            assert!(Scanner::new(text).string().is_err(), "{text}");
        }
        for text in ["[1", "[1 2]", "[1,]", "[,1]", "1"] {
            let scanned = Scanner::new(text).array(|scan| scan.uint("n", 9).map(drop));
            assert!(scanned.is_err(), "{text}");
        }
    }
}
