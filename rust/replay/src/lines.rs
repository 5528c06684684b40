//! Numbered lines of a recording, gzip-compressed or plain, with precise errors.

use crate::report::{RecordingError, RecordingErrorKind};
use flate2::bufread::MultiGzDecoder;
use std::io::{BufRead, BufReader, ErrorKind, Read};

/// No line of a recording is longer; a damaged file must not fill the memory.
const MAX_LINE_BYTES: u64 = 256 << 20;

/// Reads a recording line by line.
pub struct Lines<'a> {
    name: String,
    input: Box<dyn BufRead + 'a>,
    buffer: Vec<u8>,
    line: u64,
}

impl<'a> Lines<'a> {
    /// Lines of `reader`, decompressed if it starts like gzip; `name` is for messages.
    pub fn new(reader: impl Read + 'a, name: &str) -> Result<Lines<'a>, RecordingError> {
        let mut plain = BufReader::new(reader);
        let start =
            plain.fill_buf().map_err(|e| RecordingError::new(name, 0, RecordingErrorKind::Io, e.to_string()))?;
        let input: Box<dyn BufRead + 'a> = if start.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::new(MultiGzDecoder::new(plain)))
        } else {
            Box::new(plain)
        };
        Ok(Lines { name: name.to_owned(), input, buffer: Vec::new(), line: 0 })
    }

    /// The next line without its line break, or `None` at the end.
    pub fn next_line(&mut self) -> Result<Option<&str>, RecordingError> {
        self.buffer.clear();
        self.line += 1;
        let read = self.input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut self.buffer);
        match read {
            Ok(0) => return Ok(None),
            Ok(_) if self.buffer.ends_with(b"\n") => self.buffer.truncate(self.buffer.len() - 1),
            Ok(n) if n as u64 == MAX_LINE_BYTES => {
                return Err(self.error(RecordingErrorKind::Format, "the line is longer than any recording's"));
            }
            Ok(_) => {}
            Err(error) => {
                let kind = match error.kind() {
                    ErrorKind::UnexpectedEof => RecordingErrorKind::Truncated,
                    ErrorKind::InvalidData | ErrorKind::InvalidInput => RecordingErrorKind::Compression,
                    _ => RecordingErrorKind::Io,
                };
                let message = match kind {
                    RecordingErrorKind::Truncated => "the compressed data ends early".to_owned(),
                    RecordingErrorKind::Compression => format!("the compressed data is damaged ({error})"),
                    _ => error.to_string(),
                };
                return Err(self.error(kind, message));
            }
        }
        match std::str::from_utf8(&self.buffer) {
            Ok(text) => Ok(Some(text)),
            Err(_) => {
                Err(RecordingError::new(&*self.name, self.line, RecordingErrorKind::Json, "the line is not UTF-8"))
            }
        }
    }

    /// Number of the line read last, counted from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// An error on the line read last.
    pub fn error(&self, kind: RecordingErrorKind, message: impl Into<String>) -> RecordingError {
        RecordingError::new(&*self.name, self.line, kind, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).expect("writing to memory");
        encoder.finish().expect("writing to memory")
    }

    fn all(bytes: &[u8]) -> Result<Vec<String>, RecordingError> {
        let mut lines = Lines::new(bytes, "x")?;
        let mut found = Vec::new();
        while let Some(line) = lines.next_line()? {
            found.push(line.to_owned());
        }
        Ok(found)
    }

    #[test]
    fn reads_plain_and_compressed_text() {
        for bytes in [b"one\n\ntwo".to_vec(), gzip("one\n\ntwo\n")] {
            assert_eq!(all(&bytes).expect("readable"), ["one", "", "two"]);
        }
        assert!(all(b"").expect("readable").is_empty());
    }

    #[test]
    fn names_the_damage() {
        let whole = gzip(&"a line of text\n".repeat(1000));
        let cut = all(&whole[..whole.len() / 2]).expect_err("cut");
        assert_eq!(cut.kind, RecordingErrorKind::Truncated);
        let mut flipped = whole.clone();
        let checksum = flipped.len() - 6;
        flipped[checksum] ^= 1;
        let damaged = all(&flipped).expect_err("checksum");
        assert_eq!(damaged.kind, RecordingErrorKind::Compression);
        assert_eq!(damaged.line, 1001);
        let text = all(b"ok\n\xff\xfe\n").expect_err("not UTF-8");
        assert_eq!((text.kind, text.line), (RecordingErrorKind::Json, 2));
    }
}
